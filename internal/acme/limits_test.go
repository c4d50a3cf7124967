package acme_test

import (
	"net/http"
	"strconv"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/admin"
	"chancery/internal/server/servertest"
)

// limited expects an answer that says which limit it was and when to come back.
func limited(t *testing.T, resp *acmetest.Response, limit string) {
	t.Helper()
	refused(t, resp, http.StatusTooManyRequests, "rateLimited", limit)
	if wait, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || wait < 1 {
		t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
	}
}

func newOrder(t *testing.T, c *acmetest.Client, more members, names ...string) *acmetest.Response {
	t.Helper()
	wanted := members{"identifiers": acmetest.DNS(names...)}
	for name, value := range more {
		wanted[name] = value
	}
	return post(t, c, c.Directory.NewOrder, wanted)
}

func TestOrderLimits(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "limits.new_orders=3/h")
	c, other := ca.Client(), ca.Client()
	refused(t, newOrder(t, c, nil, "a..test"), http.StatusBadRequest, "malformed", "empty label") // counts nothing
	first := issue(t, ca, c, acmetest.DNS("a.example.test"), nil)
	for range 2 {
		succeeded(t, newOrder(t, c, nil, "b.example.test"), http.StatusCreated)
	}
	limited(t, newOrder(t, c, nil, "b.example.test"), "too many new orders of this account: at most 3/1h (limits.new_orders); try again in ")
	succeeded(t, newOrder(t, c, members{"replaces": first.certID()}, "a.example.test"), http.StatusCreated)
	succeeded(t, newOrder(t, other, nil, "b.example.test"), http.StatusCreated)

	found, err := operator(t, ca).Limits(t.Context(), idOf(c.AccountURL))
	check(t, err)
	if len(found.Limits) != 1 || found.Limits[0].Used != 3 || found.Limits[0].Wait <= 0 || found.Limits[0].Rate != "3/1h" {
		t.Errorf("the limits are %+v", found)
	}
	ca.Reload("limits.new_orders=off")
	succeeded(t, newOrder(t, c, nil, "b.example.test"), http.StatusCreated)
}

func TestLetsEncryptPreset(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "limits.preset=letsencrypt", "validation.attempts=1")
	c := ca.Client()
	for range 5 { // certificates for the same name
		issue(t, ca, c, acmetest.DNS("a.example.test"), nil)
	}
	limited(t, newOrder(t, c, nil, "a.example.test"), "certificates for exactly these names: at most 5/7d (limits.certificates_per_set)")
	issue(t, ca, c, acmetest.DNS("a.example.test", "b.example.test"), nil)

	for range 5 { // failed validations
		made := order(t, c, acmetest.DNS("bad.example.test"), nil)
		authz := authorization(t, c, made.Authorizations[0])
		post(t, c, challenge(t, authz, "http-01").URL, members{})
		_, err := c.Settled(t.Context(), made.Authorizations[0])
		check(t, err)
	}
	limited(t, newOrder(t, c, nil, "bad.example.test"), "failed validations of bad.example.test by this account: at most 5/1h (limits.failed_validations)")
	succeeded(t, newOrder(t, ca.Client(), nil, "bad.example.test"), http.StatusCreated)

	for range 8 { // accounts: two were made above
		ca.Client()
	}
	one := ca.NewClient()
	limited(t, post(t, one, one.Directory.NewAccount, members{}), "new accounts from 127.0.0.1: at most 10/3h (limits.new_accounts)")
	c.AccountURL = "" // asked by its key, an account that exists is not a new one
	succeeded(t, post(t, c, c.Directory.NewAccount, members{}), http.StatusOK)
}

func TestGrantRate(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	key := granted(t, ca, "team-a", admin.Grant{Preauthorize: []string{"**.corp"}, MaxRate: "2/h"})
	for range 2 { // accounts that share the rate
		c := bound(t, ca, key)
		finish(t, c, order(t, c, acmetest.DNS("a.corp"), nil))
	}
	limited(t, newOrder(t, bound(t, ca, key), nil, "a.corp"), "new orders under this grant: at most 2/1h (the grant's max-rate)")
	succeeded(t, newOrder(t, ca.Client(), nil, "a.corp"), http.StatusCreated)
	rate := "3/h"
	_, err := operator(t, ca).UpdateBinding(t.Context(), key.KID, admin.BindingChange{MaxRate: &rate})
	check(t, err)
	succeeded(t, newOrder(t, bound(t, ca, key), nil, "a.corp"), http.StatusCreated)
}
