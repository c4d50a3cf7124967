package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"slices"
	"sync"

	"chancery/internal/failure"
)

// Check judges the public key of an account or a certificate. A key passes
// when it is
//
//   - on P-256, P-384 or P-521, a point of the curve and not infinity;
//   - Ed25519 and not of small order;
//   - RSA with a modulus of 2048 to 8192 bits, a multiple of 8, and an odd
//     exponent from 65537 to 2³¹−1 (the greatest that Go, hence this program
//     and many relying parties, verifies), whose modulus has no prime factor
//     up to 751 (NIST SP 800-89 §5.3.3), does not come from the generator of
//     CVE-2017-15361, and is no product of two primes close to each other.
//
// Keys made by Debian's broken OpenSSL (CVE-2008-0166) are not recognised:
// that takes lists of hashes many times the size of this program.
//
// The error is a failure of kind BadKey that says what was found and what is
// allowed.
func Check(pub crypto.PublicKey) error {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		return checkECDSA(key)
	case ed25519.PublicKey:
		return checkEd25519(key)
	case *rsa.PublicKey:
		return checkRSA(key)
	default:
		return failure.New(failure.BadKey, "the key is of an unsupported type (%T); %s", pub, allowed)
	}
}

func checkECDSA(key *ecdsa.PublicKey) error {
	switch key.Curve {
	case elliptic.P256(), elliptic.P384(), elliptic.P521():
	default:
		return failure.New(failure.BadKey, "the key is on the curve %s; %s", TypeOf(key), allowed)
	}
	if _, err := key.Bytes(); err != nil { // checks the point
		return failure.New(failure.BadKey, "the key's point is not on the curve %s", TypeOf(key)).Because(err)
	}
	return nil
}

func checkEd25519(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize {
		return failure.New(failure.BadKey, "the Ed25519 key has %d octets; it must have %d", len(key), ed25519.PublicKeySize)
	}
	if hasSmallOrder(key) {
		return failure.New(failure.BadKey, "the Ed25519 key is a point of small order, for which anyone can make signatures; make a new key")
	}
	return nil
}

// edwards25519 holds the field prime and the constant d of the curve
// −x² + y² = 1 + d·x²·y² (RFC 8032 §5.1).
var edwards25519 = sync.OnceValue(func() (c struct{ p, d *big.Int }) {
	c.p = new(big.Int).Lsh(big.NewInt(1), 255)
	c.p.Sub(c.p, big.NewInt(19))
	c.d = new(big.Int).ModInverse(big.NewInt(121666), c.p)
	c.d.Mul(c.d, big.NewInt(-121665)).Mod(c.d, c.p)
	return c
})

// hasSmallOrder reports whether a point's order divides 8. Those points are
// (0, ±1), those with y = 0, and those whose double has y = 0, that is, whose
// x² = −y²; put into the equation of the curve: d·y⁴ + 2·y² − 1 = 0.
func hasSmallOrder(key ed25519.PublicKey) bool {
	curve := edwards25519()
	encoded := slices.Clone(key)
	slices.Reverse(encoded)
	encoded[0] &= 0x7f // the sign of x
	y := new(big.Int).SetBytes(encoded)
	y2 := y.Mul(y, y).Mod(y, curve.p)
	if one := big.NewInt(1); y2.Sign() == 0 || y2.Cmp(one) == 0 {
		return true
	}
	sum := new(big.Int).Mul(curve.d, y2)
	sum.Add(sum, big.NewInt(2)).Mul(sum, y2).Sub(sum, big.NewInt(1)).Mod(sum, curve.p)
	return sum.Sign() == 0
}
