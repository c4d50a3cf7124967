package x509der

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"
)

// The standard library must have signed with the same algorithm as we name,
// and assembling its parts again must give its bytes.
func TestAgreesWithStandardLibrary(t *testing.T) {
	for name, key := range keys(t) {
		t.Run(name, func(t *testing.T) {
			template := &x509.Certificate{
				SerialNumber: big.NewInt(1), NotAfter: time.Unix(1, 0), Subject: pkix.Name{CommonName: "x"},
			}
			if _, ok := key.(*rsa.PrivateKey); ok {
				template.SignatureAlgorithm = x509.SHA256WithRSA
			}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			algorithm, hash, err := SignatureAlgorithm(cert.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			if got := Assemble(cert.RawTBSCertificate, algorithm, cert.Signature); !bytes.Equal(got, der) {
				t.Errorf("got  %x\nwant %x", got, der)
			}
			if _, edwards := key.(ed25519.PrivateKey); edwards != (hash == 0) {
				t.Errorf("hash %v", hash)
			}
		})
	}
}

func keys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[curve.Params().Name] = key
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys["Ed25519"] = edwards
	if keys["RSA"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSignatureAlgorithmRefuses(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for says, pub := range map[string]crypto.PublicKey{"P-224": key.Public(), "string": "key"} {
		if _, _, err := SignatureAlgorithm(pub); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want an error that says %q", err, says)
		}
	}
}

// The vector is the example of RFC 7093 §3.
func TestKeyID(t *testing.T) {
	spki, err := hex.DecodeString("3059301306072a8648ce3d020106082a8648ce3d030107034200047f7f35a79794c950060b8029fc8f363a" +
		"28f11159692d9d34e6ac948190434735f833b1a66652dc514337aff7f5c9c75d670c019d95a5d639b72744c64a9128bb")
	if err != nil {
		t.Fatal(err)
	}
	got, err := KeyID(spki)
	if want := "bf37b3e5808fd46d54b28e846311bcce1cad2e1a"; err != nil || hex.EncodeToString(got[:]) != want {
		t.Errorf("got %x, %v; want %s", got, err, want)
	}
	for _, bad := range [][]byte{nil, spki[:20], append(spki, 0), {0x30, 0}} {
		if _, err := KeyID(bad); err == nil {
			t.Errorf("KeyID(%x) is no error", bad)
		}
	}
}
