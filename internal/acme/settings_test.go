package acme_test

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// TestTermsOfService is RFC 8555 §7.3.3.
func TestTermsOfService(t *testing.T) {
	t.Parallel()
	const terms = "https://example.test/terms"
	ca := servertest.Start(t, "acme.terms_of_service="+terms, "acme.website=https://example.test/")
	client := ca.NewClient()
	if client.Directory.Meta["termsOfService"] != terms || client.Directory.Meta["website"] != "https://example.test/" {
		t.Errorf("meta is %v", client.Directory.Meta)
	}
	for _, payload := range []members{{}, {"termsOfServiceAgreed": false}} {
		resp := post(t, client, client.Directory.NewAccount, payload)
		refused(t, resp, http.StatusForbidden, "userActionRequired", terms)
		if !hasLink(resp, terms, "terms-of-service") || !hasLink(resp, ca.DirectoryURL, "index") {
			t.Errorf("the links are %v", resp.Header.Values("Link"))
		}
		var body members
		if check(t, resp.Decode(&body)); body["instance"] != terms {
			t.Errorf("instance is %v", body["instance"])
		}
	}
	body := succeeded(t, post(t, client, client.Directory.NewAccount, members{"termsOfServiceAgreed": true}), http.StatusCreated)
	if body["termsOfServiceAgreed"] != true {
		t.Errorf("the account is %v", body)
	}
}

// TestProfiles is draft-ietf-acme-profiles-02.
func TestProfiles(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	client := ca.Client()
	names := acmetest.DNS("profiles.example.test")
	server, user := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for profile, want := range map[string]struct {
		usages []x509.ExtKeyUsage
		days   int
	}{
		"":           {[]x509.ExtKeyUsage{server}, 90},
		"tls-server": {[]x509.ExtKeyUsage{server}, 90},
		"tls-client": {[]x509.ExtKeyUsage{user}, 90},
		"tls-mutual": {[]x509.ExtKeyUsage{server, user}, 90},
		"shortlived": {[]x509.ExtKeyUsage{server}, 6},
	} {
		got := issue(t, ca, client, names, members{"profile": profile})
		if shown := got.order.Profile; shown != profile && (profile != "" || shown != "tls-server") {
			t.Errorf("%q: the order shows %q", profile, shown)
		}
		if !slices.Equal(got.leaf.ExtKeyUsage, want.usages) {
			t.Errorf("%q: the usages are %v", profile, got.leaf.ExtKeyUsage)
		}
		if days := got.leaf.NotAfter.Sub(got.leaf.NotBefore).Hours() / 24; int(days) != want.days {
			t.Errorf("%q: valid for %v days", profile, days)
		}
		if past := time.Since(got.leaf.NotBefore); past < 50*time.Second || past > 5*time.Minute {
			t.Errorf("%q: backdated by %v", profile, past)
		}
		noRevocation := slices.ContainsFunc(got.leaf.Extensions, func(e pkixExtension) bool { return e.Id.String() == "2.5.29.56" })
		if noRevocation != (profile == "shortlived") {
			t.Errorf("%q: no-revocation extension: %v", profile, noRevocation)
		}
	}
	refused(t, post(t, client, client.Directory.NewOrder, members{"identifiers": names, "profile": "nothing"}), http.StatusBadRequest, "invalidProfile", "tls-server")
}

// TestNameConstraints refuses, when they are ordered, names that the CA's own
// certificates exclude.
func TestNameConstraints(t *testing.T) {
	t.Parallel()
	ca := servertest.StartConstrained(t, []string{"example.test", "127.0.0.0/8"})
	client := ca.Client()
	issue(t, ca, client, append(acmetest.DNS("in.example.test"), acmetest.IP(ca.Web.Address)...), nil)
	names := append(acmetest.DNS("in.example.test", "out.test", "*.badexample.test"), acmetest.IP("192.0.2.1")...)
	problem := refused(t, post(t, client, client.Directory.NewOrder, members{"identifiers": names}), http.StatusForbidden, "rejectedIdentifier", "out.test")
	if len(problem.Subproblems) != 3 {
		t.Errorf("the subproblems are %+v", problem.Subproblems)
	}
	refused(t, post(t, client, client.Directory.NewAuthz, members{"identifier": names[1]}), http.StatusForbidden, "rejectedIdentifier", "out.test")
}

