package acme_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// TestOrders is RFC 8555 §7.1.3 and §7.4.
func TestOrders(t *testing.T) {
	t.Parallel()
	group(t, servertest.Start(t), map[string]func(*testing.T, *servertest.CA){
		"NewOrder":           testNewOrder,
		"Times":              testTimes,
		"ProofsAreReused":    testProofsAreReused,
		"PendingIsNotShared": testPendingIsNotShared,
		"HundredNames":       testHundredNames,
		"PreAuthorization":   testPreAuthorization,
		"DeactivatePending":  testDeactivatePending,
		"DeactivateReady":    testDeactivateReady,
		"DeactivateShared":   testSharedAuthorization,
		"Download":           testDownload,
		"SecondFinalize":     testSecondFinalize,
		"BadCSRLeavesReady":  testBadCSRLeavesReady,
		"CSRSpellings":       testCSRSpellings,
		"PaddedCSR":          testPaddedCSR,
		"AddressSpellings":   testAddressSpellings,
	})
}

func testNewOrder(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	names := append(acmetest.DNS("WWW.New.example.test", "*.new.example.test", "xn--bcher-kva.example.test"), acmetest.IP("192.0.2.7", "2001:db8::7")...)
	resp := post(t, client, client.Directory.NewOrder, members{"identifiers": names, "replaces": "", "profile": "", "nonsense": []int{1}})
	body := succeeded(t, resp, http.StatusCreated)
	if body["status"] != "pending" || body["finalize"] != resp.Location()+"/finalize" || body["profile"] != "tls-server" {
		t.Errorf("the order is %v", body)
	}
	for _, absent := range []string{"notBefore", "notAfter", "error", "certificate", "replaces", "nonsense"} {
		if value, found := body[absent]; found {
			t.Errorf("the order has %s: %v", absent, value)
		}
	}
	expires, err := time.Parse(time.RFC3339, fmt.Sprint(body["expires"]))
	if left := time.Until(expires); err != nil || left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("the order expires in %v: %v", left, err)
	}
	shown := body["identifiers"].([]any)
	for i, want := range names {
		id, value := shown[i].(members), strings.ToLower(want.Value)
		if id["type"] != want.Type || id["value"] != value {
			t.Errorf("identifier %d is %v, want %s", i, id, value)
		}
		authz := authorization(t, client, body["authorizations"].([]any)[i].(string))
		if authz.Identifier.Value != strings.TrimPrefix(value, "*.") || authz.Wildcard != strings.HasPrefix(value, "*.") || authz.Status != "pending" {
			t.Errorf("authorization %d is %+v", i, authz)
		}
	}
	again := post(t, client, resp.Location(), nil)
	read := succeeded(t, again, http.StatusOK)
	if fmt.Sprint(read) != fmt.Sprint(body) || again.Location() != resp.Location() {
		t.Errorf("read again, the order is %v, was %v", read, body)
	}
}

// testTimes asks for notBefore and notAfter, which are followed or refused.
func testTimes(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	now := time.Now().Truncate(time.Second)
	for name, test := range map[string]struct{ notBefore, notAfter time.Time }{
		"both":           {now.Add(time.Hour), now.Add(48 * time.Hour)},
		"notAfter alone": {time.Time{}, now.Add(72 * time.Hour)},
		"notBefore":      {now.Add(time.Hour), time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			wishes := members{}
			if !test.notBefore.IsZero() {
				wishes["notBefore"] = test.notBefore.Format(time.RFC3339) // in the local zone
			}
			if !test.notAfter.IsZero() {
				wishes["notAfter"] = test.notAfter.UTC().Format(time.RFC3339)
			}
			got := issue(t, ca, client, acmetest.DNS("times.example.test"), wishes)
			if !test.notBefore.IsZero() && !got.leaf.NotBefore.Equal(test.notBefore) {
				t.Errorf("notBefore is %v, want %v", got.leaf.NotBefore, test.notBefore)
			}
			if !test.notAfter.IsZero() && !got.leaf.NotAfter.Equal(test.notAfter) {
				t.Errorf("notAfter is %v, want %v", got.leaf.NotAfter, test.notAfter)
			}
			body := succeeded(t, post(t, client, got.order.URL, nil), http.StatusOK)
			if (body["notAfter"] != nil) == test.notAfter.IsZero() || (body["notBefore"] != nil) == test.notBefore.IsZero() {
				t.Errorf("the order shows %v to %v", body["notBefore"], body["notAfter"])
			}
		})
	}
}

