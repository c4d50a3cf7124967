package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
)

// Bounds of RSA account keys. Exponents from 65537 on are what FIPS 186-5
// §A.1.1 allows; 31 bits are the most that crypto/rsa verifies with.
const (
	jwkMinModulus  = 2048 // bits
	jwkMaxModulus  = 8192 // bits
	jwkMinExponent = 1<<16 + 1
	jwkMaxExponent = 1<<31 - 1
)

// JWK is the public key of an account (RFC 7517).
type JWK struct {
	Public     crypto.PublicKey // *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey
	Thumbprint string           // RFC 7638 with SHA-256, in base64url
	JSON       []byte           // only the members the thumbprint covers, in its order
}

// ParseJWK reads a public key: EC on P-256, P-384 or P-521, OKP with Ed25519,
// or RSA of 2048 to 8192 bits with an odd exponent from 65537 on. Other
// members are ignored, but those of private keys are refused. It does not look
// for keys that are known or easy to break. Errors wrap ErrMalformedJWS or
// ErrBadPublicKey.
func ParseJWK(raw []byte) (*JWK, error) {
	key, err := jwsParseObject(`"jwk"`, raw)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, found := key.find(name); found {
			return nil, jwkRefused("it has %q, a part of a private key; replace that key, it has been disclosed", name)
		}
	}
	kty, err := key.text("kty")
	if err != nil {
		return nil, err
	}
	switch string(kty) {
	case "EC":
		return jwkParseEC(key)
	case "OKP":
		return jwkParseOKP(key)
	case "RSA":
		return jwkParseRSA(key)
	default:
		return nil, jwkRefused(`its type is %.40q; accepted are "EC", "OKP" and "RSA"`, kty)
	}
}

// jwkParseEC reads RFC 7518 §6.2.1.
func jwkParseEC(key jwsObject) (*JWK, error) {
	crv, err := key.text("crv")
	if err != nil {
		return nil, err
	}
	curve := jwkCurve(string(crv))
	if curve == nil {
		return nil, jwkRefused(`its curve is %.40q; accepted are "P-256", "P-384" and "P-521"`, crv)
	}
	x, err := jwkOctets(key, "x")
	if err != nil {
		return nil, err
	}
	y, err := jwkOctets(key, "y")
	if err != nil {
		return nil, err
	}
	if size := (curve.Params().BitSize + 7) / 8; len(x) != size || len(y) != size {
		return nil, jwkRefused("its coordinates are %d and %d octets long; on %s each has %d", len(x), len(y), crv, size)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, jwkRefused("its point is not on %s", crv)
	}
	return jwkNew(public, `{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, crv, jwkText(x), jwkText(y)), nil
}

func jwkCurve(name string) elliptic.Curve {
	switch name {
	case "P-256":
		return elliptic.P256()
	case "P-384":
		return elliptic.P384()
	case "P-521":
		return elliptic.P521()
	default:
		return nil
	}
}

// jwkParseOKP reads RFC 8037 §2.
func jwkParseOKP(key jwsObject) (*JWK, error) {
	crv, err := key.text("crv")
	if err != nil {
		return nil, err
	}
	if string(crv) != "Ed25519" {
		return nil, jwkRefused(`its curve is %.40q; accepted is "Ed25519"`, crv)
	}
	x, err := jwkOctets(key, "x")
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, jwkRefused("it is %d octets long; Ed25519 has %d", len(x), ed25519.PublicKeySize)
	}
	if jwkHasSmallOrder(x) {
		return nil, jwkRefused("it is a point of small order, for which anyone can sign")
	}
	return jwkNew(ed25519.PublicKey(x), `{"crv":"Ed25519","kty":"OKP","x":"%s"}`, jwkText(x)), nil
}

// jwkHasSmallOrder tells whether point encodes one of the eight points of
// edwards25519 whose order divides the cofactor, canonically or not. They are
// known by their y coordinate alone; the highest bit is the sign of x.
func jwkHasSmallOrder(point []byte) bool {
	y := slices.Clone(point)
	y[len(y)-1] &= 0x7f
	switch hex.EncodeToString(y) {
	case "0100000000000000000000000000000000000000000000000000000000000000", // order 1
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // 2
		"0000000000000000000000000000000000000000000000000000000000000000", // 4
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // 8
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // p, read as 0
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": // p+1, read as 1
		return true
	}
	return false
}

// jwkParseRSA reads RFC 7518 §6.3.1.
func jwkParseRSA(key jwsObject) (*JWK, error) {
	n, err := jwkOctets(key, "n")
	if err != nil {
		return nil, err
	}
	e, err := jwkOctets(key, "e")
	if err != nil {
		return nil, err
	}
	if len(n) == 0 || n[0] == 0 || len(e) == 0 || e[0] == 0 {
		return nil, jwkRefused(`"n" and "e" must be positive and start with no zero octet (RFC 7518 §6.3.1)`)
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < jwkMinModulus || bits > jwkMaxModulus || modulus.Bit(0) == 0 {
		return nil, jwkRefused("its modulus has %d bits; accepted are odd ones of %d to %d", bits, jwkMinModulus, jwkMaxModulus)
	}
	if small := exponent.IsInt64(); !small || exponent.Int64() < jwkMinExponent || exponent.Int64() > jwkMaxExponent || exponent.Bit(0) == 0 {
		return nil, jwkRefused("its exponent has %d bits; accepted are odd ones from %d to %d", exponent.BitLen(), jwkMinExponent, jwkMaxExponent)
	}
	public := &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}
	return jwkNew(public, `{"e":"%s","kty":"RSA","n":"%s"}`, jwkText(e), jwkText(n)), nil
}

// jwkNew makes a JWK of a key and its canonical form (RFC 7638 §3.2), in which
// no character needs escaping.
func jwkNew(public crypto.PublicKey, format string, args ...any) *JWK {
	canonical := fmt.Appendf(nil, format, args...)
	sum := sha256.Sum256(canonical)
	return &JWK{Public: public, Thumbprint: jwkText(sum[:]), JSON: canonical}
}

// jwkAlgorithm returns the one JWS algorithm that fits key, empty when there
// is none.
func jwkAlgorithm(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return "ES256"
		case elliptic.P384():
			return "ES384"
		case elliptic.P521():
			return "ES512"
		}
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize {
			return "EdDSA"
		}
	case *rsa.PublicKey:
		return "RS256"
	}
	return ""
}

// jwkOctets decodes a member that must be there.
func jwkOctets(key jwsObject, name string) ([]byte, error) {
	text, err := key.text(name)
	if err != nil {
		return nil, err
	}
	octets, err := jwsDecode(text)
	if err != nil {
		return nil, jwsMalformed("%s: %q: %w", key.what, name, err)
	}
	return octets, nil
}

func jwkText(octets []byte) string { return base64.RawURLEncoding.EncodeToString(octets) }

// jwkRefused returns an error that wraps ErrBadPublicKey.
func jwkRefused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBadPublicKey, fmt.Errorf(format, args...))
}
