package store

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/serial"
)

// idEncoding keeps the order of the octets and needs no escaping in URLs.
var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID makes an identifier for a record: the time, so that indexes grow at one
// end, then 120 random bits, so that nobody guesses a URL.
func NewID(now time.Time, rand io.Reader) (string, error) {
	var id [20]byte
	n := copy(id[:], serial.Prefix(now))
	if _, err := io.ReadFull(rand, id[n:]); err != nil {
		return "", fmt.Errorf("couldn't make identifier: %w", err)
	}
	return idEncoding.EncodeToString(id[:]), nil
}

// IssuerID is the name of an issuer in the store: the first 8 octets of its
// subject key identifier in hexadecimal.
func IssuerID(subjectKeyID []byte) string {
	return hex.EncodeToString(subjectKeyID[:min(8, len(subjectKeyID))])
}

// ServiceID is the name of the service that a certificate with these
// identifiers belongs to, whatever their order: the first 16 octets of a
// SHA-256 in hexadecimal. It is "" for no identifiers.
func ServiceID(identifiers []identifier.Identifier) string {
	if len(identifiers) == 0 {
		return ""
	}
	h := sha256.New()
	for _, id := range identifier.Normalize(slices.Clone(identifiers)) {
		_, _ = io.WriteString(h, id.String()+"\n") // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
