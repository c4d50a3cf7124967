package revocation

import (
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/store"
)

// ocspStatus is an OCSPResponseStatus (RFC 6960 §4.2.1).
type ocspStatus byte

const (
	ocspSuccessful   ocspStatus = 0
	ocspMalformed    ocspStatus = 1 // malformedRequest
	ocspTryLater     ocspStatus = 3
	ocspUnauthorized ocspStatus = 6 // this responder does not know the issuer
)

// refusal is an answer that nobody signs.
func (s ocspStatus) refusal() []byte {
	return []byte{byte(casn1.SEQUENCE), 3, byte(casn1.ENUM), 1, byte(s)}
}

// verdict is what an answer says of one certificate.
type verdict struct {
	id         []byte // DER CertID
	known      bool
	revocation *store.Revocation // nil for good
	nextUpdate time.Time
}

// answer is what a ResponseData is made of.
type answer struct {
	keyHash  []byte // SHA-1 of the responder's key
	now      time.Time
	verdicts []verdict
	nonce    []byte // value of the extension; nil for none
}

// responseData encodes the answer (RFC 6960 §4.2.1).
func (a *answer) responseData() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 256+160*len(a.verdicts)))
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(a.keyHash) }) // byKey
		b.AddASN1GeneralizedTime(a.now)                                                         // producedAt
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for i := range a.verdicts {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { a.verdicts[i].add(b, a.now) })
			}
		})
		if a.nonce == nil {
			return
		}
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oidNonce()) })
					b.AddASN1OctetString(a.nonce)
				})
			})
		})
	})
	return b.Bytes()
}

// add writes the content of a SingleResponse.
func (v *verdict) add(b *cryptobyte.Builder, now time.Time) {
	b.AddBytes(v.id)
	switch {
	case !v.known:
		b.AddASN1(implicit(2), func(*cryptobyte.Builder) {})
	case v.revocation == nil:
		b.AddASN1(implicit(0), func(*cryptobyte.Builder) {})
	default:
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
			b.AddASN1GeneralizedTime(v.revocation.At.UTC())
			if named(v.revocation.Reason) {
				b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(v.revocation.Reason)) })
			}
		})
	}
	b.AddASN1GeneralizedTime(now) // thisUpdate
	b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(v.nextUpdate) })
}

// assembleAnswer joins an answer with its signature, and with the certificate of
// who signed it, nil for the issuer itself.
func assembleAnswer(responseData, algorithm, signature, certificate []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 256+len(responseData)+len(signature)+len(certificate)))
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(int64(ocspSuccessful))
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				basic := []byte{0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1} // 1.3.6.1.5.5.7.48.1.1
				b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(basic) })
				b.AddASN1(casn1.OCTET_STRING, func(b *cryptobyte.Builder) {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddBytes(responseData)
						b.AddBytes(algorithm)
						b.AddASN1BitString(signature)
						if certificate != nil {
							b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
								b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(certificate) })
							})
						}
					})
				})
			})
		})
	})
	return b.Bytes()
}
