package acme

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"slices"
)

// EAB is an external account binding (RFC 8555 §7.3.4): a JWS in which the
// holder of a MAC key of ours says that an account key is theirs. Nothing in it
// can be trusted before Verify has succeeded.
type EAB struct {
	KeyID string // names the MAC key; never empty
	Raw   []byte // as received, for showing it in the account

	newHash func() hash.Hash
	url     string
	key     *JWK
	signed  []byte
	mac     []byte
}

// ParseEAB reads the value of "externalAccountBinding" and checks all that can
// be checked without the MAC key. Errors wrap ErrMalformedJWS,
// ErrBadSignatureAlgorithm or, for the key in the payload, ErrBadPublicKey.
func ParseEAB(raw []byte) (*EAB, error) {
	eab := &EAB{Raw: slices.Clone(raw)}
	if err := eab.parse(raw); err != nil {
		return nil, fmt.Errorf("externalAccountBinding: %w", err)
	}
	return eab, nil
}

func (e *EAB) parse(raw []byte) error {
	message, err := jwsOpen(raw)
	if err != nil {
		return err
	}
	algorithm, err := message.algorithm([]string{"HS256", "HS384", "HS512"})
	if err != nil {
		return err
	}
	e.newHash = eabHash(algorithm)
	if err := message.header.forbid("nonce", "jwk"); err != nil {
		return err
	}
	kid, err := message.header.text("kid")
	if err == nil && len(kid) == 0 {
		err = jwsMalformed(`%s: "kid" is empty`, message.header.what)
	}
	if err != nil {
		return err
	}
	e.KeyID = string(kid)
	if e.url, err = message.url(); err != nil {
		return err
	}
	payload, mac, err := message.decode()
	if err != nil {
		return err
	}
	e.mac, e.signed = mac, message.signingInput()
	e.key, err = ParseJWK(payload)
	return err
}

func eabHash(algorithm string) func() hash.Hash {
	switch algorithm {
	case "HS384":
		return sha512.New384
	case "HS512":
		return sha512.New
	default:
		return sha256.New
	}
}

// Verify checks that the binding is by macKey, for accountKey, and made for
// url, the URL of newAccount that the outer JWS names. It does not ask for a
// MAC key as long as the hash (RFC 7518 §3.2): whoever makes the keys answers
// for their strength. The error wraps ErrBadSignature when the MAC is wrong,
// ErrMalformedJWS when it is right but binds something else.
func (e *EAB) Verify(macKey []byte, accountKey *JWK, url string) error {
	if len(macKey) == 0 {
		return errors.New("couldn't verify external account binding: the MAC key is empty")
	}
	mac := hmac.New(e.newHash, macKey)
	mac.Write(e.signed)
	if !hmac.Equal(mac.Sum(nil), e.mac) {
		return fmt.Errorf("externalAccountBinding: %w: its MAC is not by the key %.100q", ErrBadSignature, e.KeyID)
	}
	if e.url != url {
		return jwsMalformed("externalAccountBinding: its \"url\" is %.200q, that of the request %q", e.url, url)
	}
	if e.key.Thumbprint != accountKey.Thumbprint {
		return jwsMalformed("externalAccountBinding: its payload is another key than the one that signs the request")
	}
	return nil
}
