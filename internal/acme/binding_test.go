package acme_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
)

// newBinding stores a key for external account binding.
func newBinding(t testing.TB, ca *servertest.CA, id string, change func(*store.Binding)) store.Binding {
	t.Helper()
	secret := make([]byte, 32)
	_, err := rand.Read(secret)
	check(t, err)
	binding := store.Binding{ID: id, Secret: secret, Created: time.Now()}
	if change != nil {
		change(&binding)
	}
	check(t, ca.Store().CreateBinding(t.Context(), binding))
	return binding
}

// bind makes an external account binding of a client's key (RFC 8555 §7.3.4).
// Members of change replace those of the good header.
func bind(c *acmetest.Client, binding store.Binding, change members) json.RawMessage {
	header := members{"alg": "HS256", "kid": binding.ID, "url": c.Directory.NewAccount}
	for name, value := range change {
		header[name] = value
	}
	return acmetest.MAC(binding.Secret, header, acmetest.JWK(c.Key.Public()))
}

func register(t testing.TB, c *acmetest.Client, eab any) *acmetest.Response {
	t.Helper()
	return post(t, c, c.Directory.NewAccount, members{"externalAccountBinding": eab})
}

// TestBindings is RFC 8555 §7.3.4.
func TestBindings(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "acme.eab_required=true")
	if meta := ca.NewClient().Directory.Meta; meta["externalAccountRequired"] != true {
		t.Errorf("meta is %v", meta)
	}
	group(t, ca, map[string]func(*testing.T, *servertest.CA){
		"Good":      testGoodBinding,
		"Bad":       testBadBindings,
		"SingleUse": testSingleUse,
		"Race":      testSingleUseRace,
	})
}

func testGoodBinding(t *testing.T, ca *servertest.CA) {
	binding := newBinding(t, ca, "good", nil)
	client := ca.NewClient()
	eab := bind(client, binding, nil)
	first := register(t, client, eab)
	body := succeeded(t, first, http.StatusCreated)
	var sent any
	if check(t, json.Unmarshal(eab, &sent)); !reflect.DeepEqual(body["externalAccountBinding"], sent) {
		t.Errorf("the account shows %v", body["externalAccountBinding"])
	}
	for name, again := range map[string]*acmetest.Response{
		"with the binding":    register(t, client, eab),
		"without the binding": post(t, client, client.Directory.NewAccount, members{}),
		"with another":        register(t, client, bind(client, store.Binding{ID: "other", Secret: []byte{1}}, nil)),
	} {
		if succeeded(t, again, http.StatusOK); again.Location() != first.Location() {
			t.Errorf("the same key again %s: %s", name, again.Location())
		}
	}
	second := ca.NewClient() // a key that is not single-use serves again
	succeeded(t, register(t, second, bind(second, binding, nil)), http.StatusCreated)
}

