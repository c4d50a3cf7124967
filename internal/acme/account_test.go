package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// TestAccounts is RFC 8555 §7.3.
func TestAccounts(t *testing.T) {
	t.Parallel()
	group(t, servertest.Start(t), map[string]func(*testing.T, *servertest.CA){
		"Create":                testCreateAccount,
		"OnlyReturnExisting":    testOnlyReturnExisting,
		"Contacts":              testContacts,
		"Update":                testUpdateAccount,
		"Deactivate":            testDeactivateAccount,
		"OrdersList":            testOrdersList,
		"Strangers":             testStrangers,
		"MemberNamesInAnyCase":  testMemberNamesInAnyCase,
		"KeysOfAllKinds":        testKeysOfAllKinds,
		"KeyChange":             testKeyChange,
		"KeyChangeNineChecks":   testKeyChangeChecks,
		"KeyChangeMovesPending": testKeyChangeMovesPending,
	})
}

func testCreateAccount(t *testing.T, ca *servertest.CA) {
	client := ca.NewClient()
	payload := members{"contact": []string{"mailto:admin@example.test"}, "termsOfServiceAgreed": true, "status": "revoked", "orders": "x", "nonsense": 1}
	first := post(t, client, client.Directory.NewAccount, payload)
	body := succeeded(t, first, http.StatusCreated)
	if body["status"] != "valid" || body["orders"] != first.Location()+"/orders" || body["termsOfServiceAgreed"] != true {
		t.Errorf("the new account: %s", first.Body)
	}
	if contact := body["contact"].([]any); len(contact) != 1 || contact[0] != "mailto:admin@example.test" {
		t.Errorf("the contact: %v", contact)
	}
	for _, never := range []string{"nonsense", "onlyReturnExisting", "externalAccountBinding"} {
		if _, found := body[never]; found {
			t.Errorf("the account shows %s", never)
		}
	}
	again := post(t, client, client.Directory.NewAccount, members{"contact": []string{"mailto:other@example.test"}})
	if succeeded(t, again, http.StatusOK)["contact"].([]any)[0] != "mailto:admin@example.test" || again.Location() != first.Location() {
		t.Errorf("the same key again: %s %s", again.Location(), again.Body)
	}
}

func testOnlyReturnExisting(t *testing.T, ca *servertest.CA) {
	client := ca.NewClient()
	only := members{"onlyReturnExisting": true}
	refused(t, post(t, client, client.Directory.NewAccount, only), http.StatusBadRequest, "accountDoesNotExist", "key")
	created := post(t, client, client.Directory.NewAccount, members{})
	succeeded(t, created, http.StatusCreated)
	found := post(t, client, client.Directory.NewAccount, only)
	succeeded(t, found, http.StatusOK)
	if found.Location() != created.Location() {
		t.Errorf("found %s, want %s", found.Location(), created.Location())
	}
}

func testContacts(t *testing.T, ca *servertest.CA) {
	for _, contact := range []string{"mailto:a@b.test", "MAILTO:first.last+tag@example.test", "mailto:a%2Bb@example.test"} {
		client := ca.NewClient()
		succeeded(t, post(t, client, client.Directory.NewAccount, members{"contact": []string{contact}}), http.StatusCreated)
	}
}

func testUpdateAccount(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	updated := post(t, client, client.AccountURL, members{"contact": []string{"mailto:new@example.test"}, "status": "valid", "orders": "x"})
	for _, body := range []members{succeeded(t, updated, http.StatusOK), succeeded(t, post(t, client, client.AccountURL, nil), http.StatusOK)} {
		if contact := body["contact"].([]any); len(contact) != 1 || contact[0] != "mailto:new@example.test" {
			t.Errorf("the contact: %v", contact)
		}
	}
	body := succeeded(t, post(t, client, client.AccountURL, members{"contact": []string{}}), http.StatusOK)
	if contact, found := body["contact"]; found {
		t.Errorf("the contact is still %v", contact)
	}
	succeeded(t, post(t, client, client.AccountURL, members{"status": "revoked"}), http.StatusOK)
	if body := succeeded(t, post(t, client, client.AccountURL, members{}), http.StatusOK); body["status"] != "valid" {
		t.Errorf("the status is %v", body["status"])
	}
}

