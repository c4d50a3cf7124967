// Package x509der holds the few pieces of X.509 encoding that several packages
// need: the signature algorithm a key signs with, a key's identifier, and the
// outer shell of a certificate. It neither signs nor parses certificates.
package x509der

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// SignatureAlgorithm returns the DER AlgorithmIdentifier that belongs into
// what the private key of pub signs, and the hash to give to its
// crypto.Signer: 0 for Ed25519, which signs the message itself. RSA keys sign
// with PKCS #1 v1.5 and SHA-256, for every relying party understands that;
// each curve goes with the hash of its size (RFC 5758 §3.2, RFC 8410 §3,
// RFC 4055 §5).
func SignatureAlgorithm(pub crypto.PublicKey) (der []byte, hash crypto.Hash, err error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return algorithm(true, 1, 2, 840, 113549, 1, 1, 11), crypto.SHA256, nil
	case ed25519.PublicKey:
		return algorithm(false, 1, 3, 101, 112), 0, nil
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			return algorithm(false, 1, 2, 840, 10045, 4, 3, 2), crypto.SHA256, nil
		case elliptic.P384():
			return algorithm(false, 1, 2, 840, 10045, 4, 3, 3), crypto.SHA384, nil
		case elliptic.P521():
			return algorithm(false, 1, 2, 840, 10045, 4, 3, 4), crypto.SHA512, nil
		}
		return nil, 0, fmt.Errorf("couldn't choose a signature algorithm: the curve %s is not supported; use P-256, P-384 or P-521", pub.Params().Name)
	}
	return nil, 0, fmt.Errorf("couldn't choose a signature algorithm: keys of type %T are not supported; use ECDSA, Ed25519 or RSA", pub)
}

// algorithm encodes an AlgorithmIdentifier. Only RSA has parameters, a NULL
// (RFC 4055 §5); the others must leave them out.
func algorithm(null bool, oid ...int) []byte {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier(oid))
		if null {
			b.AddASN1NULL()
		}
	})
	return b.BytesOrPanic()
}

// KeyID returns the identifier of a key from its DER SubjectPublicKeyInfo: the
// leftmost 160 bits of the SHA-256 of the key's bits (RFC 7093 §2, method 1).
func KeyID(spki []byte) ([20]byte, error) {
	var inner, bits, unusedAlgorithm cryptobyte.String
	input := cryptobyte.String(spki)
	var unused uint8
	if !input.ReadASN1(&inner, casn1.SEQUENCE) || !input.Empty() ||
		!inner.ReadASN1(&unusedAlgorithm, casn1.SEQUENCE) ||
		!inner.ReadASN1(&bits, casn1.BIT_STRING) || !inner.Empty() ||
		!bits.ReadUint8(&unused) || unused != 0 {
		return [20]byte{}, errors.New("couldn't compute a key identifier: the bytes are no DER SubjectPublicKeyInfo")
	}
	sum := sha256.Sum256(bits)
	return [20]byte(sum[:20]), nil
}

// Assemble joins a to-be-signed certificate (or revocation list), the
// algorithm that is named inside it, and the signature over it (RFC 5280
// §4.1).
func Assemble(tbs, algorithm, signature []byte) []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(algorithm)+len(signature)+16))
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	return b.BytesOrPanic()
}
