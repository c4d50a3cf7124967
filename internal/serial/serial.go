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
// with the time, so that an index over serials grows at one end and a table can
// be split by ranges of them; 120 random bits follow.
type Number [20]byte

const (
	// tick is the unit of the time prefix: prefixSize octets of it reach from
	// 2004, when the first octet became 1, to the year 6325. It is short,
	// because the numbers of one tick come in no order: with ticks of a minute,
	// a busy index was written all over instead of at its end.
	tick       = 250 * time.Millisecond
	prefixSize = 5
)

// New makes a serial number for a certificate issued at now.
func New(now time.Time, rand io.Reader) (Number, error) {
	var n Number
	copy(n[:], Prefix(now))
	if _, err := io.ReadFull(rand, n[prefixSize:]); err != nil {
		return Number{}, fmt.Errorf("couldn't make serial number: %w", err)
	}
	return n, nil
}

// Prefix is the 5 octets that serials made at now begin with.
func Prefix(now time.Time) []byte {
	ticks := now.UnixMilli() / tick.Milliseconds()
	return binary.BigEndian.AppendUint64(nil, uint64(ticks))[8-prefixSize:]
}

// PrefixTime is the first moment at which serials begin with a prefix.
func PrefixTime(prefix [prefixSize]byte) time.Time {
	ticks := binary.BigEndian.Uint64(append(make([]byte, 8-prefixSize), prefix[:]...))
	return time.UnixMilli(int64(ticks) * tick.Milliseconds()).UTC()
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