func testDeactivateAccount(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	have := issue(t, ca, client, acmetest.DNS("closed.example.test"), nil)
	pending := order(t, client, acmetest.DNS("pending.closed.example.test"), nil)
	body := succeeded(t, post(t, client, client.AccountURL, members{"status": "deactivated"}), http.StatusOK)
	if body["status"] != "deactivated" {
		t.Errorf("the status is %v", body["status"])
	}
	for _, url := range []string{client.AccountURL, pending.URL, pending.Authorizations[0], have.order.Certificate, client.Directory.NewOrder} {
		refused(t, post(t, client, url, nil), http.StatusUnauthorized, "unauthorized", "deactivated")
	}
	refused(t, post(t, client, client.Directory.RevokeCert, have.revocation(nil)), http.StatusUnauthorized, "unauthorized", "deactivated")
	unregistered := &acmetest.Client{HTTP: client.HTTP, Directory: client.Directory, Key: client.Key}
	refused(t, post(t, unregistered, client.Directory.NewAccount, members{}), http.StatusUnauthorized, "unauthorized", "deactivated")

	stored, err := ca.Store().Order(t.Context(), idOf(pending.URL))
	check(t, err)
	if stored.Failure == nil {
		t.Error("the pending order of a deactivated account goes on")
	}
}

// testOrdersList has more orders than fit on a page (RFC 8555 §7.1.2.1).
func testOrdersList(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	var want []string
	for i := range 105 {
		want = append(want, order(t, client, acmetest.DNS(fmt.Sprintf("n%d.list.example.test", i)), nil).URL)
	}
	gone := order(t, client, acmetest.DNS("gone.list.example.test"), nil)
	succeeded(t, post(t, client, gone.Authorizations[0], members{"status": "deactivated"}), http.StatusOK)
	var got []string
	pages := 0
	for next := client.AccountURL + "/orders"; next != ""; pages++ {
		resp := post(t, client, next, nil)
		for _, url := range succeeded(t, resp, http.StatusOK)["orders"].([]any) {
			got = append(got, url.(string))
		}
		next = linked(resp, "next")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the list has %d orders, want %d", len(got), len(want))
	}
	if pages != 2 {
		t.Errorf("the list has %d pages", pages)
	}
	none := post(t, ca.Client(), client.AccountURL+"/orders", nil)
	refused(t, none, http.StatusForbidden, "unauthorized", "another account")
}

// testStrangers asks for another account's things: they are answered like
// things that are not there.
func testStrangers(t *testing.T, ca *servertest.CA) {
	client, stranger := ca.Client(), ca.Client()
	have := issue(t, ca, client, acmetest.DNS("own.example.test"), nil)
	authz := authorization(t, client, have.order.Authorizations[0])
	for _, url := range []string{have.order.URL, have.order.Finalize, have.order.Authorizations[0], authz.Challenges[0].URL, have.order.Certificate, have.order.Certificate + "/1"} {
		payload := any(nil)
		if url == have.order.Finalize {
			payload = request(t, have.key, acmetest.DNS("own.example.test"))
		}
		foreign := refused(t, post(t, stranger, url, payload), http.StatusNotFound, "malformed", "another account")
		missing := refused(t, post(t, stranger, withOtherID(url), payload), http.StatusNotFound, "malformed", "another account")
		if foreign.Detail != missing.Detail {
			t.Errorf("%s: %q tells from %q", url, foreign.Detail, missing.Detail)
		}
	}
	refused(t, post(t, stranger, client.AccountURL, nil), http.StatusForbidden, "unauthorized", "another account")
}

func testMemberNamesInAnyCase(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	body := succeeded(t, post(t, client, client.Directory.NewOrder, members{
		"Identifiers": []members{{"Type": "dns", "VALUE": "Case.Example.Test"}},
	}), http.StatusCreated)
	if name := body["identifiers"].([]any)[0].(members); name["value"] != "case.example.test" {
		t.Errorf("the identifier is %v", name)
	}
}

func testKeysOfAllKinds(t *testing.T, ca *servertest.CA) {
	for name, key := range accountKeys(t) {
		t.Run(name, func(t *testing.T) {
			client := ca.NewClient()
			client.Key = key
			_, err := client.Register(t.Context(), nil)
			check(t, err)
			issue(t, ca, client, acmetest.DNS("keys.example.test"), nil)
		})
	}
}

// accountKeys has a key for each algorithm. That on P-256 has coordinates with
// leading zeros, which the thumbprint must keep.
func accountKeys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		check(t, err)
		keys[name] = key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	keys["EdDSA"] = ed
	keys["RS256"], err = rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	for {
		key := newKey(t)
		point, err := key.PublicKey.Bytes()
		check(t, err)
		if point[1] == 0 || point[33] == 0 {
			keys["ES256 with leading zeros"] = key
			return keys
		}
	}
}
