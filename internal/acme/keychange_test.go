package acme_test

import (
	"crypto"
	"net/http"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// rollover is a key change that can be spoiled.
type rollover struct {
	header  members // of the inner JWS
	payload any     // of the inner JWS
	signer  crypto.Signer
}

// newRollover is a good change of a client's key.
func newRollover(c *acmetest.Client, next crypto.Signer) *rollover {
	return &rollover{
		header:  members{"alg": acmetest.Algorithm(next.Public()), "jwk": acmetest.JWK(next.Public()), "url": c.Directory.KeyChange},
		payload: members{"account": c.AccountURL, "oldKey": acmetest.JWK(c.Key.Public())},
		signer:  next,
	}
}

// send posts the change.
func (r *rollover) send(t testing.TB, c *acmetest.Client) *acmetest.Response {
	t.Helper()
	return post(t, c, c.Directory.KeyChange, raw(acmetest.Sign(r.signer, r.header, encode(t, r.payload))))
}

func testKeyChange(t *testing.T, ca *servertest.CA) {
	client, next := ca.Client(), newKey(t)
	have := issue(t, ca, client, acmetest.DNS("rollover.example.test"), nil)
	resp := newRollover(client, next).send(t, client)
	succeeded(t, resp, http.StatusOK)
	old := &acmetest.Client{HTTP: client.HTTP, Directory: client.Directory, Key: client.Key, AccountURL: client.AccountURL}
	refused(t, post(t, old, client.AccountURL, nil), http.StatusForbidden, "unauthorized", "signature")
	client.Key = next
	succeeded(t, post(t, client, client.AccountURL, nil), http.StatusOK)
	succeeded(t, post(t, client, have.order.URL, nil), http.StatusOK)
	found := &acmetest.Client{HTTP: client.HTTP, Directory: client.Directory, Key: next}
	if resp := post(t, found, client.Directory.NewAccount, members{"onlyReturnExisting": true}); resp.Location() != client.AccountURL {
		t.Errorf("the new key's account is %q", resp.Location())
	}
	// The old key is free again.
	fresh := &acmetest.Client{HTTP: client.HTTP, Directory: client.Directory, Key: old.Key}
	succeeded(t, post(t, fresh, client.Directory.NewAccount, members{}), http.StatusCreated)
}

// testKeyChangeMovesPending answers a challenge of before the change with the
// new key.
func testKeyChangeMovesPending(t *testing.T, ca *servertest.CA) {
	client, next := ca.Client(), newKey(t)
	names := acmetest.DNS("moved.example.test")
	made := order(t, client, names, nil)
	succeeded(t, newRollover(client, next).send(t, client), http.StatusOK)
	client.Key = next
	check(t, client.Prove(t.Context(), made, "http-01", ca.Web.HTTP01))
	succeeded(t, post(t, client, made.Finalize, request(t, newKey(t), names)), http.StatusOK)
}

// testKeyChangeChecks are the nine checks of RFC 8555 §7.3.5; the first, that
// the outer JWS is by an active account, is testDeactivateAccount's.
func testKeyChangeChecks(t *testing.T, ca *servertest.CA) {
	client, taken := ca.Client(), ca.Client()
	other := newKey(t)
	for name, test := range map[string]struct {
		spoil        func(*rollover)
		status       int
		kind, detail string
	}{
		"the inner JWS has no jwk":         {func(r *rollover) { r.header["jwk"] = nil }, 400, "malformed", "inner"},
		"it has a kid":                     {func(r *rollover) { delete(r.header, "jwk"); r.header["kid"] = client.AccountURL }, 400, "malformed", "jwk"},
		"it has a nonce":                   {func(r *rollover) { r.header["nonce"] = "AAAA" }, 400, "malformed", "nonce"},
		"it is not signed by its jwk":      {func(r *rollover) { r.signer = other }, 403, "unauthorized", "inner"},
		"its alg is refused":               {func(r *rollover) { r.header["alg"] = "none" }, 400, "badSignatureAlgorithm", "inner"},
		"it is for another url":            {func(r *rollover) { r.header["url"] = client.Directory.NewAccount }, 400, "malformed", "url"},
		"it has no url":                    {func(r *rollover) { delete(r.header, "url") }, 400, "malformed", "url"},
		"its payload is no object":         {func(r *rollover) { r.payload = []int{1} }, 400, "malformed", "payload"},
		"its payload is empty":             {func(r *rollover) { r.payload = members{} }, 400, "malformed", "account"},
		"account is another":               {func(r *rollover) { r.payload.(members)["account"] = taken.AccountURL }, 400, "malformed", "account"},
		"account is missing":               {func(r *rollover) { delete(r.payload.(members), "account") }, 400, "malformed", "account"},
		"oldKey is another":                {func(r *rollover) { r.payload.(members)["oldKey"] = acmetest.JWK(other.Public()) }, 400, "malformed", "oldKey"},
		"oldKey is missing":                {func(r *rollover) { delete(r.payload.(members), "oldKey") }, 400, "malformed", "oldKey"},
		"the new key is the old":           {func(r *rollover) { r.use(client.Key) }, 409, "malformed", "belongs"},
		"the new key is another account's": {func(r *rollover) { r.use(taken.Key) }, 409, "malformed", "belongs"},
		"the new key is weak":              {func(r *rollover) { r.use(weakRSA(t)) }, 400, "badPublicKey", "1024"},
	} {
		t.Run(name, func(t *testing.T) {
			change := newRollover(client, newKey(t))
			test.spoil(change)
			resp := change.send(t, client)
			refused(t, resp, test.status, test.kind, test.detail)
			if test.status == 409 && resp.Location() != holderOf(change, taken, client).AccountURL {
				t.Errorf("Location is %q, not the holder of the key", resp.Location())
			}
		})
	}
	refused(t, post(t, client, client.Directory.KeyChange, raw([]byte("{}"))), 400, "malformed", "inner")
	refused(t, post(t, client, client.Directory.KeyChange, nil), 400, "malformed", "inner")
	succeeded(t, post(t, client, client.AccountURL, nil), http.StatusOK)
}

// use makes key the new one.
func (r *rollover) use(key crypto.Signer) {
	r.signer = key
	r.header["alg"], r.header["jwk"] = acmetest.Algorithm(key.Public()), acmetest.JWK(key.Public())
}

// holderOf is the client that has the new key.
func holderOf(change *rollover, clients ...*acmetest.Client) *acmetest.Client {
	for _, client := range clients {
		if client.Key == change.signer {
			return client
		}
	}
	return &acmetest.Client{}
}
