package ca_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"log/slog"
	"math/big"
	"testing"
	"time"

	"chancery/internal/ca"
	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/issuer"
	"chancery/internal/keys"
	"chancery/internal/lint"
	"chancery/internal/policy"
	"chancery/internal/profile"
	"chancery/internal/store"
)

// What was linted is what the intent holds and what is signed, to the octet;
// and what profiles read is stored with it.
func TestSignedBytesAreTheLintedBytes(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	shape, err := profile.Compile("svid", profile.Spec{
		SAN: profile.SAN{OmitIdentifiers: true, URIs: []profile.Text{expr.CEL[string](`"spiffe://corp/" + token.sub`)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := issuer.NewLocal(key, []*x509.Certificate{selfSigned(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	road, linter := &recorder{}, &listener{linter: lint.New()}
	authority, err := ca.New(ca.Deps{
		Store: road, Issuers: map[string]ca.Issuer{ca.DefaultIssuer: signer}, Policy: &policy.Policy{},
		Profiles: map[string]*profile.Profile{"svid": shape}, Linter: linter, CheckKey: keys.Check,
		Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler), Auditor: silent{},
	})
	if err != nil {
		t.Fatal(err)
	}
	public, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(public.Public())
	if err != nil {
		t.Fatal(err)
	}
	asked := identifier.Identifier{Type: identifier.DNS, Value: "a.corp"}
	made, err := authority.Issue(t.Context(), ca.Request{
		Door: "self", Identifiers: []identifier.Identifier{asked}, PublicKey: spki, Profile: "svid",
		Facts: expr.Facts{Token: expr.Claims{"sub": "web"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(made.DER)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(signed.RawTBSCertificate, linter.linted) || !bytes.Equal(road.intent.TBS, linter.linted) {
		t.Errorf("linted %x\nstored %x\nsigned %x", linter.linted, road.intent.TBS, signed.RawTBSCertificate)
	}
	var stored ca.Request
	if err := json.Unmarshal(road.intent.Request, &stored); err != nil || stored.Facts.Token["sub"] != "web" {
		t.Errorf("the intent holds %s, %v", road.intent.Request, err)
	}
	added := identifier.Identifier{Type: identifier.URI, Value: "spiffe://corp/web"}
	if got := made.Identifiers; len(got) != 2 || got[0] != asked || got[1] != added {
		t.Errorf("it is found by %v, want %v and %v", got, asked, added)
	}
}

func selfSigned(t *testing.T, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1, 2, 3},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// recorder keeps the intent it is given.
type recorder struct{ intent store.Intent }

func (r *recorder) BeginIssuance(_ context.Context, intent store.Intent) error {
	r.intent = intent
	return nil
}
func (*recorder) CompleteIssuance(context.Context, store.Certificate) error { return nil }
func (*recorder) Intents(context.Context, time.Time, int) ([]store.Intent, error) {
	return nil, nil
}
func (*recorder) AbandonIntent(context.Context, store.CertificateKey, time.Time, *store.Intent, *failure.Report) error {
	return nil
}

// listener keeps what is linted.
type listener struct {
	linter *lint.Linter
	linted []byte
}

func (l *listener) Check(tbs, algorithm []byte) error {
	l.linted = tbs
	return l.linter.Check(tbs, algorithm)
}

type silent struct{}

func (silent) Audit(context.Context, string, ...slog.Attr) {}
