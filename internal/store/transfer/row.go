package transfer

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Row is a record, or its key: the values of its columns.
type Row []any

// Encode is the canonical form of values: for each the letter of its type, then
// of texts and octets the length in 8 octets and what they are, of numbers 8
// octets, of truths one. The same values have the same form in every engine.
func (r Row) Encode() ([]byte, error) {
	var b []byte
	for _, value := range r {
		switch value := value.(type) {
		case string:
			b = append(binary.BigEndian.AppendUint64(append(b, byte(Text)), uint64(len(value))), value...)
		case []byte:
			b = append(binary.BigEndian.AppendUint64(append(b, byte(Octets)), uint64(len(value))), value...)
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, byte(Number)), uint64(value))
		case bool:
			b = append(b, byte(Truth), 0)
			if value {
				b[len(b)-1] = 1
			}
		default:
			return nil, fmt.Errorf("couldn't encode a value of type %T", value)
		}
	}
	return b, nil
}

var errEncoding = errors.New("couldn't read the position of the migration: it is no position")

// Decode undoes Encode: it takes nothing that Encode does not give.
func Decode(b []byte) (row Row, err error) {
	for len(b) > 0 {
		typ, rest := Type(b[0]), b[1:]
		if typ == Truth {
			if len(rest) == 0 || rest[0] > 1 {
				return nil, errEncoding
			}
			row, b = append(row, rest[0] == 1), rest[1:]
			continue
		}
		if len(rest) < 8 {
			return nil, errEncoding
		}
		n := binary.BigEndian.Uint64(rest)
		rest = rest[8:]
		if typ == Number {
			row, b = append(row, int64(n)), rest
			continue
		}
		if n > uint64(len(rest)) {
			return nil, errEncoding
		}
		switch typ {
		case Text:
			row = append(row, string(rest[:n]))
		case Octets:
			row = append(row, append([]byte(nil), rest[:n]...))
		default:
			return nil, errEncoding
		}
		b = rest[n:]
	}
	return row, nil
}

// Reader reads the columns of a record one after the other.
type Reader struct {
	Text   func() string
	Number func() int64
	Truth  func() bool
	Octets func() []byte
}

// Read reads a record of the kind.
func (k *Kind) Read(from Reader) Row {
	row := make(Row, len(k.Columns))
	for i, column := range k.Columns {
		switch column.Type {
		case Number:
			row[i] = from.Number()
		case Truth:
			row[i] = from.Truth()
		case Octets:
			row[i] = from.Octets()
		default:
			row[i] = from.Text()
		}
	}
	return row
}

// KeyOf is the key of a record of the kind.
func (k *Kind) KeyOf(r Row) Row { return slices.Clone(r[:k.Key]) }

// Sum says what records there are, whatever their order: how many, and the sum
// modulo 2^256 of the SHA-256 of each one's canonical form.
type Sum struct {
	Count int64
	Hash  [4]uint64 // the lowest first
}

// Add adds a record.
func (s *Sum) Add(r Row) error {
	form, err := r.Encode()
	if err != nil {
		return err
	}
	hash, carry := sha256.Sum256(form), uint64(0)
	for i := range s.Hash {
		s.Hash[i], carry = bits.Add64(s.Hash[i], binary.BigEndian.Uint64(hash[24-8*i:]), carry)
	}
	s.Count++
	return nil
}

// String is the hash in hexadecimal.
func (s *Sum) String() string {
	return fmt.Sprintf("%016x%016x%016x%016x", s.Hash[3], s.Hash[2], s.Hash[1], s.Hash[0])
}
