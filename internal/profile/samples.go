package profile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"chancery/internal/expr"
	"chancery/internal/identifier"
	"chancery/internal/serial"
)

// Samples writes certificates as the profile makes them under issuer, for
// linting when a profile is loaded: for each class of keys one with a common
// name, and one with a name of each other type that it takes; all have every
// URL. The keys are nobody's. Expressions are evaluated over facts that look
// like real ones; where these don't do, a sample of what is expected stands
// in.
func (p *Profile) Samples(issuer *Issuer, now time.Time) ([]TBS, error) {
	var samples []TBS
	for class := range classes {
		if p.fixed[class] == nil {
			continue
		}
		for _, typ := range p.Spec.SAN.Types {
			ids := sampleNames(identifier.Type(typ))
			sample, err := p.sample(issuer, now, class, ids)
			if err != nil {
				return nil, fmt.Errorf("couldn't write a sample certificate of the profile %s: %w", p.Name, err)
			}
			samples = append(samples, sample)
		}
	}
	return samples, nil
}

func sampleNames(typ identifier.Type) []identifier.Identifier {
	value := map[identifier.Type]string{
		identifier.IP: "10.0.0.1", identifier.Email: "someone@sample.internal", identifier.URI: "spiffe://sample.internal/service",
	}[typ]
	if typ == identifier.DNS {
		return []identifier.Identifier{{Type: typ, Value: "host.sample.internal"}, {Type: typ, Value: "*.sample.internal"}}
	}
	return []identifier.Identifier{{Type: typ, Value: value}}
}

func sampleFacts() expr.Facts {
	return expr.Facts{
		Account: &expr.Account{ID: "sample"},
		Grant:   &expr.Grant{ID: "sample", Name: "sample", Labels: map[string]string{"team": "sample"}},
		Token:   expr.Claims{"sub": "sample", "email": "sample@sample.internal", "groups": []any{"sample"}},
	}
}

func (p *Profile) sample(issuer *Issuer, now time.Time, class class, ids []identifier.Identifier) (TBS, error) {
	pub, err := sampleKey(class)
	if err != nil {
		return TBS{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return TBS{}, err
	}
	notBefore, notAfter, err := p.Validity(issuer, Wishes{}, now)
	if err != nil {
		return TBS{}, err
	}
	in := Input{
		Issuer: issuer, Serial: serial.Number{1, 19: 1}, Identifiers: ids, PublicKey: pub, SPKI: spki, Now: now, Facts: sampleFacts(),
		IssuerURL: "http://ca.internal/issuer.pem", CRLURL: "http://ca.internal/1.crl", OCSPURL: "http://ca.internal/ocsp",
	}
	if ids[0].Type == identifier.DNS {
		in.Wishes.CommonName = ids[0].Value
	}
	return p.write(&in, notBefore, notAfter, true)
}

// sampleKey returns a well-formed public key, the same every time and without
// the cost of making an RSA key: its modulus only looks like one.
func sampleKey(c class) (crypto.PublicKey, error) {
	seed := []byte("a seed for the keys of samples!!")
	switch c {
	case classEC:
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed)
		if err != nil {
			return nil, err
		}
		return key.Public(), nil
	case classEd25519:
		return ed25519.NewKeyFromSeed(seed).Public(), nil
	default:
		return &rsa.PublicKey{N: sampleModulus(), E: 65537}, nil
	}
}

// sampleModulus is a number of 2048 bits without small factors.
func sampleModulus() *big.Int {
	small := big.NewInt(1)
	for odd := int64(3); odd < 1000; odd += 2 {
		small.Mul(small, big.NewInt(odd))
	}
	one, n := big.NewInt(1), new(big.Int).Lsh(big.NewInt(3), 2046)
	n.Add(n, one)
	for new(big.Int).GCD(nil, nil, n, small).Cmp(one) != 0 {
		n.Add(n, big.NewInt(2))
	}
	return n
}
