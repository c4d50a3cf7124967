package acme_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
)

// bad is a request that must be refused: with which status and type, and with
// which word in the detail.
type bad struct {
	name         string
	send         func(*scene) *acmetest.Response
	status       int
	kind, detail string
}

// scene is a CA with something in every state, for requests to go wrong about.
type scene struct {
	t      *testing.T
	ca     *servertest.CA
	client *acmetest.Client // the owner of all the following
	other  *acmetest.Client // another account
	closed *acmetest.Client // a deactivated account

	names                           []acmetest.Name
	pending, ready, valid, invalid  *acmetest.Order
	got                             *issued // of valid
	revoked                         *issued
	deactivated                     string // URL of an authorization
	challengeOfPending, authorizing string // URLs
}

func newScene(t *testing.T) *scene {
	t.Helper()
	ca := servertest.Start(t)
	s := &scene{t: t, ca: ca, client: ca.Client(), other: ca.Client(), closed: ca.Client(), names: acmetest.DNS("scene.example.test")}
	succeeded(t, post(t, s.closed, s.closed.AccountURL, members{"status": "deactivated"}), http.StatusOK)
	s.got = issue(t, ca, s.client, s.names, nil)
	s.valid = s.got.order
	s.revoked = issue(t, ca, s.client, acmetest.DNS("revoked.example.test"), nil)
	succeeded(t, post(t, s.client, s.client.Directory.RevokeCert, s.revoked.revocation(nil)), http.StatusOK)
	s.invalid = order(t, s.client, acmetest.DNS("invalid.example.test"), nil)
	s.deactivated = s.invalid.Authorizations[0]
	succeeded(t, post(t, s.client, s.deactivated, members{"status": "deactivated"}), http.StatusOK)
	s.ready = order(t, s.client, s.names, nil)
	s.pending = order(t, s.client, acmetest.DNS("pending.example.test"), nil)
	s.authorizing = s.pending.Authorizations[0]
	s.challengeOfPending = challenge(t, authorization(t, s.client, s.authorizing), "http-01").URL
	return s
}

// state is all that is stored, as text.
func (s *scene) state() string {
	s.t.Helper()
	kept, ctx := s.ca.Store(), s.t.Context()
	accounts, err := kept.ListAccounts(ctx, store.AccountQuery{Limit: 10_000})
	check(s.t, err)
	orders, err := kept.ListOrders(ctx, store.OrderQuery{Limit: 10_000})
	check(s.t, err)
	certificates, err := kept.ListCertificates(ctx, store.CertificateQuery{Limit: 10_000, Now: time.Now()})
	check(s.t, err)
	bindings, err := kept.ListBindings(ctx)
	check(s.t, err)
	intents, err := kept.Intents(ctx, time.Now().Add(time.Hour), 1000)
	check(s.t, err)
	return string(encode(s.t, []any{accounts, orders, certificates, bindings, intents}))
}

// TestBadRequests sends what must be refused. After each, nothing that is
// stored has changed, and the next request, with the nonce of the refusal,
// succeeds.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	requests := slices.Concat(badMessages(), badHeaders(), badKeys(), badPayloads(), badOrders(), badIdentifiers(),
		badContacts(), badStates(), badCSRs(), badRevocations())
	if len(requests) < 150 {
		t.Errorf("there are only %d bad requests", len(requests))
	}
	before, names := s.state(), map[string]bool{}
	for _, request := range requests {
		if names[request.name] {
			t.Errorf("two bad requests are called %q", request.name)
		}
		names[request.name] = true
		t.Run(request.name, func(t *testing.T) {
			s.t = t
			resp := request.send(s)
			problem := refused(t, resp, request.status, request.kind, request.detail)
			if len(problem.Detail) > 1000 || strings.Contains(problem.Detail, "goroutine") {
				t.Errorf("the detail is %.2000s", problem.Detail)
			}
			if resp.Header.Get("Replay-Nonce") == "" {
				t.Error("the error has no nonce")
			}
			if after := s.state(); after != before {
				t.Errorf("the store has changed from\n%s\nto\n%s", before, after)
				before = after
			}
			succeeded(t, post(t, s.client, s.client.AccountURL, nil), http.StatusOK)
		})
	}
	t.Logf("%d bad requests", len(requests))
}

// body posts octets as they are, as a JWS, to newOrder.
func body(text string) func(*scene) *acmetest.Response {
	return func(s *scene) *acmetest.Response {
		s.t.Helper()
		resp, err := s.client.Do(s.t.Context(), http.MethodPost, s.client.Directory.NewOrder, "application/jose+json", []byte(text))
		check(s.t, err)
		return resp
	}
}

// goodOrder is a payload of newOrder with nothing wrong in it.
func goodOrder() members { return members{"identifiers": acmetest.DNS("good.example.test")} }

// spoiled changes the text of a good JWS to newOrder.
func spoiled(change func(text string, parts map[string]string) string) func(*scene) *acmetest.Response {
	return func(s *scene) *acmetest.Response {
		s.t.Helper()
		header, err := s.client.Header(s.t.Context(), s.client.Directory.NewOrder)
		check(s.t, err)
		good := acmetest.Sign(s.client.Key, header, encode(s.t, goodOrder()))
		var parts map[string]string
		check(s.t, json.Unmarshal(good, &parts))
		return body(change(string(good), parts))(s)
	}
}

// header changes the protected header of a good request to newOrder; nil
// removes a member.
func header(change func(*scene) members) func(*scene) *acmetest.Response {
	return func(s *scene) *acmetest.Response {
		s.t.Helper()
		resp, err := s.client.PostRaw(s.t.Context(), s.client.Directory.NewOrder, encode(s.t, goodOrder()), change(s))
		check(s.t, err)
		return resp
	}
}

func set(name string, value any) func(*scene) *acmetest.Response {
	return header(func(*scene) members { return members{name: value} })
}

// payload posts to a resource.
func payload(url func(*scene) string, value any) func(*scene) *acmetest.Response {
	return func(s *scene) *acmetest.Response {
		s.t.Helper()
		return post(s.t, s.client, url(s), value)
	}
}

// text is payload with the JSON as it is.
func text(url func(*scene) string, json string) func(*scene) *acmetest.Response {
	return payload(url, raw([]byte(json)))
}

// toNewOrder and the like are URLs of the scene.
func toNewOrder(s *scene) string   { return s.client.Directory.NewOrder }
func toNewAuthz(s *scene) string   { return s.client.Directory.NewAuthz }
func toAccount(s *scene) string    { return s.client.AccountURL }
func toFinalize(s *scene) string   { return s.ready.Finalize }
func toRevoke(s *scene) string     { return s.client.Directory.RevokeCert }
func toChallenge(s *scene) string  { return s.challengeOfPending }
func toAuthz(s *scene) string      { return s.authorizing }
func toKeyChange(s *scene) string  { return s.client.Directory.KeyChange }
func toOrder(s *scene) string      { return s.ready.URL }
func toOrdersList(s *scene) string { return s.client.AccountURL + "/orders" }

// ordering orders identifiers with more members.
func ordering(names []acmetest.Name, more members) func(*scene) *acmetest.Response {
	request := members{"identifiers": names}
	for name, value := range more {
		request[name] = value
	}
	return payload(toNewOrder, request)
}