// TestProfileDirectory is the directory for clients that can't name a profile.
func TestProfileDirectory(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	client, err := acmetest.NewClient(t.Context(), ca.HTTP, ca.BaseURL+"/acme/p/shortlived/directory")
	check(t, err)
	_, err = client.Register(t.Context(), nil)
	check(t, err)
	names := acmetest.DNS("short.example.test")
	if made := order(t, client, names, nil); made.Profile != "shortlived" {
		t.Errorf("the order's profile is %q", made.Profile)
	}
	if made := order(t, client, names, members{"profile": "tls-client"}); made.Profile != "tls-client" {
		t.Errorf("the order's profile is %q", made.Profile)
	}
	issue(t, ca, client, names, nil)
	refused(t, post(t, client, ca.BaseURL+"/acme/p/nothing/new-order", members{"identifiers": names}), http.StatusBadRequest, "invalidProfile", "nothing")
}

// TestProfileRemovedMidOrder takes a profile away between newOrder and finalize.
func TestProfileRemovedMidOrder(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	ca.WriteConfig("profiles:\n  passing:\n    validity:\n      default: 1d\n")
	ca.Reload()
	client := ca.Client()
	names := acmetest.DNS("passing.example.test")
	made := readyOrder(t, ca, client, names, members{"profile": "passing"})
	ca.WriteConfig("")
	ca.Reload()
	payload := request(t, newKey(t), names)
	refused(t, post(t, client, made.Finalize, payload), http.StatusBadRequest, "invalidProfile", "passing")
	if read, err := client.ReadOrder(t.Context(), made.URL); err != nil || read.Status != "ready" {
		t.Errorf("the order is %+v: %v", read, err)
	}
	issue(t, ca, client, names, nil)
}

// TestExternalURLBehindProxy serves behind a proxy: URLs come from the configuration,
// never from the request.
func TestExternalURLBehindProxy(t *testing.T) {
	t.Parallel()
	const external, former = "https://ca.example.test", "https://old.example.test:8443"
	ca := servertest.Start(t, "external_url="+external, "former_urls="+former)
	for _, host := range []string{"ca.example.test", "evil.example", "127.0.0.1:9443", ""} {
		resp := do(t, ca, http.MethodGet, ca.DirectoryURL, http.Header{"Host": {host}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {"host=evil.example"}})
		if body := succeeded(t, resp, http.StatusOK); body["newOrder"] != external+"/acme/new-order" {
			t.Errorf("Host %q: newOrder is %v", host, body["newOrder"])
		}
	}
	client, err := acmetest.NewClient(t.Context(), ca.Proxied(), external+"/acme/directory")
	check(t, err)
	_, err = client.Register(t.Context(), nil)
	check(t, err)
	if !strings.HasPrefix(client.AccountURL, external+"/acme/account/") {
		t.Errorf("the account is %s", client.AccountURL)
	}
	got := issue(t, ca, client, acmetest.DNS("proxied.example.test"), nil)

	// What is signed for another URL than was asked for is refused: another
	// host, port or scheme, and a slash too many.
	for _, url := range []string{
		ca.BaseURL + "/acme/new-order", external + ":443/acme/new-order", external + "/acme/new-order/",
		"http://ca.example.test/acme/new-order", external + "/acme/new-order?", "/acme/new-order", external + "/acme/new-account",
	} {
		resp, err := client.PostRaw(t.Context(), external+"/acme/new-order", encode(t, members{"identifiers": acmetest.DNS("x.example.test")}), members{"url": url})
		check(t, err)
		refused(t, resp, http.StatusForbidden, "unauthorized", "external_url")
	}

	// A client that was given URLs under the former name goes on with them.
	before := &acmetest.Client{HTTP: ca.Proxied(), Key: client.Key}
	before.Directory.NewNonce = former + "/acme/new-nonce"
	before.AccountURL = strings.Replace(client.AccountURL, external, former, 1)
	body := succeeded(t, post(t, before, strings.Replace(got.order.URL, external, former, 1), nil), http.StatusOK)
	if finalize, _ := body["finalize"].(string); !strings.HasPrefix(finalize, former) {
		t.Errorf("under the former URL finalize is %v", finalize)
	}
}
