package profile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/x509der"
)

var now = time.Date(2026, 11, 23, 20, 3, 4, 567, time.UTC)

// testKeys are made once, for RSA ones take long.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		keys[curve.Params().Name] = key
		noError(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	noError(err)
	keys["Ed25519"] = edwards
	keys["RSA-2048"], err = rsa.GenerateKey(rand.Reader, 2048)
	noError(err)
	return keys
})

func noError(err error) {
	if err != nil {
		panic(err)
	}
}

// testCA is a self-signed issuer, good from a day before now.
type testCA struct {
	cert   *x509.Certificate
	key    crypto.Signer
	issuer *Issuer
}

func newCA(t testing.TB, kind string, notAfter time.Time) *testCA {
	t.Helper()
	key := testKeys()[kind]
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Größe"}, CommonName: "Test CA"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := NewIssuer(cert)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{cert, key, issuer}
}

// sign finishes a certificate and parses it.
func (ca *testCA) sign(t testing.TB, tbs []byte) *x509.Certificate {
	t.Helper()
	_, hash, err := x509der.SignatureAlgorithm(ca.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest := tbs
	if hash != 0 {
		h := hash.New()
		h.Write(tbs)
		digest = h.Sum(nil)
	}
	signature, err := ca.key.Sign(rand.Reader, digest, hash)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(x509der.Assemble(tbs, ca.issuer.Algorithm(), signature))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// input asks for a certificate over a key of that kind.
func (ca *testCA) input(t testing.TB, kind string, ids ...identifier.Identifier) Input {
	t.Helper()
	pub := testKeys()[kind].Public()
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	number, err := serial.New(now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Input{Issuer: ca.issuer, Serial: number, Identifiers: ids, PublicKey: pub, SPKI: spki, Now: now}
}

func dns(name string) identifier.Identifier {
	return identifier.Identifier{Type: identifier.DNS, Value: name}
}
func ip(addr string) identifier.Identifier {
	return identifier.Identifier{Type: identifier.IP, Value: addr}
}

func compile(t testing.TB, name string, spec Spec) *Profile {
	t.Helper()
	p, err := Compile(name, spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
