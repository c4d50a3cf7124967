package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"chancery/internal/admin"
	"chancery/internal/identifier"
	"chancery/internal/incident"
	"chancery/internal/inventory"
	"chancery/internal/store"
)

// issueMany puts count certificates into the inventory, for shopN.old.corp.
func (f *fixture) issueMany(t *testing.T, count int) {
	t.Helper()
	var work errgroup.Group
	work.SetLimit(200) // so that many share a commit
	for i := range count {
		work.Go(func() error {
			_, err := f.tryIssue(t.Context(), 0, fmt.Sprintf("shop%d.old.corp", i), func(c *store.Certificate) {
				binary.BigEndian.PutUint32(c.Serial[2:], uint32(i))
				c.Fingerprint = sha256.Sum256(c.Serial[:])
			})
			return err
		})
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
}

func serialsOf(list []admin.Certificate) []string {
	serials := make([]string, len(list))
	for i := range list {
		serials[i] = list[i].Serial
	}
	return serials
}

func revokeAll(t *testing.T, client *admin.Client, wish admin.BulkRevocation) []admin.Certificate {
	t.Helper()
	_, list, err := client.RevokeCertificates(t.Context(), wish)
	if err != nil {
		t.Fatal(err)
	}
	return collect(t, list)
}

// TestBulkRevocation revokes 10,000 by a pattern: what happens is what the
// preview says, and the renewal windows of all of them are past.
func TestBulkRevocation(t *testing.T) {
	const many = 10_000
	f := newFixture(t)
	f.issueMany(t, many)
	f.issue(t, 7, "shop.new.corp", nil)
	f.issue(t, 8, "expired.old.corp", func(c *store.Certificate) { c.NotAfter = epoch.Add(-time.Minute) })
	client := f.overSocket(t)
	wish := admin.BulkRevocation{Query: inventory.Query{Name: "*.old.corp"}, Reason: "superseded", DryRun: true}
	preview := revokeAll(t, client, wish)
	if len(preview) != many || preview[0].Status != "valid" {
		t.Fatalf("the preview has %d certificates, the first %+v", len(preview), preview[0])
	}
	if counts, err := client.CountCertificates(t.Context(), inventory.Query{}); err != nil || counts.Revoked != 0 || counts.Valid != many+1 || counts.Expired != 1 {
		t.Errorf("after the preview: %+v, %v", counts, err)
	}
	wish.DryRun = false
	done := revokeAll(t, client, wish)
	if !slices.Equal(serialsOf(preview), serialsOf(done)) || done[0].Reason != "superseded" || done[0].Status != "revoked" {
		t.Errorf("the preview has %d, and %d were revoked", len(preview), len(done))
	}
	if counts, err := client.CountCertificates(t.Context(), inventory.Query{Name: "**.corp"}); err != nil || counts.Revoked != many || counts.Valid != 1 || counts.Expired != 1 {
		t.Errorf("after it happened: %+v, %v", counts, err)
	}
	trail := f.audit.String()
	if lines := strings.Count(trail, "action=certificate.revoked"); lines != many || strings.Count(trail, "action=certificates.revoked") != 1 || !strings.Contains(trail, "count=10000") {
		t.Errorf("%d lines in the audit trail", lines)
	}
	if again := revokeAll(t, client, wish); len(again) != 0 {
		t.Errorf("%d were revoked twice", len(again))
	}
	f.checkWindows(t, done)
}

// checkWindows expects the windows of revoked certificates to be past.
func (f *fixture) checkWindows(t *testing.T, revoked []admin.Certificate) {
	t.Helper()
	book := incident.NewBook(f.Store, slog.New(slog.DiscardHandler))
	for _, one := range revoked {
		key, err := inventory.ParseKey(one.Issuer + ":" + one.Serial)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := f.Certificate(t.Context(), *key)
		if err != nil {
			t.Fatal(err)
		}
		if _, end, _ := book.Window(t.Context(), &stored, epoch); !end.Before(epoch) {
			t.Fatalf("the window of %s ends at %v", one.Serial, end)
		}
	}
}

func TestRevokeList(t *testing.T) {
	f := newFixture(t)
	for i := range byte(4) {
		f.issue(t, i+1, "a.corp", nil)
	}
	client, serial := f.inProcess(t), func(n byte) string { return fmt.Sprintf("01%036x%02x", 0, n) }
	done := revokeAll(t, client, admin.BulkRevocation{Serials: []string{serial(1), strings.ToUpper(serial(2)), serial(1)}})
	if !slices.Equal(serialsOf(done), []string{serial(1), serial(2)}) {
		t.Errorf("revoked %v", serialsOf(done))
	}
	for _, test := range []struct {
		wish   admin.BulkRevocation
		status int
		says   string
	}{
		{admin.BulkRevocation{}, http.StatusBadRequest, "everything"},
		{admin.BulkRevocation{Query: inventory.Query{Status: "valid"}}, http.StatusBadRequest, "everything"},
		{admin.BulkRevocation{Query: inventory.Query{Status: "revoked", Name: "a.corp"}}, http.StatusBadRequest, "already"},
		{admin.BulkRevocation{Query: inventory.Query{Name: "a.corp"}, Serials: []string{serial(3)}}, http.StatusBadRequest, "not both"},
		{admin.BulkRevocation{Query: inventory.Query{Name: "a.corp"}, Reason: "spite"}, http.StatusBadRequest, "keyCompromise"},
		{admin.BulkRevocation{Query: inventory.Query{Issuer: "nobody"}}, http.StatusNotFound, "no issuer"},
		{admin.BulkRevocation{Serials: []string{serial(3), serial(1)}}, http.StatusConflict, "already revoked"},
		{admin.BulkRevocation{Serials: []string{serial(3), "ff"}}, http.StatusNotFound, "ff"},
		{admin.BulkRevocation{Serials: make([]string, 1001)}, http.StatusBadRequest, "1000"},
	} {
		_, _, err := client.RevokeCertificates(t.Context(), test.wish)
		refusal(t, err, test.status, test.says)
	}
	if counts, err := client.CountCertificates(t.Context(), inventory.Query{}); err != nil || counts.Revoked != 2 {
		t.Errorf("%+v, %v", counts, err)
	}
}

// TestBulkRevocationThatFails: what was revoked before the failure is said, and
// that it was not all.
func TestBulkRevocationThatFails(t *testing.T) {
	f := newFixture(t)
	f.issueMany(t, 1001)
	f.deps.Store = &failingStore{Store: f.Store}
	_, list, err := f.overSocket(t).RevokeCertificates(t.Context(), admin.BulkRevocation{Query: inventory.Query{Name: "**.corp"}})
	if err != nil {
		t.Fatal(err)
	}
	count, failed := 0, error(nil)
	for _, err := range list {
		if failed = err; err == nil {
			count++
		}
	}
	if count != 1000 || failed == nil || !strings.Contains(failed.Error(), "not all certificates were revoked") || !strings.Contains(f.audit.String(), "complete=false") {
		t.Errorf("%d revoked, then %v", count, failed)
	}
}

// TestBulkRevocationWithoutClient: what is revoked is in the audit trail, also
// when the client has gone meanwhile.
func TestBulkRevocationWithoutClient(t *testing.T) {
	f := newFixture(t)
	f.issueMany(t, 10)
	ctx, leave := context.WithCancel(t.Context())
	f.deps.Store = &leavingStore{f.Store, leave}
	body := strings.NewReader(`{"query": {"name": "*.old.corp"}}`)
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, admin.Prefix+"/certificates/revoke", body)
	admin.New(f.deps).ServeHTTP(httptest.NewRecorder(), request)
	counts, err := f.CountCertificates(t.Context(), "", "", epoch)
	if lines := strings.Count(f.audit.String(), "action=certificate.revoked"); err != nil || lines != counts.Revoked || lines != 10 {
		t.Errorf("%d certificates are revoked, %v, and %d lines in the audit trail say so", counts.Revoked, err, lines)
	}
}

