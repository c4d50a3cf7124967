package ca_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/ca"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/issuer"
	"chancery/internal/keys"
	"chancery/internal/lint"
	"chancery/internal/observe"
	"chancery/internal/policy"
	"chancery/internal/profile"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
)

// road is an authority on a real store, with an issuer that can be told to fail
// and a clock that can be moved.
type road struct {
	*ca.Authority
	store  *sqlite.Store
	issuer *moodyIssuer
	clock  atomic.Int64 // unix milliseconds
	root   *x509.Certificate
}

// moodyIssuer fails as often as it is told to, before or after it has signed.
type moodyIssuer struct {
	*issuer.Local
	failures   atomic.Int32
	afterwards bool
	signed     [][]byte
}

var errToken = errors.New("the token is gone")

func (m *moodyIssuer) Issue(ctx context.Context, intent store.Intent) ([]byte, error) {
	fails := m.failures.Add(-1) >= 0
	if fails && !m.afterwards {
		return nil, errToken
	}
	der, err := m.Local.Issue(ctx, intent)
	m.signed = append(m.signed, der)
	if fails {
		return nil, errToken
	}
	return der, err
}

func (r *road) now() time.Time { return time.UnixMilli(r.clock.Load()).UTC() }

func newRoad(t testing.TB, constraints policy.NameConstraints, changes ...func(*ca.Deps)) *road {
	t.Helper()
	r := &road{}
	r.clock.Store(time.Now().UnixMilli())
	key, certificate := newCA(t, r.now())
	local, err := issuer.NewLocal(key, []*x509.Certificate{certificate})
	if err != nil {
		t.Fatal(err)
	}
	r.issuer, r.root = &moodyIssuer{Local: local}, certificate
	if r.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "ca.db"), Now: r.now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	if err := r.store.RegisterIssuer(t.Context(), local.Record()); err != nil {
		t.Fatal(err)
	}
	profiles := map[string]*profile.Profile{}
	for name, spec := range profile.Defaults() {
		if profiles[name], err = profile.Compile(name, spec); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	deps := ca.Deps{
		Store: r.store, Issuers: map[string]ca.Issuer{ca.DefaultIssuer: r.issuer}, Policy: &policy.Policy{Constraints: constraints}, Profiles: profiles,
		Linter: lint.New(), CheckKey: keys.Check, Now: r.now, Rand: rand.Reader, Log: log, Auditor: observe.NewAuditor(log),
	}
	for _, change := range changes {
		change(&deps)
	}
	if r.Authority, err = ca.New(deps); err != nil {
		t.Fatal(err)
	}
	return r
}

func newCA(t testing.TB, now time.Time) (crypto.Signer, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, certificate
}

// order stores a ready order and returns what its finalization asks for.
func (r *road) order(t *testing.T, id string) ca.Request {
	t.Helper()
	name := identifier.Identifier{Type: identifier.DNS, Value: id + ".example"}
	authz := store.Authorization{
		ID: "z" + id, AccountID: "account", Identifier: name, Token: "t", Methods: []string{"http-01"},
		State: store.AuthorizationPending, Created: r.now(), Expires: r.now().Add(time.Hour),
	}
	order := store.Order{
		ID: id, AccountID: "account", Profile: "tls-server", Identifiers: []identifier.Identifier{name},
		Created: r.now(), Expires: r.now().Add(time.Hour), AuthorizationIDs: []string{authz.ID},
	}
	account := store.Account{ID: "account", Key: store.AccountKey{Thumbprint: "account", JWK: []byte("{}")}, Status: store.AccountValid, Created: r.now()}
	if _, _, err := r.store.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.store.CreateOrder(t.Context(), order, []store.Authorization{authz}); err != nil {
		t.Fatal(err)
	}
	outcome := store.Outcome{Method: "http-01", Settled: r.now(), Expires: r.now().Add(time.Hour)}
	if err := r.store.FinishAuthorization(t.Context(), authz.ID, outcome); err != nil {
		t.Fatal(err)
	}
	return ca.Request{
		Door: "acme", AccountID: "account", Owner: store.Owner{Kind: store.OwnerOrder, ID: id},
		Identifiers: order.Identifiers, PublicKey: newPublicKey(t), Profile: "tls-server",
	}
}

