package acme_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// TestNonceBurnt: a nonce is spent by whatever request carries it, also one
// that fails for another reason (RFC 8555 §6.5).
func TestNonceBurnt(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	client := ca.Client()
	for name, change := range map[string]members{
		"a bad alg":       {"alg": "none"},
		"another url":     {"url": "https://evil.example/"},
		"an unknown kid":  {"kid": withOtherID(client.AccountURL)},
		"no key":          {"kid": nil},
		"a crit":          {"crit": []string{"x"}},
		"a bad signature": {"alg": "EdDSA"},
	} {
		nonce, err := client.Nonce(t.Context())
		check(t, err)
		spoil := members{"nonce": nonce}
		for member, value := range change {
			spoil[member] = value
		}
		resp, err := client.PostRaw(t.Context(), client.AccountURL, nil, spoil)
		check(t, err)
		if resp.Status < 400 {
			t.Errorf("%s: status %d", name, resp.Status)
		}
		resp, err = client.PostRaw(t.Context(), client.AccountURL, nil, members{"nonce": nonce})
		check(t, err)
		if problem := resp.Problem(); problem == nil || !strings.HasSuffix(problem.Type, ":badNonce") {
			t.Errorf("%s: the nonce serves again: %d", name, resp.Status)
		}
	}
}

// TestCAA checks CAA records (RFC 8659, RFC 8657) when a name is proven and
// again when the certificate is issued.
func TestCAA(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "validation.caa=on", "validation.caa_identities="+persistIssuer)
	client := ca.Client()
	if identities := fmt.Sprint(client.Directory.Meta["caaIdentities"]); identities != "["+persistIssuer+"]" {
		t.Errorf("caaIdentities are %s", identities)
	}
	ca.DNS.SetCAA("no.example.test", "0 issue other.test")
	ca.DNS.SetA("no.example.test", ca.Web.Address)
	ca.DNS.SetCAA("yes.example.test", "0 issue "+persistIssuer+"; accounturi="+client.AccountURL+"; validationmethods=http-01")
	ca.DNS.SetA("yes.example.test", ca.Web.Address)

	made := order(t, client, acmetest.DNS("no.example.test"), nil)
	offered := challenge(t, authorization(t, client, made.Authorizations[0]), "http-01")
	ca.Web.HTTP01(nil, offered, client.KeyAuthorization(offered.Token))
	_, settled := fail(t, client, made, "http-01")
	if !strings.HasSuffix(settled.Error.Type, ":caa") || settled.Error.Status != http.StatusForbidden {
		t.Errorf("the error is %+v", settled.Error)
	}
	names := acmetest.DNS("yes.example.test")
	issue(t, ca, client, names, nil)
	if err := ca.Client().Prove(t.Context(), order(t, ca.Client(), names, nil), "http-01", ca.Web.HTTP01); err == nil {
		t.Error("another account than the one in CAA proves the name")
	}

	// A fault of DNS passes: the order stays ready. A record that forbids is
	// final for this request.
	ready := order(t, client, names, nil)
	payload := request(t, newKey(t), names)
	ca.DNS.SetFault("yes.example.test", refusing)
	resp := post(t, client, ready.Finalize, payload)
	refused(t, resp, http.StatusServiceUnavailable, "serverInternal", "yes.example.test")
	checkRetryAfter(t, resp)
	ca.DNS.SetFault("yes.example.test", working)
	ca.DNS.SetCAA("yes.example.test", "0 issue ;")
	refused(t, post(t, client, ready.Finalize, payload), http.StatusForbidden, "caa", "yes.example.test")
	ca.DNS.SetCAA("yes.example.test")
	if body := succeeded(t, post(t, client, ready.Finalize, payload), http.StatusOK); body["status"] != "valid" {
		t.Errorf("the order is %v", body)
	}
}

// TestTooManyValidations has more challenges waiting than fit: the rest is
// asked to come back, which is no client's fault.
func TestTooManyValidations(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "validation.max_concurrent=1", "validation.wait=0s", "validation.timeout=1m", "validation.attempts=1")
	silent := ca.Network.Host(20)
	servertest.ListenHTTP(t, silent)
	client := ca.Client()
	turnedAway := 0
	for range 20 {
		made := order(t, client, acmetest.IP(silent), nil)
		offered := challenge(t, authorization(t, client, made.Authorizations[0]), "http-01")
		resp := post(t, client, offered.URL, members{})
		if resp.Status == http.StatusOK {
			continue
		}
		turnedAway++
		refused(t, resp, http.StatusServiceUnavailable, "serverInternal", "try again")
		checkRetryAfter(t, resp)
		if body := succeeded(t, post(t, client, offered.URL, nil), http.StatusOK); body["status"] != "pending" {
			t.Errorf("the challenge is %v", body)
		}
	}
	if turnedAway != 3 {
		t.Errorf("%d of 20 were turned away", turnedAway)
	}
}