func TestExports(t *testing.T) {
	const many = 1200
	f := newFixture(t)
	f.issueMany(t, many)
	f.issue(t, 9, "+x.corp", func(c *store.Certificate) { c.Profile = "=SUM(A1)" })
	server := f.remotely(t)
	token := map[string]string{"Authorization": "Bearer " + f.token(t, "viewer")}
	export := func(query string) []byte {
		t.Helper()
		status, body, _ := send(t, server, http.MethodGet, admin.Prefix+"/certificates/export?"+query, token)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		return []byte(body)
	}
	var array []admin.Certificate
	if err := json.Unmarshal(export("format=json"), &array); err != nil || len(array) != many+1 {
		t.Errorf("json: %d, %v", len(array), err)
	}
	if lines := bytes.Count(export("format=jsonl&contains=old.corp"), []byte("\n")); lines != many {
		t.Errorf("jsonl: %d lines", lines)
	}
	rows, err := csv.NewReader(bytes.NewReader(export("format=csv"))).ReadAll()
	if err != nil || len(rows) != many+2 || rows[0][0] != "serial" || !strings.HasSuffix(rows[1][3], ".corp") {
		t.Fatalf("csv: %d rows, %v", len(rows), err)
	}
	for _, row := range rows {
		if row[5] == "=SUM(A1)" || row[3] == "+x.corp" {
			t.Errorf("a spreadsheet would calculate %v", row)
		}
	}
	if text := export("contains=nowhere"); string(text) != "[]\n" {
		t.Errorf("an export of nothing is %q", text)
	}
}

