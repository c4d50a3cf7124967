package acme_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// window reads renewal information (RFC 9773 §4.2).
func window(t *testing.T, client *acmetest.Client, got *issued) (start, end time.Time) {
	t.Helper()
	resp := get(t, client, client.Directory.RenewalInfo+"/"+got.certID())
	body := succeeded(t, resp, http.StatusOK)
	bounds := body["suggestedWindow"].(members)
	var err error
	start, err = time.Parse(time.RFC3339, fmt.Sprint(bounds["start"]))
	check(t, err)
	end, err = time.Parse(time.RFC3339, fmt.Sprint(bounds["end"]))
	check(t, err)
	if !start.Before(end) {
		t.Errorf("the window is %v to %v", start, end)
	}
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || after < 6*3600 || after > 7*3600 {
		t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
	}
	return start, end
}

// testWindowOfRenewal: around two thirds of the lifetime, one percent either
// side.
func testWindowOfRenewal(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	got := issue(t, ca, client, acmetest.DNS("w1.example.test"), nil)
	start, end := window(t, client, got)
	lifetime := got.leaf.NotAfter.Sub(got.leaf.NotBefore)
	middle := got.leaf.NotBefore.Add(lifetime * 2 / 3)
	for _, bound := range []struct{ got, want time.Time }{{start, middle.Add(-lifetime / 100)}, {end, middle.Add(lifetime / 100)}} {
		if off := bound.got.Sub(bound.want).Abs(); off > time.Minute {
			t.Errorf("a bound of the window is %v, want %v", bound.got, bound.want)
		}
	}
}

func testRenewalOfRevoked(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	got := issue(t, ca, client, acmetest.DNS("w2.example.test"), nil)
	succeeded(t, post(t, client, client.Directory.RevokeCert, got.revocation(nil)), http.StatusOK)
	if _, end := window(t, client, got); !end.Before(time.Now()) {
		t.Errorf("the window of a revoked certificate ends at %v", end)
	}
}

func testRenewalInfoRefuses(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	got := issue(t, ca, client, acmetest.DNS("w3.example.test"), nil)
	key, serial, _ := strings.Cut(got.certID(), ".")
	for _, id := range []string{key, "." + serial, key + ".", key + "=." + serial, key + "." + serial + "." + serial, "A.B", "%20." + serial, key + ".AA"} {
		resp := get(t, client, client.Directory.RenewalInfo+"/"+id)
		if id == key+".AA" { // serial 0
			refused(t, resp, http.StatusNotFound, "malformed", "no such certificate")
			continue
		}
		refused(t, resp, http.StatusBadRequest, "malformed", "identifier")
	}
	refused(t, get(t, client, client.Directory.RenewalInfo+"/AAAA."+serial), http.StatusNotFound, "malformed", "no such certificate")
	refused(t, get(t, client, client.Directory.RenewalInfo), http.StatusNotFound, "malformed", "directory")
	refused(t, post(t, client, client.Directory.RenewalInfo+"/"+got.certID(), nil), http.StatusMethodNotAllowed, "malformed", "GET")
}

// testReplaces is RFC 9773 §5.
func testReplaces(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	names := acmetest.DNS("w4.example.test", "w5.example.test")
	got := issue(t, ca, client, names, nil)
	replaces := members{"replaces": got.certID()}
	ask := func(c *acmetest.Client, names []acmetest.Name, certID string) *acmetest.Response {
		return post(t, c, c.Directory.NewOrder, members{"identifiers": names, "replaces": certID})
	}
	refused(t, ask(client, acmetest.DNS("w6.example.test"), got.certID()), http.StatusBadRequest, "malformed", "in common")
	refused(t, ask(client, names, "AAAA."+got.certID()), http.StatusBadRequest, "malformed", "identifier")
	refused(t, ask(client, names, got.certID()[:28]+"AAAA"), http.StatusBadRequest, "malformed", "no certificate")

	first := order(t, client, names, replaces)
	if first.Replaces != got.certID() {
		t.Errorf("the order replaces %q", first.Replaces)
	}
	retry := ask(client, names, got.certID())
	if succeeded(t, retry, http.StatusCreated); retry.Location() != first.URL {
		t.Errorf("the repeated order is %s, want %s", retry.Location(), first.URL)
	}
	refused(t, ask(client, names[:1], got.certID()), http.StatusConflict, "alreadyReplaced", "replaced")

	csr, err := acmetest.CSR(newKey(t), names)
	check(t, err)
	if _, err := client.Finalize(t.Context(), first, csr); err != nil {
		t.Error(err)
	}
	refused(t, ask(client, names, got.certID()), http.StatusConflict, "alreadyReplaced", "replaced")
	testReplacesAgain(t, ca, client)
}

// testReplacesOfAnother names another account's certificate.
func testReplacesOfAnother(t *testing.T, ca *servertest.CA) {
	names := acmetest.DNS("w10.example.test")
	got, stranger := issue(t, ca, ca.Client(), names, nil), ca.Client()
	resp := post(t, stranger, stranger.Directory.NewOrder, members{"identifiers": names, "replaces": got.certID()})
	refused(t, resp, http.StatusForbidden, "unauthorized", "another account")
}

// testReplacesAgain: an order that ended invalid frees the certificate.
func testReplacesAgain(t *testing.T, ca *servertest.CA, client *acmetest.Client) {
	t.Helper()
	names := acmetest.DNS("w8.example.test")
	got := issue(t, ca, client, names, nil)
	wider := slices.Concat(names, acmetest.DNS("w9.example.test"))
	failed := order(t, client, wider, members{"replaces": got.certID()})
	for _, url := range failed.Authorizations {
		post(t, client, url, members{"status": "deactivated"})
	}
	if next := order(t, client, names, members{"replaces": got.certID()}); next.URL == failed.URL {
		t.Error("the failed order came back")
	}
}

// TestReplacesRace sends two orders that replace one certificate at once.
func TestReplacesRace(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	client := ca.Client()
	names := acmetest.DNS("race.example.test", "race2.example.test")
	for range 10 {
		got := issue(t, ca, client, names, nil)
		answers := make([]*acmetest.Response, 2)
		var both sync.WaitGroup
		for i := range answers {
			both.Go(func() {
				answers[i], _ = client.Post(t.Context(), client.Directory.NewOrder, members{"identifiers": names[i : i+1], "replaces": got.certID()})
			})
		}
		both.Wait()
		statuses := [2]int{answers[0].Status, answers[1].Status}
		if statuses != [2]int{201, 409} && statuses != [2]int{409, 201} {
			t.Errorf("the answers are %v", statuses)
		}
	}
}
