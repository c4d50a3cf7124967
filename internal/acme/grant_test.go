package acme_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/admin"
	"chancery/internal/inventory"
	"chancery/internal/server/servertest"
)

// operator is a client of the CA's administration.
func operator(t testing.TB, ca *servertest.CA) *admin.Client {
	t.Helper()
	client := admin.Dial(filepath.Join(ca.Dir, "admin.sock"))
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// granted makes a key for external account binding.
func granted(t testing.TB, ca *servertest.CA, name string, grant admin.Grant) admin.Binding {
	t.Helper()
	made, err := operator(t, ca).CreateBinding(t.Context(), admin.NewBinding{Name: name, Grant: grant})
	check(t, err)
	return made
}

// registerWith asks for an account with the key.
func registerWith(t testing.TB, c *acmetest.Client, key admin.Binding) *acmetest.Response {
	t.Helper()
	secret, err := base64.RawURLEncoding.DecodeString(key.HMAC)
	check(t, err)
	header := members{"alg": "HS256", "kid": key.KID, "url": c.Directory.NewAccount}
	resp := post(t, c, c.Directory.NewAccount, members{
		"externalAccountBinding": raw(acmetest.MAC(secret, header, acmetest.JWK(c.Key.Public()))),
	})
	c.AccountURL = resp.Location()
	return resp
}

// bound is a client with an account made with the key.
func bound(t testing.TB, ca *servertest.CA, key admin.Binding) *acmetest.Client {
	t.Helper()
	c := ca.NewClient()
	succeeded(t, registerWith(t, c, key), http.StatusCreated)
	return c
}

// finish gets the certificate of a ready order.
func finish(t testing.TB, c *acmetest.Client, made *acmetest.Order) {
	t.Helper()
	i := &issued{key: newKey(t), order: made}
	csr, err := acmetest.CSR(i.key, made.Identifiers)
	check(t, err)
	made, err = c.Finalize(t.Context(), made, csr)
	check(t, err)
	_, err = c.Download(t.Context(), made)
	check(t, err)
}

var teamA = admin.Grant{
	Allow: []string{"*.team-a.corp", "**.lab.corp", "10.2.0.0/16"}, Preauthorize: []string{"*.team-a.corp", "10.2.0.0/16"},
	Profiles: []string{"tls-server", "tls-mutual"}, Labels: map[string]string{"team": "a"},
}

// TestPreauthorized gets certificates with nothing but a key: no solver, no
// DNS, no request to any host.
func TestPreauthorized(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	c := bound(t, ca, granted(t, ca, "team-a", teamA))
	names := append(acmetest.DNS("*.team-a.corp", "www.team-a.corp"), acmetest.Name{Type: "ip", Value: "10.2.0.7"})
	for range 2 { // the second order finds what the first has left
		made := order(t, c, names, nil)
		if made.Status != "ready" || len(made.Authorizations) != 3 {
			t.Fatalf("the order is %+v", made)
		}
		for i, url := range made.Authorizations {
			authz := authorization(t, c, url)
			if authz.Status != "valid" || len(authz.Challenges) != 1 || authz.Challenges[0].Status != "valid" || authz.Challenges[0].Token == "" || authz.Wildcard != (i == 0) {
				t.Errorf("the authorization is %+v", authz)
			}
		}
		finish(t, c, made)
	}
	listed := slices.Collect(func(yield func(admin.Certificate) bool) {
		for found, err := range operator(t, ca).Certificates(t.Context(), inventory.Query{Name: "*.team-a.corp"}, 0) {
			check(t, err)
			if !yield(found) {
				return
			}
		}
	})
	if len(listed) != 2 || listed[0].Rule != `grant "team-a" (*.team-a.corp); grant "team-a" (10.2.0.0/16)` {
		t.Errorf("the certificates are %+v", listed)
	}
	if requests := ca.Web.Requests(); requests != 0 {
		t.Errorf("%d requests to hosts", requests)
	}

	mixed := order(t, c, acmetest.DNS("a.team-a.corp", "a.lab.corp"), nil)
	if mixed.Status != "pending" || authorization(t, c, mixed.Authorizations[0]).Status != "valid" || authorization(t, c, mixed.Authorizations[1]).Status != "pending" {
		t.Errorf("the order is %+v", mixed)
	}
	pre := succeeded(t, post(t, c, c.Directory.NewAuthz, members{"identifier": acmetest.DNS("b.team-a.corp")[0]}), http.StatusCreated)
	if pre["status"] != "valid" {
		t.Errorf("the authorization in advance is %v", pre)
	}
}

func TestOutsideTheGrant(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	c := bound(t, ca, granted(t, ca, "team-a", teamA))
	problem := refused(t, post(t, c, c.Directory.NewOrder, members{"identifiers": acmetest.DNS("www.team-a.corp", "x.team-b.corp", "team-a.corp")}),
		http.StatusForbidden, "rejectedIdentifier", `the grant "team-a" allows only *.team-a.corp, **.lab.corp, 10.2.0.0/16`)
	if len(problem.Subproblems) != 2 || problem.Subproblems[0].Identifier.Value != "x.team-b.corp" || problem.Subproblems[1].Identifier.Value != "team-a.corp" {
		t.Errorf("the subproblems are %+v", problem.Subproblems)
	}
	refused(t, post(t, c, c.Directory.NewAuthz, members{"identifier": acmetest.DNS("x.team-b.corp")[0]}), http.StatusForbidden, "rejectedIdentifier", `grant "team-a"`)
	refused(t, post(t, c, c.Directory.NewOrder, members{"identifiers": acmetest.DNS("www.team-a.corp"), "profile": "tls-client"}),
		http.StatusBadRequest, "invalidProfile", `the grant "team-a" does not have the profile "tls-client"`)
	other := ca.Client() // without a grant nobody is bound by one, and nothing is proven
	if made := order(t, other, acmetest.DNS("www.team-a.corp"), nil); made.Status != "pending" {
		t.Errorf("the order is %+v", made)
	}
}

// TestGrantsChangeAtOnce changes a grant between the steps of its orders.
func TestGrantsChangeAtOnce(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	key := granted(t, ca, "team-a", teamA)
	c, op, names := bound(t, ca, key), operator(t, ca), acmetest.DNS("www.team-a.corp")
	change := func(change admin.BindingChange) {
		t.Helper()
		_, err := op.UpdateBinding(t.Context(), key.KID, change)
		check(t, err)
	}
	finalize := func(made *acmetest.Order) *acmetest.Response {
		return post(t, c, made.Finalize, request(t, newKey(t), made.Identifiers))
	}
	none, others, both := []string{}, []string{"*.team-b.corp"}, []string{"*.team-a.corp", "*.team-b.corp"}

	made := order(t, c, names, nil)
	change(admin.BindingChange{Preauthorize: &none})
	refused(t, finalize(made), http.StatusForbidden, "rejectedIdentifier", "the grant that stood for a proof of it no longer does")
	if made := order(t, c, names, nil); made.Status != "pending" {
		t.Errorf("a proof that is none is used again: %+v", made)
	}
	change(admin.BindingChange{Allow: &others})
	refused(t, finalize(made), http.StatusForbidden, "rejectedIdentifier", `the grant "team-a" allows only *.team-b.corp`)
	change(admin.BindingChange{Allow: &both, Preauthorize: &both})
	finish(t, c, made) // it was never spoiled

	made = order(t, c, acmetest.DNS("x.team-b.corp"), nil)
	soon := time.Now().Add(time.Second)
	change(admin.BindingChange{Expires: &soon})
	eventually(t, "the grant to expire", func() bool { return time.Now().After(soon) })
	refused(t, finalize(made), http.StatusForbidden, "unauthorized", "expired at")
	refused(t, post(t, c, c.Directory.NewOrder, members{"identifiers": names}), http.StatusForbidden, "unauthorized", "expired at")
	change(admin.BindingChange{Expires: new(time.Time)})
	finish(t, c, made)

	made = order(t, c, names, nil)
	_, err := op.RevokeBinding(t.Context(), key.KID)
	check(t, err)
	for range 2 {
		refused(t, finalize(made), http.StatusForbidden, "unauthorized", `the grant "team-a" (`+key.KID+`) was revoked at`)
		refused(t, post(t, c, c.Directory.NewOrder, members{"identifiers": names}), http.StatusForbidden, "unauthorized", "was revoked")
		ca.Restart()
		c.ForgetNonces()
	}
}

// TestKeysWithoutPolicy are no grants: what becomes of them does not concern
// the accounts that were made with them.
func TestKeysWithoutPolicy(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	key := granted(t, ca, "plain", admin.Grant{})
	c := bound(t, ca, key)
	_, err := operator(t, ca).RevokeBinding(t.Context(), key.KID)
	check(t, err)
	if made := order(t, c, acmetest.DNS("www.example.test"), nil); made.Status != "pending" {
		t.Errorf("the order is %+v", made)
	}
	refused(t, registerWith(t, ca.NewClient(), key), http.StatusForbidden, "unauthorized", "was revoked")
}

func TestMaxAccounts(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	key := granted(t, ca, "few", admin.Grant{MaxAccounts: 3})
	var all sync.WaitGroup
	var created atomic.Int64
	for range 12 {
		c := ca.NewClient()
		all.Go(func() {
			if resp := registerWith(t, c, key); resp.Status == http.StatusCreated {
				created.Add(1)
			}
		})
	}
	all.Wait()
	if created.Load() != 3 {
		t.Errorf("%d accounts were made", created.Load())
	}
	refused(t, registerWith(t, ca.NewClient(), key), http.StatusForbidden, "unauthorized", "has as many accounts as it may have")
}

func TestUnderscores(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "policy.allow_underscores=true")
	c := bound(t, ca, granted(t, ca, "services", admin.Grant{Preauthorize: []string{"**.corp"}}))
	finish(t, c, order(t, c, acmetest.DNS("_ldap._tcp.corp", "*.my_host.corp"), nil))
	refused(t, post(t, c, c.Directory.NewOrder, members{"identifiers": acmetest.DNS("_-.corp")}), http.StatusBadRequest, "malformed", "hyphen")
}

func TestKeysAndValidityAreBound(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, `policy.rules=[{name: lab, allow: ["*.example.test"], key_types: [P-256], max_validity: 1d}]`)
	c := ca.Client()
	short := issue(t, ca, c, acmetest.DNS("a.example.test"), nil)
	if lifetime := short.leaf.NotAfter.Sub(short.leaf.NotBefore); lifetime > 24*time.Hour || lifetime < 23*time.Hour {
		t.Errorf("the certificate is good for %s", lifetime)
	}
	made := readyOrder(t, ca, c, acmetest.DNS("b.example.test"), nil)
	ec384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	refused(t, post(t, c, made.Finalize, request(t, ec384, made.Identifiers)), http.StatusBadRequest, "badCSR", `the key is P-384; the rule "lab" takes P-256`)
	finish(t, c, made)
	late := time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
	made = readyOrder(t, ca, c, acmetest.DNS("b.example.test"), members{"notAfter": late})
	refused(t, post(t, c, made.Finalize, request(t, newKey(t), made.Identifiers)), http.StatusBadRequest, "malformed", "policy allows a validity of 24h0m0s at most")
}
