package ca_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"chancery/internal/ca"
	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/issuer"
	"chancery/internal/profile"
	"chancery/internal/store"
)

// tokenRequest is what a door asks for that spends a token.
func tokenRequest(t *testing.T, token string) ca.Request {
	t.Helper()
	return ca.Request{
		Door: "token", Provisioner: "ci", Subject: "runner", Owner: store.Owner{Kind: store.OwnerToken, ID: token},
		Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: "app.example"}},
		PublicKey:   newPublicKey(t), Profile: "tls-server",
	}
}

func TestATokenIsSpentOnce(t *testing.T) {
	r := newRoad(t, nil)
	issued, err := r.Issue(t.Context(), tokenRequest(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if issued.Requester != "token:ci/runner" {
		t.Errorf("the requester is %q", issued.Requester)
	}
	if _, err := r.Issue(t.Context(), tokenRequest(t, "a")); !errors.Is(err, store.ErrUsed) {
		t.Errorf("spent twice: %v", err)
	}
	if _, err := r.Issue(t.Context(), tokenRequest(t, "b")); err != nil {
		t.Errorf("the next token: %v", err)
	}
}

// Nobody waits for what a token asked for, so when signing fails the serial is
// given up and the token is as good as before.
func TestATokenIsFreeAgainWhenSigningFails(t *testing.T) {
	r := newRoad(t, nil)
	r.issuer.failures.Store(1)
	if _, err := r.Issue(t.Context(), tokenRequest(t, "a")); failure.KindOf(err) != failure.Unavailable {
		t.Fatalf("issued without a signer, or %v", err)
	}
	if _, err := r.Settle(t.Context(), r.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Issue(t.Context(), tokenRequest(t, "a")); err != nil {
		t.Fatalf("the token is not free: %v", err)
	}
	if good, abandoned := r.inventory(t); good != 1 || abandoned != 1 {
		t.Errorf("%d certificates and %d abandoned, want one of each", good, abandoned)
	}
}

// fixedPlace is a Places that remembers who was asked for.
type fixedPlace struct{ revocable []bool }

func (p *fixedPlace) Of(_ context.Context, _ string, revocable bool) (ca.Place, error) {
	p.revocable = append(p.revocable, revocable)
	if !revocable {
		return ca.Place{IssuerURL: "http://ca.example/ca"}, nil
	}
	return ca.Place{Partition: 7, IssuerURL: "http://ca.example/ca", CRLURL: "http://ca.example/7.crl", OCSPURL: "http://ca.example/ocsp"}, nil
}

func TestCertificatesSayWhereTheirRevocationIs(t *testing.T) {
	places := &fixedPlace{}
	r := newRoad(t, nil, func(d *ca.Deps) { d.Places = places })
	replaced := store.CertificateKey{IssuerID: r.issuer.ID(), Serial: [20]byte{1}}
	request := tokenRequest(t, "a")
	request.Replaces = &replaced
	issued, err := r.Issue(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.CRLDistributionPoints) != 1 || leaf.CRLDistributionPoints[0] != "http://ca.example/7.crl" ||
		len(leaf.OCSPServer) != 1 || len(leaf.IssuingCertificateURL) != 1 {
		t.Errorf("the certificate points to %v, %v, %v", leaf.CRLDistributionPoints, leaf.OCSPServer, leaf.IssuingCertificateURL)
	}
	stored, err := r.store.Certificate(t.Context(), issued.CertificateKey)
	if err != nil {
		t.Fatal(err)
	}
	if stored.Partition != 7 || stored.Replaces == nil || *stored.Replaces != replaced ||
		stored.KeyHash != sha256.Sum256(leaf.RawSubjectPublicKeyInfo) {
		t.Errorf("stored as partition %d, replacing %v, with the key %x", stored.Partition, stored.Replaces, stored.KeyHash)
	}
	request = tokenRequest(t, "b")
	request.Profile = "shortlived"
	if _, err := r.Issue(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if len(places.revocable) != 2 || !places.revocable[0] || places.revocable[1] {
		t.Errorf("asked for revocable ones: %v, want the first only", places.revocable)
	}
}

// The CA's own profiles are closed to doors, and its own requests can name an
// earlier generation of an issuer.
func TestOwnProfilesAndFormerIssuers(t *testing.T) {
	key, certificate := newCA(t, time.Now())
	former, err := issuer.NewLocal(key, []*x509.Certificate{certificate})
	if err != nil {
		t.Fatal(err)
	}
	own, err := profile.Compile("responder", profile.Spec{
		Subject: profile.Subject{CommonName: []profile.Text{expr.Literal("Responder")}}, SAN: profile.SAN{OmitIdentifiers: true},
		ExtendedKeyUsages: []string{"OCSPSigning"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRoad(t, nil, func(d *ca.Deps) {
		d.Own = map[string]*profile.Profile{own.Name: own}
		d.Former = map[string]ca.Issuer{former.ID(): former}
	})
	request := tokenRequest(t, "a")
	request.Profile = own.Name
	if _, err := r.Issue(t.Context(), request); failure.KindOf(err) != failure.BadProfile {
		t.Errorf("a door got the CA's own profile: %v", err)
	}
	issued, err := r.Issue(t.Context(), ca.Request{
		Door: "self", IssuerID: former.ID(), PublicKey: newPublicKey(t), Profile: own.Name,
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.CheckSignatureFrom(certificate); err != nil || !bytes.Equal(leaf.AuthorityKeyId, certificate.SubjectKeyId) {
		t.Errorf("not signed by the issuer that was named: %v", err)
	}
	if issued.Subject != "CN=Responder" {
		t.Errorf("the subject is recorded as %q", issued.Subject)
	}
}