// TestServicesAndLineage follows a service over a renewal.
func TestServicesAndLineage(t *testing.T) {
	f := newFixture(t)
	two := func(c *store.Certificate) {
		c.Identifiers = append(c.Identifiers, identifier.Identifier{Type: identifier.DNS, Value: "b.corp"})
	}
	f.issue(t, 1, "a.corp", func(c *store.Certificate) { two(c); c.NotAfter = epoch.Add(-time.Minute) })
	first := f.issue(t, 2, "a.corp", two)
	last := f.issue(t, 3, "a.corp", func(c *store.Certificate) { two(c); c.Replaces = &first.CertificateKey })
	f.issue(t, 4, "a.corp", func(c *store.Certificate) { c.NotAfter = epoch.Add(-time.Minute) })
	client, ctx := f.overSocket(t), t.Context()
	found, err := client.Service(ctx, "b.corp")
	if err != nil || !found.Healthy || found.Certificates != 3 || found.Newest != last.Serial.String() || !slices.Equal(found.Names, []string{"a.corp", "b.corp"}) {
		t.Fatalf("%+v, %v", found, err)
	}
	if byID, err := client.Service(ctx, found.ID); err != nil || byID.ID != found.ID {
		t.Errorf("by id: %+v, %v", byID, err)
	}
	_, err = client.Service(ctx, "a.corp")
	refusal(t, err, http.StatusConflict, found.ID)
	_, err = client.Service(ctx, "c.corp")
	refusal(t, err, http.StatusNotFound, "c.corp")
	for health, count := range map[string]int{"": 2, "healthy": 1, "unhealthy": 1} {
		if list := collect(t, client.Services(ctx, inventory.ServiceQuery{Health: health, Contains: "corp"}, 0)); len(list) != count {
			t.Errorf("%s: %+v", health, list)
		}
	}
	if list := collect(t, client.Certificates(ctx, inventory.Query{Service: found.ID}, 0)); len(list) != 3 {
		t.Errorf("the service has %d certificates", len(list))
	}
	newest, err := client.Certificate(ctx, last.Serial.String())
	if err != nil || newest.Replaces != first.Serial.String() || newest.RenewedFrom != "" || newest.Service != found.ID {
		t.Errorf("the newest: %+v, %v", newest, err)
	}
	middle, err := client.Certificate(ctx, first.Serial.String())
	if err != nil || middle.ReplacedBy != last.Serial.String() || !strings.HasSuffix(middle.RenewedFrom, "01") {
		t.Errorf("the one before: %+v, %v", middle, err)
	}
	replacing := inventory.Query{Replaces: inventory.FormatKey(first.CertificateKey)}
	if list := collect(t, client.Certificates(ctx, replacing, 0)); len(list) != 1 || list[0].Serial != last.Serial.String() {
		t.Errorf("what replaces it: %+v", list)
	}
}

