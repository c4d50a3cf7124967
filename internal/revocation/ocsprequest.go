package revocation

import (
	"bytes"
	"crypto"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/serial"
)

// maxRequest bounds an OCSP request, in octets, and maxAsked the certificates
// that it asks for.
const (
	maxRequest = 16 << 10
	maxAsked   = 32
)

// errMalformed is wrapped by the errors of requests that are not as RFC 6960
// and RFC 9654 have them.
var errMalformed = errors.New("it is no OCSP request")

// certID is what an OCSP request asks about (RFC 6960 §4.1.1).
type certID struct {
	raw      []byte      // DER, which the answer repeats
	hash     crypto.Hash // 0 for one that is not served
	nameHash []byte
	keyHash  []byte
	number   serial.Number
	possible bool // this CA makes such serials
}

// ocspRequest is an OCSP request, without what an answer does not depend on.
type ocspRequest struct {
	asked []certID
	nonce []byte // the value of the extension as it came, with its OCTET STRING; nil for none
}

// parseRequest reads an OCSPRequest. Signatures of requesters are not looked at:
// everybody gets the same answers. The error wraps errMalformed.
func parseRequest(der []byte) (*ocspRequest, error) {
	if len(der) > maxRequest {
		return nil, errMalformed
	}
	input := cryptobyte.String(der)
	var whole, tbs, list cryptobyte.String
	ok := input.ReadASN1(&whole, casn1.SEQUENCE) && input.Empty() &&
		whole.ReadASN1(&tbs, casn1.SEQUENCE) && whole.SkipOptionalASN1(explicit(0)) && whole.Empty() &&
		readVersion(&tbs) && tbs.SkipOptionalASN1(explicit(1)) && // requestorName
		tbs.ReadASN1(&list, casn1.SEQUENCE) && !list.Empty()
	var request ocspRequest
	for ok && !list.Empty() {
		var asked certID
		if ok = readAsked(&list, &asked) && len(request.asked) < maxAsked; ok {
			request.asked = append(request.asked, asked)
		}
	}
	ok = ok && readExtensions(&tbs, explicit(2), func(oid, value cryptobyte.String) (known, ok bool) {
		if string(oid) != string(oidNonce()) {
			return false, true
		}
		ok = request.nonce == nil && isNonce(value)
		request.nonce = value
		return true, ok
	}) && tbs.Empty()
	if !ok {
		return nil, errMalformed
	}
	return &request, nil
}

// readVersion accepts v1, also where DER would leave it out.
func readVersion(tbs *cryptobyte.String) bool {
	var inner cryptobyte.String
	var there bool
	var version int64
	return tbs.ReadOptionalASN1(&inner, &there, explicit(0)) &&
		(!there || inner.ReadASN1Integer(&version) && inner.Empty() && version == 0)
}

// readAsked reads a Request.
func readAsked(list *cryptobyte.String, asked *certID) bool {
	var request, id, inner, algorithm, oid, name, key cryptobyte.String
	ok := list.ReadASN1(&request, casn1.SEQUENCE) && request.ReadASN1Element(&id, casn1.SEQUENCE)
	asked.raw = id
	ok = ok && id.ReadASN1(&inner, casn1.SEQUENCE) &&
		inner.ReadASN1(&algorithm, casn1.SEQUENCE) && algorithm.ReadASN1(&oid, casn1.OBJECT_IDENTIFIER) && isEmptyOrNull(algorithm) &&
		inner.ReadASN1(&name, casn1.OCTET_STRING) && inner.ReadASN1(&key, casn1.OCTET_STRING) &&
		readSerial(&inner, asked) && inner.Empty() &&
		readExtensions(&request, explicit(0), func(_, _ cryptobyte.String) (known, ok bool) { return false, true }) && request.Empty()
	asked.hash, asked.nameHash, asked.keyHash = hashOf(oid), name, key
	return ok && (asked.hash == 0 || len(name) == asked.hash.Size() && len(key) == asked.hash.Size())
}

// isEmptyOrNull accepts both forms of absent parameters (RFC 5754 §2).
func isEmptyOrNull(parameters cryptobyte.String) bool {
	return parameters.Empty() || bytes.Equal(parameters, []byte{byte(casn1.NULL), 0})
}

// hashOf is the hash algorithm of that OID, or 0.
func hashOf(oid []byte) crypto.Hash {
	switch string(oid) {
	case "\x2b\x0e\x03\x02\x1a": // 1.3.14.3.2.26
		return crypto.SHA1
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x01": // 2.16.840.1.101.3.4.2.1
		return crypto.SHA256
	default:
		return 0
	}
}

// readSerial reads a serialNumber. One that is longer than RFC 5280 allows, or
// 0, was never issued.
func readSerial(s *cryptobyte.String, asked *certID) bool {
	var digits []byte
	if !s.ReadASN1Integer(&digits) {
		return false
	}
	if len(digits) > 0 && digits[0] == 0 {
		digits = digits[1:]
	}
	if asked.possible = len(digits) > 0 && len(digits) <= len(asked.number); asked.possible {
		copy(asked.number[len(asked.number)-len(digits):], digits)
	}
	return true
}

// readExtensions calls each for the extensions in an optional field. It fails
// where each does, and on critical extensions that it does not know.
func readExtensions(s *cryptobyte.String, field casn1.Tag, each func(oid, value cryptobyte.String) (known, ok bool)) bool {
	var list cryptobyte.String
	var there bool
	if !s.ReadOptionalASN1(&list, &there, field) || there && (!readWhole(&list) || list.Empty()) {
		return false
	}
	for !list.Empty() {
		var extension, oid, value cryptobyte.String
		var critical bool
		if !list.ReadASN1(&extension, casn1.SEQUENCE) || !extension.ReadASN1(&oid, casn1.OBJECT_IDENTIFIER) ||
			extension.PeekASN1Tag(casn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) ||
			!extension.ReadASN1(&value, casn1.OCTET_STRING) || !extension.Empty() {
			return false
		}
		if known, ok := each(oid, value); !ok || critical && !known {
			return false
		}
	}
	return true
}

// readWhole descends into a SEQUENCE that is all there is.
func readWhole(s *cryptobyte.String) bool {
	var inner cryptobyte.String
	ok := s.ReadASN1(&inner, casn1.SEQUENCE) && s.Empty()
	*s = inner
	return ok
}

// oidNonce is the content of the OID 1.3.6.1.5.5.7.48.1.2.
func oidNonce() []byte { return []byte{0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2} }

// isNonce reports whether the value of the extension is a nonce that may be
// repeated: an OCTET STRING of 1 to 128 octets (RFC 9654 §2.1). Those shorter
// than 16 or longer than 32 could be ignored; repeating them costs nothing, and
// older clients want that.
func isNonce(value cryptobyte.String) bool {
	var nonce cryptobyte.String
	return value.ReadASN1(&nonce, casn1.OCTET_STRING) && value.Empty() && len(nonce) >= 1 && len(nonce) <= 128
}
