// Package serial makes and reads certificate serial numbers.
package serial

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"
)

// Number is a certificate's serial number: 20 octets, the most that RFC 5280
// §4.1.2.2 allows, the first in 0x01–0x7f in those this CA makes. It begins
// with a coarse time, so that an index over serials grows at one end and a
// table can be split by ranges of them; 128 random bits follow.
type Number [20]byte

// tick is the unit of the time prefix, in seconds: four octets of it reach
// from 2004, when the first octet became 1, to the year 6325.
const tick = 64

// New makes a serial number for a certificate issued at now.
func New(now time.Time, rand io.Reader) (Number, error) {
	var n Number
	binary.BigEndian.PutUint32(n[:4], Prefix(now))
	if _, err := io.ReadFull(rand, n[4:]); err != nil {
		return Number{}, fmt.Errorf("couldn't make serial number: %w", err)
	}
	return n, nil
}

// Prefix is what serials made at now begin with.
func Prefix(now time.Time) uint32 {
	return uint32(now.Unix() / tick) //nolint:gosec // fits until the year 10683
}

// Parse reads a serial number in hexadecimal: any case, any length up to 40
// digits, with or without colons or a leading 0x.
func Parse(text string) (Number, error) {
	digits := strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(text), "0x"), ":", "")
	if len(digits) == 0 || len(digits) > 40 {
		return Number{}, fmt.Errorf("%.50q is no serial number: write 1 to 40 hexadecimal digits", text)
	}
	var n Number
	padded := strings.Repeat("0", 40-len(digits)) + digits
	if _, err := hex.Decode(n[:], []byte(padded)); err != nil {
		return Number{}, fmt.Errorf("%.50q is no serial number: write 1 to 40 hexadecimal digits", text)
	}
	return n, nil
}

// FromBig converts the form of crypto/x509; ok is false when it does not fit.
func FromBig(i *big.Int) (n Number, ok bool) {
	if i == nil || i.Sign() < 0 || i.BitLen() > 8*len(n) {
		return Number{}, false
	}
	i.FillBytes(n[:])
	return n, true
}

// Big is the number as crypto/x509 has it.
func (n Number) Big() *big.Int { return new(big.Int).SetBytes(n[:]) }

// String is the number in 40 lower-case hexadecimal digits.
func (n Number) String() string { return hex.EncodeToString(n[:]) }

// MarshalText implements encoding.TextMarshaler.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Number) UnmarshalText(text []byte) (err error) {
	*n, err = Parse(string(text))
	return err
}
