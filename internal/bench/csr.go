package bench

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	encodingasn1 "encoding/asn1"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/identifier"
)

// requester makes CSRs by one key. It does what crypto/x509 does at a third of
// the cost: that verifies each signature it has just made.
type requester struct {
	key    *ecdsa.PrivateKey
	public []byte // SubjectPublicKeyInfo in DER
	rand   io.Reader
}

func newRequester(rand io.Reader, key *ecdsa.PrivateKey) (*requester, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	return &requester{key, public, rand}, err
}

// The types of GeneralName (RFC 5280 §4.2.1.6).
const (
	generalDNS = asn1.Tag(2) | 0x80
	generalIP  = asn1.Tag(7) | 0x80
)

// request makes a CSR in DER (RFC 2986 §4) for ids, with an empty subject.
func (r *requester) request(ids []identifier.Identifier) ([]byte, error) {
	info, err := r.info(ids)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a CSR: %w", err)
	}
	digest := sha256.Sum256(info)
	signature, err := ecdsa.SignASN1(r.rand, r.key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("couldn't sign a CSR: %w", err)
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(info)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}) // ecdsa-with-SHA256
		})
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// info is the part that is signed.
func (r *requester) info(ids []identifier.Identifier) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Uint64(0) // version
		b.AddASN1(asn1.SEQUENCE, func(*cryptobyte.Builder) {})
		b.AddBytes(r.public)
		b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(encodingasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}) // extensionRequest
				b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1(asn1.SEQUENCE, addNames(ids)) })
				})
			})
		})
	})
	return b.Bytes()
}

// addNames adds the extension with the names.
func addNames(ids []identifier.Identifier) cryptobyte.BuilderContinuation {
	return func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(encodingasn1.ObjectIdentifier{2, 5, 29, 17}) // subjectAltName
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, id := range ids {
					tag, value := generalDNS, []byte(id.Value)
					if id.Type == identifier.IP {
						tag, value = generalIP, id.Addr().AsSlice()
					}
					b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(value) })
				}
			})
		})
	}
}