func testProofsAreReused(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	names := acmetest.DNS("reuse.example.test")
	first := issue(t, ca, client, names, nil)
	second := order(t, client, acmetest.DNS("reuse.example.test"), nil)
	if second.Status != "ready" || second.Authorizations[0] != first.order.Authorizations[0] {
		t.Errorf("the second order is %+v", second)
	}
	wildcard := order(t, client, acmetest.DNS("*.reuse.example.test", "sub.reuse.example.test"), nil)
	if wildcard.Status != "pending" || slices.Contains(wildcard.Authorizations, second.Authorizations[0]) {
		t.Errorf("the proof of a name serves for others: %+v", wildcard)
	}
	if other := order(t, ca.Client(), names, nil); other.Status != "pending" {
		t.Errorf("another account's order is %s", other.Status)
	}
}

func testPendingIsNotShared(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	first, second := order(t, client, acmetest.DNS("own.example.test"), nil), order(t, client, acmetest.DNS("own.example.test"), nil)
	if first.URL == second.URL || first.Authorizations[0] == second.Authorizations[0] {
		t.Errorf("two orders share %s and %s", first.URL, first.Authorizations[0])
	}
}

// testHundredNames orders as many names as are allowed, and as long.
func testHundredNames(t *testing.T, ca *servertest.CA) {
	var names []acmetest.Name
	for i := range 100 {
		long := fmt.Sprintf("n%02d.", i) + strings.Repeat(strings.Repeat("x", 58)+".", 4) + "example.test"
		names = append(names, acmetest.DNS(long)...)
	}
	got := issue(t, ca, ca.Client(), names, nil)
	if len(got.leaf.DNSNames) != 100 || got.leaf.Subject.CommonName != "" {
		t.Errorf("%d names, CN %q", len(got.leaf.DNSNames), got.leaf.Subject.CommonName)
	}
}

func testPreAuthorization(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	resp := post(t, client, client.Directory.NewAuthz, members{"identifier": members{"type": "dns", "value": "pre.example.test"}})
	body := succeeded(t, resp, http.StatusCreated)
	if body["status"] != "pending" || body["expires"] == nil || resp.Location() == "" {
		t.Errorf("the authorization is %v", body)
	}
	check(t, client.Prove(t.Context(), &acmetest.Order{Authorizations: []string{resp.Location()}}, "http-01", ca.Web.HTTP01))
	made := order(t, client, acmetest.DNS("pre.example.test"), nil)
	if made.Status != "ready" || made.Authorizations[0] != resp.Location() {
		t.Errorf("the order is %+v", made)
	}
}

func testDeactivatePending(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	made := order(t, client, acmetest.DNS("given-up.example.test"), nil)
	body := succeeded(t, post(t, client, made.Authorizations[0], members{"status": "deactivated"}), http.StatusOK)
	if body["status"] != "deactivated" {
		t.Errorf("the authorization is %v", body)
	}
	offered := body["challenges"].([]any)[0].(members)
	if shown := succeeded(t, post(t, client, offered["url"].(string), members{}), http.StatusOK); shown["status"] != "invalid" {
		t.Errorf("the challenge is %v", shown)
	}
	refused(t, post(t, client, made.Authorizations[0], members{"status": "deactivated"}), http.StatusBadRequest, "malformed", "ended")
	settled, err := client.ReadOrder(t.Context(), made.URL)
	check(t, err)
	if settled.Status != "invalid" || settled.Error == nil || !strings.Contains(settled.Error.Detail, "deactivated") {
		t.Errorf("the order is %+v", settled)
	}
}

// testDeactivateReady takes a proof back between ready and finalize.
func testDeactivateReady(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	names := acmetest.DNS("taken-back.example.test")
	made := readyOrder(t, ca, client, names, nil)
	body := succeeded(t, post(t, client, made.Authorizations[0], members{"status": "deactivated"}), http.StatusOK)
	if body["status"] != "deactivated" {
		t.Errorf("the authorization is %v", body)
	}
	refused(t, post(t, client, made.Finalize, request(t, newKey(t), names)), http.StatusForbidden, "orderNotReady", "invalid")
	if next := order(t, client, names, nil); next.Status != "pending" {
		t.Errorf("the next order is %s", next.Status)
	}
}

