package store

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io"
	"time"

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
