// Package keys makes, judges, names, stores and reads asymmetric keys. It
// promises that a public key which passes Check is of a kind that relying
// parties verify and shows none of the known weaknesses that can be seen from
// the outside, and that a key file it writes is durable, private to its owner
// and never replaces another file. It signs nothing, and it does not decide
// who may use a key.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"
	"strconv"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/x509der"
)

// allowed ends every refusal of a kind of key.
const allowed = "allowed are P-256, P-384, P-521, Ed25519, and RSA with 2048 to 8192 bits"

// TypeOf names the type of a public key: "P-256", "P-384", "P-521", "Ed25519"
// or "RSA-" and the bits of the modulus. It names keys that Check refuses too,
// those of unknown types by their Go type.
func TypeOf(pub crypto.PublicKey) string {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != nil {
			return key.Curve.Params().Name
		}
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		if key.N != nil {
			return "RSA-" + strconv.Itoa(key.N.BitLen())
		}
	}
	return fmt.Sprintf("%T", pub)
}

// Equal reports whether two public keys are the same. Keys of unknown types are
// equal to none.
func Equal(a, b crypto.PublicKey) bool {
	known, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && known.Equal(b)
}

// Generate makes a key of a type that TypeOf names and Check allows.
func Generate(rand io.Reader, typ string) (crypto.Signer, error) {
	switch typ {
	case "P-256":
		return ecdsa.GenerateKey(elliptic.P256(), rand)
	case "P-384":
		return ecdsa.GenerateKey(elliptic.P384(), rand)
	case "P-521":
		return ecdsa.GenerateKey(elliptic.P521(), rand)
	case "Ed25519":
		_, key, err := ed25519.GenerateKey(rand)
		return key, err
	}
	if size, ok := strings.CutPrefix(typ, "RSA-"); ok {
		if bits, err := strconv.Atoi(size); err == nil && isAllowedSize(bits) {
			return rsa.GenerateKey(rand, bits)
		}
	}
	return nil, failure.New(failure.BadKey, "there is no key type %.40q; %s (as RSA-2048)", typ, allowed)
}

// SKI is the subject key identifier of a public key by RFC 7093 §2 method 1.
func SKI(pub crypto.PublicKey) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("couldn't compute the subject key identifier: %w", err)
	}
	id, err := x509der.KeyID(spki)
	return id[:], err
}
