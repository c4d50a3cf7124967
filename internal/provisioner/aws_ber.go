package provisioner

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	deepestBER  = 12 // elements inside one another
	indefinite  = -1 // a length that is not said before the contents (X.690 §8.1.3.6)
	constructed = 0x20
)

// readBER reads the first element of data and gives it as DER has it: with
// definite lengths, and octet strings in one piece. What DER demands besides
// that is for the reader of the result to check.
func readBER(data []byte, depth int) (element, rest []byte, err error) {
	tag, length, body, err := readBERHeader(data)
	switch {
	case err != nil:
		return nil, nil, err
	case tag&constructed != 0:
		return readConstructed(tag, length, body, depth)
	case length == indefinite:
		return nil, nil, errBER
	}
	element, err = derElement(tag, body[:length])
	return element, body[length:], err
}

func readConstructed(tag byte, length int, body []byte, depth int) (element, rest []byte, err error) {
	if depth == 0 {
		return nil, nil, errBER
	}
	if length != indefinite {
		body, rest = body[:length], body[length:]
	}
	var inner []byte
	for length == indefinite || len(body) > 0 {
		if length == indefinite && bytes.HasPrefix(body, []byte{0, 0}) {
			rest = body[2:]
			break
		}
		var piece []byte
		if piece, body, err = readBER(body, depth-1); err != nil {
			return nil, nil, err
		}
		if tag == byte(asn1.OCTET_STRING)|constructed {
			whole := cryptobyte.String(piece)
			if !whole.ReadASN1((*cryptobyte.String)(&piece), asn1.OCTET_STRING) {
				return nil, nil, errBER
			}
		}
		inner = append(inner, piece...)
	}
	if tag == byte(asn1.OCTET_STRING)|constructed {
		tag = byte(asn1.OCTET_STRING)
	}
	element, err = derElement(tag, inner)
	return element, rest, err
}

// readBERHeader reads a tag of one octet and a length, which is not more than
// the body has.
func readBERHeader(data []byte) (tag byte, length int, body []byte, err error) {
	const long, severalOctets = 0x80, 0x1f
	if len(data) < 2 || data[0] == 0 || data[0]&severalOctets == severalOctets {
		return 0, 0, nil, errBER
	}
	tag, length, body = data[0], int(data[1]), data[2:]
	if length == long {
		return tag, indefinite, body, nil
	}
	if length > long {
		octets := length - long
		if octets > 3 || octets > len(body) {
			return 0, 0, nil, errBER
		}
		length = 0
		for _, octet := range body[:octets] {
			length = length<<8 | int(octet)
		}
		body = body[octets:]
	}
	if length > len(body) {
		return 0, 0, nil, errBER
	}
	return tag, length, body, nil
}

func derElement(tag byte, contents []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.Tag(tag), func(b *cryptobyte.Builder) { b.AddBytes(contents) })
	return b.Bytes()
}