// TestIncident opens one, sees certificates being renewed, and closes it.
func TestIncident(t *testing.T) {
	f := newFixture(t)
	for i := range byte(4) {
		f.issue(t, i+1, fmt.Sprintf("%d.corp", i+1), func(c *store.Certificate) { c.NotAfter = epoch.Add(100 * 24 * time.Hour) })
	}
	f.issue(t, 5, "expired.corp", func(c *store.Certificate) { c.NotAfter = epoch.Add(-time.Second) })
	changed, now := 0, epoch
	f.deps.IncidentsChanged = func() { changed++ }
	f.deps.Now = func() time.Time { return now }
	client, ctx := f.overSocket(t), t.Context()
	opened, err := client.OpenIncident(ctx, admin.NewIncident{Query: inventory.Query{Name: "*.corp", Status: "valid"}, Explanation: "https://wiki.corp/why"})
	if err != nil || !opened.RenewBy.Equal(epoch.Add(24*time.Hour)) || changed != 1 || opened.Query.Status != "" {
		t.Fatalf("%+v, %v, %d", opened, err, changed)
	}
	expect := func(want admin.Progress) {
		t.Helper()
		shown, err := client.Incident(ctx, opened.ID)
		if err != nil || *shown.Progress != want {
			t.Errorf("%+v, %v; want %+v", shown.Progress, err, want)
		}
		if left := collect(t, client.Remaining(ctx, opened.ID, 0)); len(left) != want.Remaining {
			t.Errorf("remaining are %v", serialsOf(left))
		}
	}
	expect(admin.Progress{Affected: 4, Remaining: 4})
	now = epoch.Add(time.Hour)
	f.issue(t, 11, "1.corp", func(c *store.Certificate) { c.Issued, c.NotAfter = now, epoch.Add(100*24*time.Hour) })
	f.issue(t, 12, "renamed.corp", func(c *store.Certificate) {
		c.Issued, c.NotAfter = now, epoch.Add(100*24*time.Hour)
		c.Replaces = &store.CertificateKey{IssuerID: c.IssuerID, Serial: c.Serial}
		c.Replaces.Serial[19] = 2
	})
	if _, err := client.RevokeCertificate(ctx, fmt.Sprintf("01%036x%02x", 0, 3), ""); err != nil {
		t.Fatal(err)
	}
	expect(admin.Progress{Affected: 4, Renewed: 2, Ended: 1, Remaining: 1})
	if list := collect(t, client.Incidents(ctx)); len(list) != 1 || list[0].Closed != nil || list[0].Progress != nil {
		t.Errorf("listed %+v", list)
	}
	closed, err := client.CloseIncident(ctx, opened.ID)
	if err != nil || closed.Closed == nil || changed != 2 {
		t.Errorf("%+v, %v", closed, err)
	}
	_, err = client.CloseIncident(ctx, opened.ID)
	refusal(t, err, http.StatusConflict, "already closed")
	_, err = client.CloseIncident(ctx, "nobody")
	refusal(t, err, http.StatusNotFound, "no incident")
	if trail := f.audit.String(); !strings.Contains(trail, "incident.opened") || !strings.Contains(trail, "incident.closed") {
		t.Errorf("audit trail: %s", trail)
	}
}

func TestIncidentsThatCannotBe(t *testing.T) {
	f := newFixture(t)
	client := f.inProcess(t)
	good := inventory.Query{Profile: "tls-server"}
	for _, test := range []struct {
		wish   admin.NewIncident
		status int
		says   string
	}{
		{admin.NewIncident{}, http.StatusBadRequest, "everything"},
		{admin.NewIncident{Query: inventory.Query{Status: "valid"}}, http.StatusBadRequest, "everything"},
		{admin.NewIncident{Query: inventory.Query{Status: "expired"}}, http.StatusBadRequest, "only valid"},
		{admin.NewIncident{Query: good, RenewBy: epoch}, http.StatusBadRequest, "past"},
		{admin.NewIncident{Query: good, Explanation: "javascript:alert(1)"}, http.StatusBadRequest, "no URL"},
		{admin.NewIncident{Query: inventory.Query{Issuer: "x"}}, http.StatusNotFound, "no issuer"},
		{admin.NewIncident{Query: inventory.Query{Contains: "a"}}, http.StatusBadRequest, "3 characters"},
	} {
		_, err := client.OpenIncident(t.Context(), test.wish)
		refusal(t, err, test.status, test.says)
	}
	for range incident.MaxOpen {
		if _, err := client.OpenIncident(t.Context(), admin.NewIncident{Query: good}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.OpenIncident(t.Context(), admin.NewIncident{Query: good})
	refusal(t, err, http.StatusConflict, "close some")
}

// TestExportTakesNoMemory sends 100,000 certificates, and keeps a page of them.
func TestExportTakesNoMemory(t *testing.T) {
	const many, most = 100_000, 48 << 20
	f := newFixture(t)
	f.deps.Store = &endlessStore{Store: f.Store, left: many}
	server := f.remotely(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+admin.Prefix+"/certificates/export?format=csv", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+f.token(t, "viewer"))
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	count := 0
	var memory runtime.MemStats
	for ; lines.Scan(); count++ {
		if count%20_000 == 0 {
			runtime.GC()
			if runtime.ReadMemStats(&memory); memory.HeapAlloc > most {
				t.Fatalf("after %d lines %d MiB are in use", count, memory.HeapAlloc>>20)
			}
		}
	}
	if err := lines.Err(); err != nil || count != many+1 {
		t.Errorf("%d lines, %v", count, err)
	}
}
