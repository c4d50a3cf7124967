package keyhelper

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
)

// errSignature is wrapped by the error for a signature that does not verify.
var errSignature = errors.New("the helper's signature does not verify")

// verify checks what a helper returned, so that neither a fault in the
// hardware nor another key makes a certificate that nobody accepts.
func verify(public crypto.PublicKey, hash crypto.Hash, digest, signature []byte) error {
	var ok bool
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(public, digest, signature)
	case ed25519.PublicKey:
		ok = hash == 0 && ed25519.Verify(public, digest, signature)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(public, hash, digest, signature) == nil
	default:
		return fmt.Errorf("couldn't verify the helper's signature: keys of type %T are not supported", public)
	}
	if !ok {
		return errSignature
	}
	return nil
}
