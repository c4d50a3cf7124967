// Package provisioner proves who asks for a certificate by what they bring: a
// token that one of the configured ways to make them has signed. Each type of
// provisioner has a file of its own. It answers with an Identity, whose names
// the token vouches for.
//
// It knows no HTTP routes and no store: that a token is spent once, and what
// its bearer may have, is for the door and the road to see to.
package provisioner

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"chancery/internal/expr"
	"chancery/internal/identifier"
)

// Identity is what a token proves.
type Identity struct {
	Subject    string                  // who asks, as the provisioner calls them: for records and the audit log
	Names      []identifier.Identifier // that the token itself vouches for, each once, sorted
	Claims     expr.Claims             // all that it says, for expressions
	Spend      string                  // what is spent with the certificate, unique in the provisioner; "" for a token that can be used until it expires
	SpendUntil time.Time               // until when that is remembered; zero for ever
	Profile    string                  // that the token asks for; "" for none
}

// Verifier checks the tokens of one provisioner.
type Verifier interface {
	// Verify says what the token proves. Its error is a failure of kind
	// Unauthorized or Malformed whose Public says which check failed, what was
	// expected and what was found; or Unavailable while keys can't be fetched.
	Verify(ctx context.Context, token string) (Identity, error)
}

// MaxToken is the longest token there can be, in octets.
const MaxToken = 64 << 10

// maxSubject bounds what requesters are called in records, in octets.
const maxSubject = 255

// Provisioner is a way to prove who asks, ready for use by many goroutines.
type Provisioner struct {
	Name string
	Spec Spec
	// Created is when it was made beside the configuration; zero for one that is
	// in there. What was issued before was issued for another of the same name.
	Created time.Time

	verifier Verifier
	names    []nameMaker
	now      func() time.Time
	inputs   [sha256.Size]byte // of all that it was made of
}

// Verify says what the token proves, with the names that the provisioner gives
// to its bearer. Errors are those of Verifier.
func (p *Provisioner) Verify(ctx context.Context, token string) (Identity, error) {
	if len(token) > MaxToken {
		return Identity{}, malformed("the token has %d octets; at most %d are read", len(token), MaxToken)
	}
	identity, err := p.verifier.Verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if len(identity.Subject) > maxSubject || strings.ContainsFunc(identity.Subject, isUnseen) || !utf8.ValidString(identity.Subject) {
		return Identity{}, malformed("the token's subject has more than %d octets, or characters that can't be seen", maxSubject)
	}
	if len(p.names) > 0 {
		if identity.Names, err = p.makeNames(identity.Claims); err != nil {
			return Identity{}, err
		}
	}
	identity.Names = identifier.Normalize(identity.Names)
	if p.Spec.Reuse {
		identity.Spend, identity.SpendUntil = "", time.Time{}
	}
	return identity, nil
}

// Issued reports whether a certificate that was issued for a provisioner of
// this name, at that time, was issued for this one.
func (p *Provisioner) Issued(at time.Time) bool { return !at.Before(p.Created) }

// isUnseen reports whether a character could make a record read as another:
// control characters, and those that turn or hide text.
func isUnseen(r rune) bool { return !unicode.IsGraphic(r) }
