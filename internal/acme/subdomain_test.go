package acme_test

import (
	"net/http"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// TestSubdomains takes the ways of RFC 9444 to a proof at the parent.
func TestSubdomains(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "acme.subdomain_auth=true")
	c := ca.NewClient()
	if c.Directory.Meta["subdomainAuthAllowed"] != true {
		t.Errorf("the directory says %v", c.Directory.Meta)
	}
	_, err := c.Register(t.Context(), nil)
	check(t, err)

	// Two names name the same ancestor, a third none (§4.2): one proof for two.
	below := func(name string) members {
		return members{"type": "dns", "value": name, "ancestorDomain": "Zone.example.test"}
	}
	made := order(t, c, nil, members{"identifiers": []members{below("a.zone.example.test"), below("b.c.zone.example.test"), {"type": "dns", "value": "d.example.test"}}})
	if len(made.Authorizations) != 2 || len(made.Identifiers) != 3 {
		t.Fatalf("the order is %+v", made)
	}
	body := succeeded(t, post(t, c, made.Authorizations[0], nil), http.StatusOK)
	authz := authorization(t, c, made.Authorizations[0])
	if authz.Identifier.Value != "zone.example.test" || body["subdomainAuthAllowed"] != true {
		t.Errorf("the authorization is %v", body)
	}
	for _, challenge := range authz.Challenges {
		if challenge.Type != "dns-01" && challenge.Type != "dns-account-01" {
			t.Errorf("%s would prove the names below", challenge.Type)
		}
	}
	check(t, c.Prove(t.Context(), made, "dns-01", ca.DNS01))
	finish(t, c, made)

	// A plain order finds the proof, one of a wildcard does not.
	for name, status := range map[string]string{
		"x.y.zone.example.test": "ready", "zone.example.test": "ready", "*.zone.example.test": "pending", "other.example.test": "pending",
	} {
		if made := order(t, c, acmetest.DNS(name), nil); made.Status != status {
			t.Errorf("the order of %s is %s", name, made.Status)
		}
	}
	finish(t, c, order(t, c, acmetest.DNS("x.y.zone.example.test"), nil))
	if made := order(t, ca.Client(), acmetest.DNS("x.y.zone.example.test"), nil); made.Status != "pending" {
		t.Error("another account has the proof, too")
	}

	// In advance (§4.1): a proof at the parent that was not asked for the names
	// below is for itself.
	for name, asked := range map[string]bool{"wide.example.test": true, "narrow.example.test": false} {
		resp := post(t, c, c.Directory.NewAuthz, members{"identifier": members{"type": "dns", "value": name, "subdomainAuthAllowed": asked}})
		body := succeeded(t, resp, http.StatusCreated)
		if (body["subdomainAuthAllowed"] == true) != asked {
			t.Errorf("the authorization is %v", body)
		}
		check(t, c.Prove(t.Context(), &acmetest.Order{Authorizations: []string{resp.Location()}}, "dns-01", ca.DNS01))
		if made := order(t, c, acmetest.DNS("x."+name), nil); (made.Status == "ready") != asked {
			t.Errorf("the order below %s is %s", name, made.Status)
		}
	}
	for _, bad := range []string{"example", "xzone.example.test", "a.zone.example.test", "*.example.test", "10.0.0.1"} {
		refused(t, post(t, c, c.Directory.NewOrder, members{"identifiers": []members{{"type": "dns", "value": "a.zone.example.test", "ancestorDomain": bad}}}),
			http.StatusBadRequest, "malformed", "is no domain above it")
	}
}

// TestSubdomainsAreOff ignores what is not switched on, as RFC 9444 asks.
func TestSubdomainsAreOff(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	c := ca.Client()
	if _, found := c.Directory.Meta["subdomainAuthAllowed"]; found {
		t.Errorf("the directory says %v", c.Directory.Meta)
	}
	made := order(t, c, nil, members{"identifiers": []members{{"type": "dns", "value": "a.example.test", "ancestorDomain": "example.test"}}})
	if authz := authorization(t, c, made.Authorizations[0]); authz.Identifier.Value != "a.example.test" {
		t.Errorf("the authorization is %+v", authz)
	}
}