// testSharedAuthorization takes back a proof that two orders have.
func testSharedAuthorization(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	names := acmetest.DNS("shared.example.test")
	first := readyOrder(t, ca, client, names, nil)
	second := order(t, client, append(names, acmetest.DNS("shared2.example.test")...), nil)
	if !slices.Contains(second.Authorizations, first.Authorizations[0]) {
		t.Fatalf("the orders share nothing: %v %v", first.Authorizations, second.Authorizations)
	}
	succeeded(t, post(t, client, first.Authorizations[0], members{"status": "deactivated"}), http.StatusOK)
	for _, made := range []*acmetest.Order{first, second} {
		if read, err := client.ReadOrder(t.Context(), made.URL); err != nil || read.Status != "invalid" {
			t.Errorf("the order is %+v: %v", read, err)
		}
	}
}

// testDownload looks at the chain and its alternate (RFC 8555 §7.4.2).
func testDownload(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	got := issue(t, ca, client, acmetest.DNS("chain.example.test"), nil)
	plain := post(t, client, got.order.Certificate, nil)
	if plain.Status != http.StatusOK || plain.Header.Get("Content-Type") != "application/pem-certificate-chain" {
		t.Fatalf("%d %v", plain.Status, plain.Header)
	}
	alternate := linked(plain, "alternate")
	with := post(t, client, alternate, nil)
	if linked(with, "alternate") != got.order.Certificate {
		t.Errorf("the alternate's alternate is %q", linked(with, "alternate"))
	}
	short, long := blocks(t, plain.Body), blocks(t, with.Body)
	if len(short) != 2 || len(long) != 3 || string(long[2]) != string(ca.Root.Raw) || string(short[0]) != string(got.leaf.Raw) {
		t.Errorf("the chains have %d and %d certificates", len(short), len(long))
	}
	check(t, got.leaf.CheckSignatureFrom(parse(t, short[1])))
	check(t, parse(t, short[1]).CheckSignatureFrom(ca.Root))
	refused(t, post(t, client, got.order.Certificate+"/2", nil), http.StatusNotFound, "malformed", "chain")
}

// blocks reads strict PEM.
func blocks(t *testing.T, text []byte) (ders [][]byte) {
	t.Helper()
	for len(text) > 0 {
		if !strings.HasPrefix(string(text), "-----BEGIN CERTIFICATE-----\n") {
			t.Fatalf("not a certificate: %.40q", text)
		}
		block, rest := pem.Decode(text)
		ders, text = append(ders, block.Bytes), rest
	}
	return ders
}

func testSecondFinalize(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	got := issue(t, ca, client, acmetest.DNS("again.example.test"), nil)
	payload := request(t, newKey(t), acmetest.DNS("again.example.test"))
	refused(t, post(t, client, got.order.Finalize, payload), http.StatusForbidden, "orderNotReady", "valid")
	body := succeeded(t, post(t, client, got.order.URL, nil), http.StatusOK)
	if body["status"] != "valid" || body["certificate"] != got.order.Certificate {
		t.Errorf("the order is %v", body)
	}
}

func testBadCSRLeavesReady(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	names := acmetest.DNS("patient.example.test")
	made := readyOrder(t, ca, client, names, nil)
	refused(t, post(t, client, made.Finalize, request(t, newKey(t), acmetest.DNS("other.example.test"))), http.StatusBadRequest, "badCSR", "other.example.test")
	if read, err := client.ReadOrder(t.Context(), made.URL); err != nil || read.Status != "ready" {
		t.Errorf("the order is %+v: %v", read, err)
	}
	resp := post(t, client, made.Finalize, request(t, newKey(t), names))
	if body := succeeded(t, resp, http.StatusOK); body["status"] != "valid" || resp.Location() != made.URL {
		t.Errorf("the order is %v at %s", body, resp.Location())
	}
}

// testAddressSpellings: an address has one spelling.
func testAddressSpellings(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	succeeded(t, post(t, client, client.Directory.NewOrder, members{"identifiers": acmetest.IP("2001:db8::1", "192.0.2.1")}), http.StatusCreated)
	for _, spelling := range []string{
		"2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:0db8::1", "2001:db8::0:1", "::ffff:192.0.2.1", "[2001:db8::1]",
		"192.0.2.01", "192.0.2", "3221225985", "0xc0.0.2.1", "fe80::1%eth0", "192.0.2.1/32", " 192.0.2.1", "localhost",
	} {
		problem := refused(t, post(t, client, client.Directory.NewOrder, members{"identifiers": acmetest.IP(spelling)}), http.StatusBadRequest, "malformed", "address")
		if len(problem.Subproblems) != 1 || problem.Subproblems[0].Identifier.Value != spelling {
			t.Errorf("%s: %+v", spelling, problem)
		}
	}
}