func testBadBindings(t *testing.T, ca *servertest.CA) {
	binding := newBinding(t, ca, "binding", nil)
	past := time.Now().Add(-time.Minute)
	newBinding(t, ca, "expired", func(b *store.Binding) { b.Expires, b.Secret = past, binding.Secret })
	newBinding(t, ca, "revoked", func(b *store.Binding) { b.Secret = binding.Secret })
	check(t, ca.Store().RevokeBinding(t.Context(), "revoked", past))
	other := newKey(t)
	for name, test := range map[string]struct {
		binding      func(*acmetest.Client) any
		status       int
		kind, detail string
	}{
		"missing":        {func(*acmetest.Client) any { return nil }, 403, "externalAccountRequired", "chancery eab create"},
		"no object":      {func(*acmetest.Client) any { return "x" }, 400, "malformed", "externalAccountBinding"},
		"empty":          {func(*acmetest.Client) any { return members{} }, 400, "malformed", "externalAccountBinding"},
		"unknown kid":    {func(c *acmetest.Client) any { return bind(c, binding, members{"kid": "nobody"}) }, 403, "unauthorized", "does not exist"},
		"no kid":         {func(c *acmetest.Client) any { return bind(c, binding, members{"kid": ""}) }, 400, "malformed", "kid"},
		"a nonce":        {func(c *acmetest.Client) any { return bind(c, binding, members{"nonce": "AAAA"}) }, 400, "malformed", "nonce"},
		"a jwk":          {func(c *acmetest.Client) any { return bind(c, binding, members{"jwk": acmetest.JWK(other.Public())}) }, 400, "malformed", "jwk"},
		"wrong url":      {func(c *acmetest.Client) any { return bind(c, binding, members{"url": c.Directory.NewOrder}) }, 400, "malformed", "url"},
		"not a MAC":      {func(c *acmetest.Client) any { return bind(c, binding, members{"alg": "ES256"}) }, 400, "badSignatureAlgorithm", "HS256"},
		"none":           {func(c *acmetest.Client) any { return bind(c, binding, members{"alg": "none"}) }, 400, "badSignatureAlgorithm", "HS256"},
		"bad MAC":        {func(c *acmetest.Client) any { return bind(c, store.Binding{ID: "binding", Secret: []byte("x")}, nil) }, 403, "unauthorized", "MAC"},
		"MAC of SHA-512": {func(c *acmetest.Client) any { return bind(c, binding, members{"alg": "HS512"}) }, 403, "unauthorized", "MAC"},
		"wrong key": {func(c *acmetest.Client) any {
			return bind(&acmetest.Client{Directory: c.Directory, Key: other}, binding, nil)
		}, 400, "malformed", "another key"},
		"revoked": {func(c *acmetest.Client) any { return bind(c, binding, members{"kid": "revoked"}) }, 403, "unauthorized", "revoked"},
		"expired": {func(c *acmetest.Client) any { return bind(c, binding, members{"kid": "expired"}) }, 403, "unauthorized", "expired"},
		"signed by itself": {func(c *acmetest.Client) any {
			return json.RawMessage(acmetest.Sign(c.Key, members{"alg": "ES256", "kid": "binding", "url": c.Directory.NewAccount}, acmetest.JWK(c.Key.Public())))
		}, 400, "badSignatureAlgorithm", "HS256"},
	} {
		t.Run(name, func(t *testing.T) {
			client := ca.NewClient()
			refused(t, register(t, client, test.binding(client)), test.status, test.kind, test.detail)
			refused(t, post(t, client, client.Directory.NewAccount, members{"onlyReturnExisting": true}), http.StatusBadRequest, "accountDoesNotExist", "key")
		})
	}
	client := ca.NewClient()
	succeeded(t, register(t, client, bind(client, binding, nil)), http.StatusCreated)
}

func testSingleUse(t *testing.T, ca *servertest.CA) {
	binding := newBinding(t, ca, "once", func(b *store.Binding) { b.SingleUse = true })
	client, late := ca.NewClient(), ca.NewClient()
	refused(t, post(t, client, client.Directory.NewAccount, members{
		"externalAccountBinding": bind(client, binding, nil), "contact": []string{"nonsense"},
	}), http.StatusBadRequest, "invalidContact", "nonsense") // does not spend it
	succeeded(t, register(t, client, bind(client, binding, nil)), http.StatusCreated)
	succeeded(t, register(t, client, bind(client, binding, nil)), http.StatusOK)
	refused(t, register(t, late, bind(late, binding, nil)), http.StatusForbidden, "unauthorized", "already used")
}

// testSingleUseRace: eight keys at once, one account.
func testSingleUseRace(t *testing.T, ca *servertest.CA) {
	for round := range 10 {
		binding := newBinding(t, ca, "race"+string(rune('a'+round)), func(b *store.Binding) { b.SingleUse = true })
		var created, refusals atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			client := ca.NewClient()
			all.Go(func() {
				resp, err := client.Post(t.Context(), client.Directory.NewAccount, members{"externalAccountBinding": bind(client, binding, nil)})
				switch {
				case err == nil && resp.Status == http.StatusCreated:
					created.Add(1)
				case resp != nil && resp.Status == http.StatusForbidden:
					refusals.Add(1)
				default:
					t.Errorf("an answer is %v", err)
				}
			})
		}
		all.Wait()
		if created.Load() != 1 || refusals.Load() != 7 {
			t.Errorf("a single-use key made %d accounts, refused %d", created.Load(), refusals.Load())
		}
	}
}
