package admin_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/archive"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/inventory"
	"chancery/internal/observe"
	"chancery/internal/serial"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fixture is the API on a real store, with what the tests look at.
type fixture struct {
	*sqlite.Store
	audit  syncBuffer
	forgot []string
	deps   admin.Deps
}

type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	now := func() time.Time { return epoch }
	database, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "store.db"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	f := &fixture{Store: database}
	f.deps = admin.Deps{
		Store: database, Backup: database.Backup, Dir: dir, Now: now,
		Status:        func(context.Context) admin.Status { return admin.Status{Version: "1", Serving: true, Ready: true} },
		AccountClosed: func(id string) { f.forgot = append(f.forgot, id) },
		Auditor:       observe.NewAuditor(slog.New(slog.NewTextHandler(&f.audit, nil))),
	}
	return f
}

// overSocket serves the API on a Unix socket, as the server does.
func (f *fixture) overSocket(t *testing.T) *admin.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: admin.New(f.deps), ConnContext: admin.ConnContext}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	client := admin.Dial(path)
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		<-served
	})
	return client
}

func (f *fixture) inProcess(t *testing.T) *admin.Client {
	t.Helper()
	released := false
	client := admin.InProcess(admin.New(f.deps), func() error { released = true; return nil })
	t.Cleanup(func() {
		if err := client.Close(); err != nil || !released {
			t.Errorf("Close: %v, released: %v", err, released)
		}
	})
	return client
}

// issue puts a certificate into the inventory.
func (f *fixture) issue(t *testing.T, number byte, name string, change func(*store.Certificate)) store.Certificate {
	t.Helper()
	c, err := f.tryIssue(t.Context(), number, name, change)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (f *fixture) tryIssue(ctx context.Context, number byte, name string, change func(*store.Certificate)) (store.Certificate, error) {
	c := store.Certificate{
		CertificateKey: store.CertificateKey{IssuerID: "0011223344556677", Serial: serial.Number{0: 1, 19: number}},
		Profile:        "tls-server", Requester: "acme:a1", AccountID: "a1", Rule: "default",
		Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: name}},
		DER:         []byte{0x30, number}, Fingerprint: sha256.Sum256([]byte{0x30, number}),
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(24 * time.Hour), Issued: epoch.Add(-time.Hour),
	}
	if change != nil {
		change(&c)
	}
	intent := store.Intent{CertificateKey: c.CertificateKey, TBS: []byte{1}, Request: []byte("{}"), Attempt: 1, Created: c.Issued, Deadline: epoch}
	if err := f.BeginIssuance(ctx, intent); err != nil {
		return c, err
	}
	return c, f.CompleteIssuance(ctx, c)
}

func collect[T any](t *testing.T, found func(func(T, error) bool)) []T {
	t.Helper()
	var list []T
	for item, err := range found {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, item)
	}
	return list
}

// refusal expects an answer that is not success and returns its hint.
func refusal(t *testing.T, err error, status int, says string) (hint string) {
	t.Helper()
	refused, ok := errors.AsType[*admin.Error](err)
	if !ok || refused.Status != status || !strings.Contains(refused.Text, says) {
		t.Fatalf("got %#v (%v); want status %d saying %q", refused, err, status, says)
	}
	return refused.Hint
}

