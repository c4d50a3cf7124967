package keys

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // a kind of key to refuse
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"

	"chancery/internal/failure"
)

// wantBad fails the test unless Check refuses pub and says so.
func wantBad(t *testing.T, pub crypto.PublicKey, says string) {
	t.Helper()
	err := Check(pub)
	refusal, ok := errors.AsType[*failure.Error](err)
	if !ok || refusal.Kind != failure.BadKey || !strings.Contains(refusal.Public, says) {
		t.Errorf("Check(%s): %v; want a failure of kind BadKey that says %q", TypeOf(pub), err, says)
	}
}

func generate(t testing.TB, typ string) crypto.Signer {
	t.Helper()
	key, err := Generate(rand.Reader, typ)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestGeneratedKeysPass(t *testing.T) {
	for _, typ := range []string{"P-256", "P-384", "P-521", "Ed25519", "RSA-2048", "RSA-2056", "RSA-3072"} {
		key := generate(t, typ)
		if got := TypeOf(key.Public()); got != typ {
			t.Errorf("TypeOf a generated %s is %s", typ, got)
		}
		if err := Check(key.Public()); err != nil {
			t.Errorf("Check of a generated %s: %v", typ, err)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	for _, typ := range []string{"", "p-256", "P-224", "RSA", "RSA-", "RSA-1024", "RSA-2047", "RSA-8200", "RSA-x", "DSA"} {
		if _, err := Generate(rand.Reader, typ); failure.KindOf(err) != failure.BadKey {
			t.Errorf("Generate(%q): %v, want a failure of kind BadKey", typ, err)
		}
	}
}

func TestCheckRefusesTypes(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wantBad(t, p224.Public(), "P-224; allowed are P-256")
	wantBad(t, x25519.Public(), "unsupported type (*ecdh.PublicKey)")
	wantBad(t, &dsa.PublicKey{}, "unsupported type (*dsa.PublicKey)")
	wantBad(t, &ecdsa.PublicKey{}, "on the curve")
	wantBad(t, nil, "unsupported type")
}

//nolint:staticcheck // only the deprecated fields can hold such points
func TestCheckRefusesPoints(t *testing.T) {
	good := generate(t, "P-256").Public().(*ecdsa.PublicKey)
	moved := new(big.Int).Add(good.Y, big.NewInt(1))
	p := good.Params().P
	for name, key := range map[string]*ecdsa.PublicKey{
		"infinity":     {Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)},
		"off curve":    {Curve: elliptic.P256(), X: good.X, Y: moved},
		"other curve":  {Curve: elliptic.P384(), X: good.X, Y: good.Y},
		"not reduced":  {Curve: elliptic.P256(), X: new(big.Int).Add(good.X, p), Y: good.Y},
		"negative":     {Curve: elliptic.P256(), X: new(big.Int).Sub(good.X, p), Y: good.Y},
		"more than 32": {Curve: elliptic.P256(), X: new(big.Int).Lsh(good.X, 300), Y: good.Y},
	} {
		t.Run(name, func(t *testing.T) { wantBad(t, key, "not on the curve") })
	}
}

// The points whose order divides 8, with and without the sign of x, and y = 1
// and y = 0 in encodings that are not reduced.
func TestCheckRefusesSmallOrder(t *testing.T) {
	for _, y := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		key, err := hex.DecodeString(y)
		if err != nil {
			t.Fatal(err)
		}
		wantBad(t, ed25519.PublicKey(key), "small order")
		key[31] |= 0x80
		wantBad(t, ed25519.PublicKey(key), "small order")
	}
	wantBad(t, ed25519.PublicKey(make([]byte, 31)), "31 octets")
}

func TestCheckRefusesRSA(t *testing.T) {
	good := generate(t, "RSA-2048").Public().(*rsa.PublicKey)
	for _, test := range []struct {
		key  rsa.PublicKey
		says string
	}{
		{rsa.PublicKey{E: 65537}, "modulus"},
		{rsa.PublicKey{N: new(big.Int).Neg(good.N), E: 65537}, "modulus"},
		{rsa.PublicKey{N: new(big.Int).Rsh(good.N, 1024), E: 65537}, "1024 bits; allowed are 2048 to 8192"},
		{rsa.PublicKey{N: new(big.Int).Rsh(good.N, 1), E: 65537}, "2047 bits"},
		{rsa.PublicKey{N: new(big.Int).Lsh(good.N, 1), E: 65537}, "2049 bits"},
		{rsa.PublicKey{N: new(big.Int).Lsh(good.N, 8192), E: 65537}, "10240 bits"},
		{rsa.PublicKey{N: new(big.Int).Add(good.N, big.NewInt(1)), E: 65537}, "even"},
		{rsa.PublicKey{N: good.N, E: 1}, "exponent 1;"},
		{rsa.PublicKey{N: good.N, E: 3}, "exponent 3;"},
		{rsa.PublicKey{N: good.N, E: 65535}, "exponent 65535"},
		{rsa.PublicKey{N: good.N, E: 65538}, "exponent 65538"},
		{rsa.PublicKey{N: good.N, E: 1<<31 + 1}, "exponent 2147483649"},
		{rsa.PublicKey{N: good.N, E: -65537}, "exponent -65537"},
	} {
		wantBad(t, &test.key, test.says)
	}
}

// OpenSSL and Go agree with RFC 7093 on what is hashed; x509 computes the same
// identifier for a CA that has none.
func TestSKI(t *testing.T) {
	for _, typ := range []string{"P-256", "P-384", "Ed25519", "RSA-2048"} {
		key := generate(t, typ)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		got, err := SKI(key.Public())
		if err != nil || !bytes.Equal(got, cert.SubjectKeyId) {
			t.Errorf("SKI of %s = %x, %v; want %x", typ, got, err, cert.SubjectKeyId)
		}
	}
	if _, err := SKI(nil); err == nil {
		t.Error("SKI(nil) gives no error")
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, typ := range []string{"P-256", "P-384", "Ed25519", "RSA-2048", "RSA-4096"} {
		b.Run(typ, func(b *testing.B) {
			pub := generate(b, typ).Public()
			b.ReportAllocs()
			for b.Loop() {
				if err := Check(pub); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
