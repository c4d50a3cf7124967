package provisioner

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/failure"
)

// oldCA is a CA with an intermediate, and a certificate from each for one key.
type oldCA struct {
	key                              *ecdsa.PrivateKey // the leaves'
	root, intermediate, short, whole *x509.Certificate // short is from the root, whole from the intermediate
}

func newOldCA(t testing.TB, clock *testTime) *oldCA {
	t.Helper()
	keys := make([]*ecdsa.PrivateKey, 3)
	for i := range keys {
		keys[i], _ = newTestKey(t, jose.ES256).(*ecdsa.PrivateKey)
	}
	number := int64(0)
	issue := func(name string, isCA bool, key *ecdsa.PrivateKey, parent *x509.Certificate, signer *ecdsa.PrivateKey) *x509.Certificate {
		number++
		template := &x509.Certificate{
			SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name}, NotBefore: clock.Now().Add(-time.Hour), NotAfter: clock.Now().Add(time.Hour),
			BasicConstraintsValid: true, IsCA: isCA, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if isCA {
			template.KeyUsage = x509.KeyUsageCertSign
		} else {
			template.DNSNames = []string{name}
		}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	c := &oldCA{key: keys[2]}
	c.root = issue("Old Root", true, keys[0], nil, keys[0])
	c.intermediate = issue("Old CA", true, keys[1], c.root, keys[0])
	c.short = issue("a.corp", false, c.key, c.root, keys[0])
	c.whole = issue("a.corp", false, c.key, c.intermediate, keys[1])
	return c
}

func (c *oldCA) spec() Spec {
	return Spec{Type: "x5c", Roots: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.root.Raw}))}}
}

// token is signed by the leaves' key, and has that for a chain.
func (c *oldCA) token(t testing.TB, clock *testTime, chain ...[]byte) string {
	t.Helper()
	header := make([]string, len(chain))
	for i, der := range chain {
		header[i] = base64.StdEncoding.EncodeToString(der)
	}
	now := clock.Now().Unix()
	payload, err := json.Marshal(map[string]any{"iss": "test", "aud": "https://ca.corp", "sub": "x", "jti": "1", "iat": now, "exp": now + 60})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: c.key}, (&jose.SignerOptions{}).WithHeader("x5c", header))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestX5CTakesChains(t *testing.T) {
	clock := newTestTime()
	c := newOldCA(t, clock)
	p := compile(t, c.spec(), testDeps(t, clock))
	for name, chain := range map[string][][]byte{
		"from the root":        {c.short.Raw},
		"by an intermediate":   {c.whole.Raw, c.intermediate.Raw},
		"with the root":        {c.whole.Raw, c.intermediate.Raw, c.root.Raw},
		"with what is besides": {c.short.Raw, c.intermediate.Raw, c.whole.Raw},
	} {
		if identity, err := p.Verify(t.Context(), c.token(t, clock, chain...)); err != nil || identity.Subject != "a.corp" || len(identity.Names) != 1 {
			t.Errorf("%s: %+v, %v", name, identity, err)
		}
	}
	for name, chain := range map[string][][]byte{
		"without the intermediate": {c.whole.Raw}, "the other way round": {c.intermediate.Raw, c.whole.Raw}, "the root alone": {c.root.Raw},
	} {
		if identity, err := p.Verify(t.Context(), c.token(t, clock, chain...)); failure.KindOf(err) != failure.Unauthorized {
			t.Errorf("%s: %+v, %v", name, identity, err)
		}
	}
}

// FuzzX5C has anybody who has the key of a certificate write the chain.
func FuzzX5C(f *testing.F) {
	clock := newTestTime()
	c := newOldCA(f, clock)
	p := compile(f, c.spec(), testDeps(f, clock))
	for _, chain := range [][3][]byte{
		{c.short.Raw}, {c.whole.Raw, c.intermediate.Raw}, {c.whole.Raw, c.intermediate.Raw, c.root.Raw},
		{c.intermediate.Raw, c.root.Raw}, {c.root.Raw}, {c.whole.Raw, c.whole.Raw, c.whole.Raw}, {{0x30, 0}, nil, {0}},
	} {
		f.Add(chain[0], chain[1], chain[2])
	}
	f.Fuzz(func(t *testing.T, leaf, second, third []byte) {
		var chain [][]byte
		for _, der := range [][]byte{leaf, second, third} {
			if len(der) > 0 {
				chain = append(chain, der)
			}
		}
		identity, err := p.Verify(t.Context(), c.token(t, clock, chain...))
		if err != nil {
			if kind := failure.KindOf(err); kind != failure.Malformed && kind != failure.Unauthorized {
				t.Errorf("%v is of the kind %v", err, kind)
			}
			return
		}
		if !bytes.Equal(chain[0], c.short.Raw) && !bytes.Equal(chain[0], c.whole.Raw) {
			t.Errorf("%x proves %+v", chain[0], identity)
		}
	})
}
