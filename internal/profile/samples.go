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

	"chancery/internal/identifier"
	"chancery/internal/serial"
)

// Samples writes certificates as the profile makes them under issuer, for
// linting when a profile is loaded: for each class of keys one with a common
// name, one with an address only, and all with every URL. The keys are
// nobody's.
func (p *Profile) Samples(issuer *Issuer, now time.Time) ([]TBS, error) {
	var samples []TBS
	host := identifier.Identifier{Type: identifier.DNS, Value: "host.sample.internal"}
	wildcard := identifier.Identifier{Type: identifier.DNS, Value: "*.sample.internal"}
	addr := identifier.Identifier{Type: identifier.IP, Value: "10.0.0.1"}
	for class := range classes {
		if p.fixed[class] == nil {
			continue
		}
		for _, ids := range [][]identifier.Identifier{{host, wildcard}, {addr}} {
			sample, err := p.sample(issuer, now, class, ids)
			if err != nil {
				return nil, fmt.Errorf("couldn't write a sample certificate of the profile %s: %w", p.Name, err)
			}
			samples = append(samples, sample)
		}
	}
	return samples, nil
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
		Issuer: issuer, Serial: serial.Number{1, 19: 1}, Identifiers: ids, PublicKey: pub, SPKI: spki, Now: now,
		IssuerURL: "http://ca.internal/issuer.pem", CRLURL: "http://ca.internal/1.crl", OCSPURL: "http://ca.internal/ocsp",
	}
	if ids[0].Type == identifier.DNS {
		in.Wishes.CommonName = ids[0].Value
	}
	return p.write(&in, notBefore, notAfter)
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
