package renewal

import (
	"encoding/base64"
	"strings"

	"chancery/internal/serial"
)

// ParseCertID takes apart a certificate identifier of RFC 9773 §4.1: the
// issuer's key identifier and the serial number.
func ParseCertID(text string) (keyID []byte, number serial.Number, ok bool) {
	keyText, serialText, found := strings.Cut(text, ".")
	decode := base64.RawURLEncoding.Strict().DecodeString
	keyID, err := decode(keyText)
	content, serialErr := decode(serialText)
	if !found || err != nil || serialErr != nil || len(keyID) == 0 || len(content) == 0 || content[0] >= 0x80 {
		return nil, number, false
	}
	if len(content) > 1 && content[0] == 0 {
		if content[1] < 0x80 {
			return nil, number, false // not DER: a needless leading zero
		}
		content = content[1:]
	}
	if len(content) > len(number) {
		return nil, number, false
	}
	copy(number[len(number)-len(content):], content)
	return keyID, number, true
}