// newPublicKey returns the SubjectPublicKeyInfo of a new key.
func newPublicKey(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// statusOf reads an order's status.
func (r *road) statusOf(t *testing.T, id string) (store.OrderStatus, store.Order) {
	t.Helper()
	order, err := r.store.Order(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return order.Status(r.now()), order
}

func (r *road) inventory(t *testing.T) (good, abandoned int) {
	t.Helper()
	all, err := r.store.ListCertificates(t.Context(), store.CertificateQuery{Now: r.now()})
	if err != nil {
		t.Fatal(err)
	}
	for _, certificate := range all {
		if certificate.Abandoned {
			abandoned++
			if certificate.Revocation == nil {
				t.Errorf("the abandoned serial %s is not revoked", certificate.Serial)
			}
		} else {
			good++
		}
	}
	return good, abandoned
}

func TestIssueRecordsWhatWasLinted(t *testing.T) {
	r := newRoad(t, nil)
	issued, err := r.Issue(t.Context(), r.order(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		t.Fatal(err)
	}
	if err := certificate.CheckSignatureFrom(r.root); err != nil {
		t.Error(err)
	}
	if err := lint.New().Check(certificate.RawTBSCertificate, profileIssuer(t, r).Algorithm()); err != nil {
		t.Errorf("what was signed is not what was linted: %v", err)
	}
	if status, order := r.statusOf(t, "a"); status != store.OrderValid || *order.Certificate != issued.CertificateKey {
		t.Errorf("the order is %s with %v", status, order.Certificate)
	}
	if issued.Rule == "" || issued.Requester != "acme:account" {
		t.Errorf("recorded for %q by rule %q", issued.Requester, issued.Rule)
	}
}

func profileIssuer(t *testing.T, r *road) *profile.Issuer {
	shape, err := profile.NewIssuer(r.root)
	if err != nil {
		t.Fatal(err)
	}
	return shape
}

func TestRefusalsUseNoKeyAndLeaveTheOrderReady(t *testing.T) {
	r := newRoad(t, func(string, []identifier.Identifier) error { return nil })
	forbidding := newRoad(t, func(string, []identifier.Identifier) error {
		return failure.New(failure.Rejected, "outside of the name constraints")
	})
	for name, test := range map[string]struct {
		road   *road
		change func(*ca.Request)
		kind   failure.Kind
	}{
		"forbidden":      {forbidding, func(*ca.Request) {}, failure.Rejected},
		"no profile":     {r, func(q *ca.Request) { q.Profile = "none" }, failure.BadProfile},
		"no key":         {r, func(q *ca.Request) { q.PublicKey = []byte{1} }, failure.BadKey},
		"a far notAfter": {r, func(q *ca.Request) { q.Wishes.NotAfter = r.now().AddDate(5, 0, 0) }, failure.Malformed},
	} {
		request := test.road.order(t, "o"+name[:4])
		test.change(&request)
		if _, err := test.road.Issue(t.Context(), request); failure.KindOf(err) != test.kind {
			t.Errorf("%s: %v is of kind %s, want %s", name, err, failure.KindOf(err), test.kind)
		}
		if status, _ := test.road.statusOf(t, request.Owner.ID); status != store.OrderReady {
			t.Errorf("%s: the order is %s", name, status)
		}
		if len(test.road.issuer.signed) != 0 {
			t.Errorf("%s: something was signed", name)
		}
	}
}

func TestOneOrderIsIssuedOnce(t *testing.T) {
	r := newRoad(t, nil)
	request := r.order(t, "a")
	if _, err := r.Issue(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Issue(t.Context(), request); !errors.Is(err, store.ErrClaimed) {
		t.Errorf("the second time: %v, want ErrClaimed", err)
	}
	if good, abandoned := r.inventory(t); good != 1 || abandoned != 0 {
		t.Errorf("%d certificates and %d abandoned", good, abandoned)
	}
}