func TestListCertificates(t *testing.T) {
	f := newFixture(t)
	f.issue(t, 1, "a.corp", nil)
	f.issue(t, 2, "b.corp", func(c *store.Certificate) { c.Profile, c.NotAfter = "shortlived", epoch.Add(-time.Minute) })
	f.issue(t, 3, "a.corp", func(c *store.Certificate) { c.AccountID = "a2" })
	if err := f.Revoke(t.Context(), store.CertificateKey{IssuerID: "0011223344556677", Serial: serial.Number{0: 1, 19: 3}},
		store.Revocation{At: epoch, Reason: 4}); err != nil {
		t.Fatal(err)
	}
	client := f.overSocket(t)
	for name, test := range map[string]struct {
		filter inventory.Query
		max    int
		want   []byte
	}{
		"all":            {want: []byte{3, 2, 1}},
		"first":          {max: 1, want: []byte{3}},
		"by name":        {filter: inventory.Query{Name: "A.corp"}, want: []byte{3, 1}},
		"by account":     {filter: inventory.Query{Account: "a2"}, want: []byte{3}},
		"by profile":     {filter: inventory.Query{Profile: "shortlived"}, want: []byte{2}},
		"valid":          {filter: inventory.Query{Status: "valid"}, want: []byte{1}},
		"expired":        {filter: inventory.Query{Status: "expired"}, want: []byte{2}},
		"revoked":        {filter: inventory.Query{Status: "revoked"}, want: []byte{3}},
		"expires before": {filter: inventory.Query{ExpiresBefore: epoch}, want: []byte{2}},
		"none":           {filter: inventory.Query{Name: "c.corp"}},
	} {
		var got []byte
		for _, c := range collect(t, client.Certificates(t.Context(), test.filter, test.max)) {
			number, err := serial.Parse(c.Serial)
			if err != nil || len(c.Serial) != 40 || c.PEM != "" {
				t.Errorf("%s: listed %+v", name, c)
			}
			got = append(got, number[19])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestListingsGoOverPages(t *testing.T) {
	f := newFixture(t)
	const many = 501 // one more than a page
	for i := range many {
		f.issue(t, byte(i), "a.corp", func(c *store.Certificate) { c.Serial[1] = byte(i >> 8) })
	}
	got := collect(t, f.inProcess(t).Certificates(t.Context(), inventory.Query{}, 0))
	serials := map[string]bool{}
	for _, c := range got {
		serials[c.Serial] = true
	}
	if len(got) != many || len(serials) != many {
		t.Errorf("listed %d certificates, %d different; want %d", len(got), len(serials), many)
	}
}

func TestShowAndRevokeCertificate(t *testing.T) {
	f := newFixture(t)
	issued := f.issue(t, 0xab, "a.corp", nil)
	client := f.overSocket(t)
	text := issued.Serial.String()
	for _, spelling := range []string{text, strings.ToUpper(text), "01:" + text[2:]} {
		shown, err := client.Certificate(t.Context(), spelling)
		if err != nil || shown.Serial != text || !strings.HasPrefix(shown.PEM, "-----BEGIN CERTIFICATE-----\n") {
			t.Fatalf("%s: %+v, %v", spelling, shown, err)
		}
		if byPrint, err := client.Certificate(t.Context(), shown.Fingerprint); err != nil || byPrint.Serial != text {
			t.Errorf("by fingerprint: %+v, %v", byPrint, err)
		}
	}
	_, err := client.RevokeCertificate(t.Context(), text, "bad luck")
	refusal(t, err, http.StatusBadRequest, "keyCompromise")
	revoked, err := client.RevokeCertificate(t.Context(), text, "key-compromise")
	if err != nil || revoked.Status != "revoked" || revoked.Reason != "keyCompromise" || revoked.RevokedAt == nil {
		t.Fatalf("revoked: %+v, %v", revoked, err)
	}
	_, err = client.RevokeCertificate(t.Context(), text, "")
	refusal(t, err, http.StatusConflict, "already revoked")
	if trail := f.audit.String(); strings.Count(trail, "certificate.revoked") != 1 || !strings.Contains(trail, "serial="+text) || !strings.Contains(trail, "operator") {
		t.Errorf("audit trail: %s", trail)
	}
	_, err = client.Certificate(t.Context(), "ff")
	if hint := refusal(t, err, http.StatusNotFound, "ff"); !strings.Contains(hint, "certs list") {
		t.Errorf("hint: %q", hint)
	}
	_, err = client.Certificate(t.Context(), "not hex")
	refusal(t, err, http.StatusBadRequest, "hexadecimal")
}

func TestOrdersAndAccounts(t *testing.T) {
	f := newFixture(t)
	account := store.Account{ID: "acc1", Key: store.AccountKey{Thumbprint: "tp", JWK: []byte("{}")}, Contact: []string{"mailto:a@corp"}, Status: store.AccountValid, Created: epoch}
	if _, _, err := f.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	name := identifier.Identifier{Type: identifier.DNS, Value: "a.corp"}
	authz := store.Authorization{ID: "z1", AccountID: "acc1", Identifier: name, Token: "t", Methods: []string{"http-01"}, State: store.AuthorizationPending, Created: epoch, Expires: epoch.Add(time.Hour)}
	order := store.Order{ID: "o1", AccountID: "acc1", Profile: "tls-server", Identifiers: []identifier.Identifier{name}, Created: epoch, Expires: epoch.Add(time.Hour), AuthorizationIDs: []string{"z1"}, Authorizations: []store.Authorization{authz}}
	if _, _, err := f.CreateOrder(t.Context(), order, []store.Authorization{authz}); err != nil {
		t.Fatal(err)
	}
	why := &failure.Report{Kind: failure.Connection, Text: "nothing listens at 10.0.0.1:80"}
	if err := f.FinishAuthorization(t.Context(), "z1", store.Outcome{Method: "http-01", Failure: why, Settled: epoch,
		Attempt: &store.Attempt{Method: "http-01", Started: epoch, Took: time.Second, Failure: why, Transcript: json.RawMessage(`{"steps":[]}`)}}); err != nil {
		t.Fatal(err)
	}
	client := f.overSocket(t)
	if list := collect(t, client.Orders(t.Context(), admin.OrderQuery{Account: "acc1", Status: "invalid", Name: "A.corp", Profile: "tls-server"}, 0)); len(list) != 1 || list[0].Status != "invalid" {
		t.Errorf("orders: %+v", list)
	}
	for _, none := range []admin.OrderQuery{{Account: "acc2"}, {Status: "valid"}, {Name: "b.corp"}, {Profile: "other"}} {
		if list := collect(t, client.Orders(t.Context(), none, 1)); len(list) != 0 {
			t.Errorf("%+v: %+v", none, list)
		}
	}
	shown, err := client.Order(t.Context(), "o1")
	if err != nil || len(shown.Authorizations) != 1 || len(shown.Authorizations[0].Attempts) != 1 {
		t.Fatalf("order: %+v, %v", shown, err)
	}
	if attempt := shown.Authorizations[0].Attempts[0]; attempt.Outcome != "connection" || attempt.Seconds != 1 || string(attempt.Transcript) != `{"steps":[]}` {
		t.Errorf("attempt: %+v", attempt)
	}
	_, err = client.Order(t.Context(), "o2")
	refusal(t, err, http.StatusNotFound, "no order")

	if closed, err := client.DeactivateAccount(t.Context(), "acc1"); err != nil || closed.Status != "revoked" {
		t.Errorf("closed: %+v, %v", closed, err)
	}
	if !slices.Equal(f.forgot, []string{"acc1"}) {
		t.Errorf("the door was told of %v", f.forgot)
	}
	_, err = client.DeactivateAccount(t.Context(), "acc1")
	refusal(t, err, http.StatusConflict, "already closed")
	_, err = client.DeactivateAccount(t.Context(), "acc2")
	refusal(t, err, http.StatusNotFound, "no account")
	if list := collect(t, client.Accounts(t.Context(), admin.AccountQuery{Contact: "A@", Status: "revoked"}, 0)); len(list) != 1 || list[0].Contact[0] != "mailto:a@corp" {
		t.Errorf("accounts: %+v", list)
	}
}

func TestBindings(t *testing.T) {
	f := newFixture(t)
	client := f.overSocket(t)
	made, err := client.CreateBinding(t.Context(), admin.NewBinding{Name: "team a", SingleUse: true, Expires: epoch.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if key, err := base64.RawURLEncoding.DecodeString(made.HMAC); err != nil || len(key) != 32 || key[0]&0x80 != 0 || made.KID == "" {
		t.Errorf("made %+v: %v", made, err)
	}
	_, err = client.CreateBinding(t.Context(), admin.NewBinding{Expires: epoch})
	refusal(t, err, http.StatusBadRequest, "past")
	list := collect(t, client.Bindings(t.Context(), admin.BindingQuery{Name: "team a", Status: "valid"}))
	if len(list) != 1 || list[0].HMAC != "" || list[0].Status != "valid" || !list[0].SingleUse || list[0].Name != "team a" {
		t.Errorf("listed %+v", list)
	}
	if revoked, err := client.RevokeBinding(t.Context(), made.KID); err != nil || revoked.Status != "revoked" || revoked.HMAC != "" {
		t.Errorf("revoked %+v: %v", revoked, err)
	}
	_, err = client.RevokeBinding(t.Context(), made.KID)
	refusal(t, err, http.StatusConflict, "already")
	_, err = client.RevokeBinding(t.Context(), "nobody")
	refusal(t, err, http.StatusNotFound, "nobody")
	if strings.Contains(f.audit.String(), made.HMAC) {
		t.Error("the audit trail has the secret")
	}
}

func TestBackupIsAStore(t *testing.T) {
	f := newFixture(t)
	f.issue(t, 1, "a.corp", nil)
	for name, client := range map[string]*admin.Client{"socket": f.overSocket(t), "in process": f.inProcess(t)} {
		dir := t.TempDir()
		var content bytes.Buffer
		size, _, err := client.Backup(t.Context(), &content)
		if err != nil || size != int64(content.Len()) || size == 0 {
			t.Fatalf("%s: %d octets, %v", name, size, err)
		}
		backup, err := archive.Open(&content, size)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := backup.Extract(dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		copied, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, archive.Database)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found, err := copied.ListCertificates(t.Context(), store.CertificateQuery{})
		if err := errors.Join(err, copied.Close()); err != nil || len(found) != 1 {
			t.Errorf("%s: the copy has %d certificates, %v", name, len(found), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(f.deps.Dir, ".backup*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestBackupThatFailsSaysSo(t *testing.T) {
	f := newFixture(t)
	f.deps.Backup = func(context.Context, string) error { return errors.New("the disk is full") }
	_, _, err := f.overSocket(t).Backup(t.Context(), io.Discard)
	refusal(t, err, http.StatusInternalServerError, "the disk is full")
}

func TestReloadAndStatus(t *testing.T) {
	f := newFixture(t)
	_, err := f.inProcess(t).Reload(t.Context())
	refusal(t, err, http.StatusConflict, "no server runs")
	f.deps.Reload = func(context.Context) (admin.Reloaded, error) {
		return admin.Reloaded{}, errors.New("chancery.yaml:3: unknown key")
	}
	_, err = f.inProcess(t).Reload(t.Context())
	if hint := refusal(t, err, http.StatusBadRequest, "chancery.yaml:3"); !strings.Contains(hint, "stays in force") {
		t.Errorf("hint: %q", hint)
	}
	f.deps.Reload = func(context.Context) (admin.Reloaded, error) {
		return admin.Reloaded{Changed: []string{"acme.website"}, Restart: []string{"listen"}}, nil
	}
	if got, err := f.inProcess(t).Reload(t.Context()); err != nil || len(got.Changed) != 1 || len(got.Restart) != 1 {
		t.Errorf("reloaded %+v, %v", got, err)
	}
	if status, err := f.inProcess(t).Status(t.Context()); err != nil || !status.Ready {
		t.Errorf("status %+v, %v", status, err)
	}
}
