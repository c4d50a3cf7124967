package issuer_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/issuer"
	"chancery/internal/keys"
)

// newIssuer makes an issuer with a key of that type, the TBSCertList of a list
// as crypto/x509 makes it with the same key, and the ResponseData of an answer.
func newIssuer(t *testing.T, keyType, name string) (local *issuer.Local, certList, responseData []byte) {
	t.Helper()
	key, err := keys.Generate(rand.Reader, keyType)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte{1, 2, 3, 4, 5, 6, 7, 8},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	certificate, err := x509.ParseCertificate(der)
	check(t, err)
	local, err = issuer.NewLocal(key, []*x509.Certificate{certificate})
	check(t, err)
	der, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(7), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
	}, certificate, key)
	check(t, err)
	list, err := x509.ParseRevocationList(der)
	check(t, err)
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(2).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddASN1OctetString(make([]byte, 20)) })
		b.AddASN1GeneralizedTime(time.Now().UTC())
		b.AddASN1(asn1.SEQUENCE, func(*cryptobyte.Builder) {})
	})
	responseData, err = b.Bytes()
	check(t, err)
	return local, list.RawTBSRevocationList, responseData
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSignsListsAndAnswers(t *testing.T) {
	for _, keyType := range []string{"P-256", "P-384", "Ed25519", "RSA-2048"} {
		local, certList, responseData := newIssuer(t, keyType, "A")
		der, err := local.SignRevocationList(t.Context(), certList)
		check(t, err)
		list, err := x509.ParseRevocationList(der)
		check(t, err)
		if err := list.CheckSignatureFrom(local.Certificate()); err != nil {
			t.Errorf("%s: %v", keyType, err)
		}
		signature, err := local.SignOCSP(t.Context(), responseData)
		check(t, err)
		if err := local.Certificate().CheckSignature(list.SignatureAlgorithm, responseData, signature); err != nil {
			t.Errorf("%s: %v", keyType, err)
		}
	}
}

// What is one thing is signed as nothing else.
func TestSignsNothingElse(t *testing.T) {
	local, certList, responseData := newIssuer(t, "P-256", "A")
	_, foreign, _ := newIssuer(t, "P-256", "B")
	_, otherAlgorithm, _ := newIssuer(t, "P-384", "A")
	for name, tbs := range map[string][]byte{
		"nothing": nil, "another's list": foreign, "another algorithm": otherAlgorithm, "an answer": responseData,
		"a certificate": local.Certificate().RawTBSCertificate, "the beginning of a list": certList[:20],
	} {
		if _, err := local.SignRevocationList(t.Context(), tbs); err == nil {
			t.Errorf("%s was signed as a list", name)
		}
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "a list": certList, "a certificate": local.Certificate().RawTBSCertificate,
	} {
		if _, err := local.SignOCSP(t.Context(), data); err == nil {
			t.Errorf("%s was signed as an answer", name)
		}
	}
}
