package postgres

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// escaped begins a text that PostgreSQL could not hold as it is. It is no
// character, so no text that means anything begins with it.
const escaped = "\U0010FFFF"

// storable is a text as the database can hold it: PostgreSQL takes no octet 0
// and nothing but UTF-8, while identifiers and what clients sent can be any
// octets.
func storable(text string) string {
	if utf8.ValidString(text) && !strings.Contains(text, "\x00") && !strings.HasPrefix(text, escaped) {
		return text
	}
	return escaped + hex.EncodeToString([]byte(text))
}

// stored undoes storable.
func stored(value []byte) string {
	text := string(value)
	if digits, ok := strings.CutPrefix(text, escaped); ok {
		if plain, err := hex.DecodeString(digits); err == nil {
			return string(plain)
		}
	}
	return text
}
