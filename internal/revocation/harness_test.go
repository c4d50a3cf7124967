package revocation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/ca"
	"chancery/internal/hierarchy"
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

const baseURL = "http://ca.example.test"

// authority is a CA on a real store, whose clock a test can move.
type authority struct {
	t         testing.TB
	road      *ca.Authority
	store     store.Store
	lists     *Lists
	responder *Responder
	chain     []*x509.Certificate
	id        string
	clock     atomic.Int64 // unix nanoseconds
	overdue   int
}

func (a *authority) now() time.Time { return time.Unix(0, a.clock.Load()).UTC() }

func (a *authority) pass(d time.Duration) { a.clock.Add(int64(d)) }

func defaultSettings() Settings {
	return Settings{BaseURL: baseURL, ListSize: 100, ListLifetime: 24 * time.Hour, FullList: true, OCSPLifetime: time.Hour}
}

// theIssuer and anotherIssuer are made once, for sealing the key of a root is
// slow on purpose; so are the linter and the profiles.
var (
	theIssuer, anotherIssuer = sync.OnceValue(makeIssuer), sync.OnceValue(makeIssuer)

	linter   = sync.OnceValue(lint.New)
	profiles = sync.OnceValue(func() map[string]*profile.Profile {
		compiled := map[string]*profile.Profile{}
		for name, spec := range profile.Defaults() {
			compiled[name] = must(profile.Compile(name, spec))
		}
		return compiled
	})
)

func makeIssuer() *issuer.Local {
	dir := must(os.MkdirTemp("", "revocation"))
	defer os.RemoveAll(dir)
	made := must(hierarchy.Create(hierarchy.Options{Dir: dir, Passphrase: []byte("x")}))
	return must(issuer.NewLocal(made.Signer, made.Chain()))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// newAuthority makes a CA with a store of its own. A test may wrap its issuer.
func newAuthority(t testing.TB, settings Settings, wrap func(*issuer.Local) Issuer) *authority {
	t.Helper()
	return openAuthority(t, theIssuer(), settings, wrap)
}

func openAuthority(t testing.TB, local *issuer.Local, settings Settings, wrap func(*issuer.Local) Issuer) *authority {
	t.Helper()
	a := &authority{t: t, chain: local.Chain(), id: local.ID()}
	a.clock.Store(time.Now().UnixNano())
	database, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "ca.db"), Now: a.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	a.store = Watch(database, func(keys ...store.CertificateKey) {
		if a.responder != nil {
			a.responder.Forget(keys...)
		}
	})
	if err := a.store.RegisterIssuer(t.Context(), local.Record()); err != nil {
		t.Fatal(err)
	}
	var signing Issuer = local
	if wrap != nil {
		signing = wrap(local)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	a.lists = NewLists(ListDeps{
		Store: a.store, Issuers: []Issuer{signing}, Settings: settings, Now: a.now, Log: log,
		Jitter: func() float64 { return 0.5 }, Overdue: func(count int) { a.overdue = count },
	})
	a.openRoad(local, log)
	a.responder, err = NewResponder(ResponderDeps{
		Inventory: a.store, Authority: a.road, Issuers: []Issuer{signing}, Settings: settings, Now: a.now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) openRoad(local *issuer.Local, log *slog.Logger) {
	a.t.Helper()
	own, err := Profiles()
	if err != nil {
		a.t.Fatal(err)
	}
	if a.road, err = ca.New(ca.Deps{
		Store: a.store, Issuers: map[string]ca.Issuer{ca.DefaultIssuer: local}, Places: a.lists, Own: own,
		Policy: &policy.Policy{}, Profiles: profiles(), Linter: linter(), CheckKey: keys.Check,
		Now: a.now, Rand: rand.Reader, Log: log, Auditor: observe.NewAuditor(log),
	}); err != nil {
		a.t.Fatal(err)
	}
}

var testKey = func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}()

// issue issues a certificate by a profile.
func (a *authority) issue(profileName string) (store.Certificate, *x509.Certificate) {
	a.t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(testKey.Public())
	if err != nil {
		a.t.Fatal(err)
	}
	issued, err := a.road.Issue(a.t.Context(), ca.Request{
		Door: policy.SelfDoor, PublicKey: spki, Profile: profileName,
		Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: "a.example.test"}},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		a.t.Fatal(err)
	}
	return issued, leaf
}

func (a *authority) revoke(certificate store.Certificate, reason int) {
	a.t.Helper()
	if err := a.store.Revoke(a.t.Context(), certificate.CertificateKey, store.Revocation{At: a.now(), Reason: reason}); err != nil {
		a.t.Fatal(err)
	}
}

// publish does what Run does once in a second.
func (a *authority) publish() {
	var work sync.WaitGroup
	a.lists.publishStale(a.t.Context(), &work)
	work.Wait()
}

// list is the list in force, checked to be signed by the issuer.
func (a *authority) list(partition int64) *x509.RevocationList {
	a.t.Helper()
	document, err := a.lists.List(a.t.Context(), a.id, partition)
	if err != nil {
		a.t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(document.DER)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(a.chain[0]); err != nil {
		a.t.Fatal(err)
	}
	return list
}

func listsSerial(list *x509.RevocationList, leaf *x509.Certificate) bool {
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return true
		}
	}
	return false
}

// get asks a handler.
func get(t testing.TB, handler http.HandlerFunc, method, target string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, target, body)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	handler(recorder, request)
	return recorder
}
