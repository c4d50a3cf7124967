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
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/failure"
)

// oldCA is a CA with an intermediate, and a certificate from each for one key.
type oldCA struct {
	key, rootKey                     *ecdsa.PrivateKey // the leaves' and the root's
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
	c := &oldCA{key: keys[2], rootKey: keys[0]}
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

// A CA that is confined to some names could write any common name.
func TestX5CCommonNames(t *testing.T) {
	clock := newTestTime()
	c := newOldCA(t, clock)
	p := compile(t, c.spec(), testDeps(t, clock))
	for _, test := range []struct {
		confined bool // the intermediate, to corp
		dns      []string
		common   string
		want     string
	}{
		{false, []string{"b.corp"}, "a.corp", "[dns:a.corp dns:b.corp]"},
		{false, nil, "a", "[dns:a]"},
		{false, nil, "10.0.0.7", "[ip:10.0.0.7]"},
		{false, []string{"b.corp"}, "Old Web Server", "[dns:b.corp]"},
		{false, []string{"b.corp"}, "uri:spiffe://corp.example/admin", "[dns:b.corp]"},
		{false, []string{"b.corp"}, "email:root@corp.example", "[dns:b.corp]"},
		{true, []string{"b.corp"}, "ca.elsewhere", "[dns:b.corp]"},
		{true, nil, "ca.elsewhere", "[]"},
	} {
		leaf, between := c.leaf(t, test.confined, test.common, test.dns)
		identity, err := p.Verify(t.Context(), c.token(t, clock, leaf, between))
		if got := fmt.Sprint(identity.Names); err != nil || got != test.want {
			t.Errorf("%+v: names %s, %v", test, got, err)
		}
	}
}

// leaf is a certificate for the leaves' key, and the CA's that has issued it.
func (c *oldCA) leaf(t *testing.T, confined bool, common string, dns []string) (leaf, between []byte) {
	t.Helper()
	ca := *c.intermediate
	if confined {
		ca.PermittedDNSDomains, ca.PermittedDNSDomainsCritical = []string{"corp"}, true
	}
	ca.PublicKey = c.key.Public()
	template := *c.whole
	template.RawSubject, template.Subject, template.DNSNames = nil, pkix.Name{CommonName: common}, dns
	var errs [2]error
	between, errs[0] = x509.CreateCertificate(rand.Reader, &ca, c.root, c.key.Public(), c.rootKey)
	leaf, errs[1] = x509.CreateCertificate(rand.Reader, &template, &ca, c.key.Public(), c.key)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return leaf, between
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
