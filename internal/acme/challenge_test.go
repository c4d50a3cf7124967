package acme_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
	"chancery/internal/validation"
)

const persistIssuer = "ca.example.test"

// TestChallenges is RFC 8555 §7.5 and §8, RFC 8737, RFC 8738 and the drafts of
// dns-account-01 and dns-persist-01, end to end.
func TestChallenges(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "acme.dns_persist_issuers="+persistIssuer)
	group(t, ca, map[string]func(*testing.T, *servertest.CA){
		"EveryMethod":           testEveryMethod,
		"Offered":               testOffered,
		"DNSPersist":            testDNSPersist,
		"TXTSplitAndAliased":    testSplitAndAliased,
		"ReadingChangesNothing": testReadingChangesNothing,
		"FailureEndsAll":        testFailureEndsAll,
		"SeveralFailures":       testSeveralFailures,
		"AnsweringAtOnce":       testAnsweringAtOnce,
		"ObjectOrNothing":       testObjectOrNothing,
		"RedirectToMetadata":    testMetadata,
		"OwnListener":           testOwnListener,
	})
}

// testEveryMethod issues by each method, for each kind of name it can prove.
func testEveryMethod(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	for _, test := range []struct {
		name   string
		names  []acmetest.Name
		method string
		solve  acmetest.Solver
	}{
		{"http-01", acmetest.DNS("a.example.test"), "http-01", ca.Web.HTTP01},
		{"http-01 for an address", acmetest.IP(ca.Web.Address), "http-01", ca.Web.HTTP01},
		{"http-01 for an IDN", acmetest.DNS("xn--bcher-kva.example.test"), "http-01", ca.Web.HTTP01},
		{"http-01 for several", append(acmetest.DNS("b.example.test", "c.example.test"), acmetest.IP(ca.Web.Address)...), "http-01", ca.Web.HTTP01},
		{"tls-alpn-01", acmetest.DNS("d.example.test"), "tls-alpn-01", ca.Web.TLSALPN01},
		{"dns-01", acmetest.DNS("e.example.test"), "dns-01", ca.DNS01},
		{"dns-01 for a wildcard", acmetest.DNS("*.f.example.test"), "dns-01", ca.DNS01},
		{"dns-01 for a name and its wildcard", acmetest.DNS("*.g.example.test", "g.example.test"), "dns-01", ca.DNS01},
		{"dns-account-01", acmetest.DNS("h.example.test"), "dns-account-01", ca.DNSAccount01(client.AccountURL)},
		{"dns-account-01 for a wildcard", acmetest.DNS("*.i.example.test"), "dns-account-01", ca.DNSAccount01(client.AccountURL)},
	} {
		t.Run(test.name, func(t *testing.T) {
			made := order(t, client, test.names, nil)
			check(t, client.Prove(t.Context(), made, test.method, test.solve))
			for _, url := range made.Authorizations {
				checkValidAuthorization(t, post(t, client, url, nil), test.method)
			}
			body := succeeded(t, post(t, client, made.Finalize, request(t, newKey(t), test.names)), http.StatusOK)
			if body["status"] != "valid" {
				t.Errorf("the order is %v", body)
			}
		})
	}
	other := ca.Client() // tls-alpn-01 for an address, which client has proven already
	_, err := other.Issue(t.Context(), acmetest.IP(ca.Web.Address), newKey(t), "tls-alpn-01", ca.Web.TLSALPN01)
	check(t, err)
}

// checkValidAuthorization looks at an authorization and its only challenge.
func checkValidAuthorization(t *testing.T, resp *acmetest.Response, method string) {
	t.Helper()
	body := succeeded(t, resp, http.StatusOK)
	challenges := body["challenges"].([]any)
	if body["status"] != "valid" || body["expires"] == nil || len(challenges) != 1 {
		t.Fatalf("the authorization is %v", body)
	}
	shown := challenges[0].(members)
	if shown["type"] != method || shown["status"] != "valid" || shown["token"] == "" || shown["error"] != nil {
		t.Errorf("the challenge is %v", shown)
	}
	if _, err := time.Parse(time.RFC3339, fmt.Sprint(shown["validated"])); err != nil {
		t.Errorf("validated: %v", err)
	}
}

func testOffered(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	for name, want := range map[acmetest.Name]string{
		{Type: "dns", Value: "o.example.test"}:   "http-01 dns-01 tls-alpn-01 dns-account-01 dns-persist-01",
		{Type: "dns", Value: "*.o.example.test"}: "dns-01 dns-account-01 dns-persist-01",
		{Type: "ip", Value: "192.0.2.1"}:         "http-01 tls-alpn-01",
		{Type: "ip", Value: "2001:db8::1"}:       "http-01 tls-alpn-01",
	} {
		made := order(t, client, []acmetest.Name{name}, nil)
		resp := post(t, client, made.Authorizations[0], nil)
		body := succeeded(t, resp, http.StatusOK)
		var got []string
		for _, offered := range body["challenges"].([]any) {
			shown := offered.(members)
			got = append(got, shown["type"].(string))
			if token, _ := shown["token"].(string); len(token) < 22 || strings.Contains(token, "=") {
				t.Errorf("%v: the token of %s is %q", name, shown["type"], token)
			}
			if shown["status"] != "pending" || shown["validated"] != nil {
				t.Errorf("%v: %v", name, shown)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v: offered are %v, want %s", name, got, want)
		}
		wildcard, found := body["wildcard"]
		if isWildcard := strings.HasPrefix(name.Value, "*."); found != isWildcard || isWildcard && wildcard != true {
			t.Errorf("%v: wildcard is %v", name, wildcard)
		}
		if id := body["identifier"].(members); id["value"] != strings.TrimPrefix(name.Value, "*.") {
			t.Errorf("%v: the authorization is for %v", name, id)
		}
	}
}

// testDNSPersist proves names by standing records of both forms.
func testDNSPersist(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	directory := succeeded(t, get(t, client, ca.DirectoryURL), http.StatusOK)
	meta := directory["meta"].(members)
	prefix, _ := meta["accountHashPrefix"].(string)
	if issuers := meta["issuerDomainNames"].([]any); len(issuers) != 1 || issuers[0] != persistIssuer || prefix == "" {
		t.Fatalf("meta is %v", meta)
	}
	nothing := func(*acmetest.Authorization, acmetest.Challenge, string) {}
	for name, record := range map[string]string{
		"p1.example.test":   "accounturi=" + client.AccountURL,
		"*.p2.example.test": "accounturi=" + client.AccountURL + "; policy=wildcard",
		"x.p3.example.test": "accounturi=" + client.AccountURL + "; policy=wildcard",
		"p4.example.test": "accounturi=" + validation.PersistAccountURI(prefix, "p4.example.test",
			acmetest.Thumbprint(client.Key.Public()), client.AccountURL),
	} {
		t.Run(name, func(t *testing.T) {
			owner := name[max(strings.Index(name, "p"), 0):]
			if name == "p1.example.test" || name == "p4.example.test" {
				owner = name
			}
			ca.DNS.SetTXT(validation.PersistName(owner), persistIssuer+"; "+record)
			made := order(t, client, acmetest.DNS(name), nil)
			offered := challenge(t, authorization(t, client, made.Authorizations[0]), "dns-persist-01")
			shown := succeeded(t, post(t, client, offered.URL, nil), http.StatusOK)
			if shown["accounturi"] != client.AccountURL || fmt.Sprint(shown["issuer-domain-names"]) != fmt.Sprint(shown["issuerDomainNames"]) ||
				fmt.Sprint(shown["issuerDomainNames"]) != "["+persistIssuer+"]" {
				t.Errorf("the challenge is %v", shown)
			}
			check(t, client.Prove(t.Context(), made, "dns-persist-01", nothing))
		})
	}
	stranger := ca.Client()
	made := order(t, stranger, acmetest.DNS("p1.example.test"), nil)
	if err := stranger.Prove(t.Context(), made, "dns-persist-01", nothing); err == nil {
		t.Error("another account's record proves the name")
	}
}

func testSplitAndAliased(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	split := func(authz *acmetest.Authorization, _ acmetest.Challenge, keyAuthorization string) {
		digest := validation.DNSDigest(keyAuthorization)
		ca.DNS.SetTXTStrings("_acme-challenge."+authz.Identifier.Value, digest[:20], "", digest[20:])
	}
	aliased := func(authz *acmetest.Authorization, _ acmetest.Challenge, keyAuthorization string) {
		ca.DNS.SetCNAME("_acme-challenge."+authz.Identifier.Value, "proof.elsewhere.test")
		ca.DNS.SetTXT("proof.elsewhere.test", "something else", validation.DNSDigest(keyAuthorization))
	}
	for name, solve := range map[string]acmetest.Solver{"split.example.test": split, "alias.example.test": aliased} {
		if _, err := client.Issue(t.Context(), acmetest.DNS(name), newKey(t), "dns-01", solve); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// testReadingChangesNothing reads a pending challenge that would fail.
func testReadingChangesNothing(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	made := order(t, client, acmetest.DNS("reading.example.test"), nil)
	before := authorization(t, client, made.Authorizations[0])
	for _, offered := range before.Challenges {
		for range 3 {
			resp := post(t, client, offered.URL, nil)
			body := succeeded(t, resp, http.StatusOK)
			if body["status"] != "pending" || !hasLink(resp, made.Authorizations[0], "up") {
				t.Errorf("%s: %v %v", offered.Type, body, resp.Header)
			}
		}
	}
	stored, err := ca.Store().Authorization(t.Context(), idOf(made.Authorizations[0]))
	check(t, err)
	if stored.Method != "" || len(stored.Attempts) > 0 {
		t.Errorf("reading made an attempt: %+v", stored)
	}
}

// fail answers a challenge that cannot be met, and returns the settled order.
func fail(t *testing.T, client *acmetest.Client, made *acmetest.Order, kind string) (*acmetest.Authorization, *acmetest.Order) {
	t.Helper()
	offered := challenge(t, authorization(t, client, made.Authorizations[0]), kind)
	resp := post(t, client, offered.URL, members{})
	if status := succeeded(t, resp, http.StatusOK)["status"]; status != "invalid" && status != "processing" {
		t.Errorf("the challenge is %v", status)
	}
	authz, err := client.Settled(t.Context(), made.Authorizations[0])
	check(t, err)
	settled, err := client.ReadOrder(t.Context(), made.URL)
	check(t, err)
	if authz.Status != "invalid" || settled.Status != "invalid" {
		t.Errorf("the authorization is %s, the order %s", authz.Status, settled.Status)
	}
	return authz, settled
}

// testFailureEndsAll: a challenge that failed for good ends its authorization
// and its order at once, and says what was looked at.
func testFailureEndsAll(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	ca.DNS.SetTXT("_acme-challenge.wrong.example.test", "nonsense")
	ca.DNS.SetA("wrong.example.test", ca.Web.Address)
	for _, test := range []struct{ name, method, kind, word string }{
		{"wrong.example.test", "http-01", "unauthorized", "404"},
		{"wrong.example.test", "dns-01", "unauthorized", "_acme-challenge.wrong.example.test"},
		{"wrong.example.test", "dns-account-01", "", "_acme-challenge.wrong.example.test"},
		{"wrong.example.test", "tls-alpn-01", "tls", "acme-tls/1"},
		{"wrong.example.test", "dns-persist-01", "", "_validation-persist"},
		{"nowhere.test", "http-01", "dns", "nowhere.test"},
	} {
		t.Run(test.method+" "+test.name, func(t *testing.T) {
			authz, settled := fail(t, client, order(t, client, acmetest.DNS(test.name), nil), test.method)
			if len(authz.Challenges) != 1 || authz.Challenges[0].Type != test.method || authz.Challenges[0].Error == nil {
				t.Fatalf("the authorization is %+v", authz)
			}
			for _, problem := range []*acmetest.Problem{authz.Challenges[0].Error, settled.Error} {
				if problem == nil || !strings.Contains(problem.Detail, test.word) || !strings.HasSuffix(problem.Type, ":"+test.kind) && test.kind != "" {
					t.Errorf("the error is %v, want %s with %q", problem, test.kind, test.word)
				}
			}
			if subs := settled.Error.Subproblems; settled.Error.Identifier != nil || len(subs) != 1 || subs[0].Identifier.Value != test.name {
				t.Errorf("the order's error is %+v", settled.Error)
			}
			refused(t, post(t, client, settled.Finalize, request(t, newKey(t), acmetest.DNS(test.name))), http.StatusForbidden, "orderNotReady", "invalid")
		})
	}
}

func testSeveralFailures(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	made := order(t, client, acmetest.DNS("s1.example.test", "s2.example.test"), nil)
	for _, url := range made.Authorizations {
		post(t, client, challenge(t, authorization(t, client, url), "http-01").URL, members{})
		_, err := client.Settled(t.Context(), url)
		check(t, err)
	}
	settled, err := client.ReadOrder(t.Context(), made.URL)
	check(t, err)
	if settled.Status != "invalid" || settled.Error == nil {
		t.Fatalf("the order is %+v", settled)
	}
	if !strings.Contains(settled.Error.Detail, "s1.example.test") || len(settled.Error.Subproblems) != 2 || settled.Error.Identifier != nil || !strings.HasSuffix(settled.Error.Type, ":compound") {
		t.Errorf("the error is %+v", settled.Error)
	}
}

// TestRetries has a challenge fail until the right answer is served. Meanwhile
// it is being processed, and answering it again changes nothing.
func TestRetries(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "validation.attempts=100")
	client := ca.Client()
	made := order(t, client, acmetest.DNS("retry.example.test"), nil)
	authz := authorization(t, client, made.Authorizations[0])
	offered := challenge(t, authz, "http-01")
	for range 3 {
		resp := post(t, client, offered.URL, members{})
		if body := succeeded(t, resp, http.StatusOK); body["status"] != "processing" || body["error"] != nil {
			t.Errorf("while it fails the challenge is %v", body)
		}
		checkRetryAfter(t, resp)
		checkRetryAfter(t, post(t, client, made.Authorizations[0], nil))
	}
	other := challenge(t, authz, "dns-01")
	refused(t, post(t, client, other.URL, members{}), http.StatusBadRequest, "malformed", "http-01")
	eventually(t, "a second attempt", func() bool { return ca.Web.Requests() > 1 })
	ca.Web.HTTP01(authz, offered, client.KeyAuthorization(offered.Token))
	settled, err := client.Settled(t.Context(), made.Authorizations[0])
	check(t, err)
	again := succeeded(t, post(t, client, offered.URL, members{}), http.StatusOK)
	if settled.Status != "valid" || again["status"] != "valid" {
		t.Errorf("the authorization is %+v, the challenge %v", settled, again)
	}
	stored, err := ca.Store().Authorization(t.Context(), idOf(made.Authorizations[0]))
	check(t, err)
	for i, attempt := range stored.Attempts {
		if last := i == len(stored.Attempts)-1; last != (attempt.Failure == nil) {
			t.Errorf("attempt %d of %d: %+v", i+1, len(stored.Attempts), attempt)
		}
	}
	if len(stored.Attempts) < 3 {
		t.Errorf("there were %d attempts", len(stored.Attempts))
	}
}

// checkRetryAfter wants whole seconds, never a date.
func checkRetryAfter(t *testing.T, resp *acmetest.Response) {
	t.Helper()
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("Retry-After is %q: %s", resp.Header.Get("Retry-After"), resp.Body)
	}
}

// testAnsweringAtOnce answers one challenge eight times at the same moment:
// all join one attempt.
func testAnsweringAtOnce(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	made := order(t, client, acmetest.DNS("at-once.example.test"), nil)
	authz := authorization(t, client, made.Authorizations[0])
	offered := challenge(t, authz, "http-01")
	var asked atomic.Int32
	enough := make(chan struct{})
	ca.Web.Handle(servertest.ChallengePath(offered.Token), func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-enough // hold the attempt until all have asked for it
		fmt.Fprint(w, client.KeyAuthorization(offered.Token))
	})
	waiting := time.AfterFunc(300*time.Millisecond, func() { close(enough) })
	defer waiting.Stop()
	answers := atOnce(t, func(int) (*acmetest.Response, error) {
		return client.PostRaw(t.Context(), offered.URL, []byte("{}"), nil)
	})
	for _, answer := range answers {
		if body := succeeded(t, answer, http.StatusOK); body["status"] != "valid" {
			t.Errorf("the challenge is %v", body)
		}
	}
	stored, err := ca.Store().Authorization(t.Context(), idOf(made.Authorizations[0]))
	check(t, err)
	// A request that comes just as the attempt ends may make another in vain.
	if asked.Load() > 2 || len(stored.Attempts) != 1 {
		t.Errorf("there were %d requests, %d attempts are kept", asked.Load(), len(stored.Attempts))
	}
}

// testObjectOrNothing: "{}" answers a challenge, "" reads it, and a
// resource that can only be read refuses "{}".
func testObjectOrNothing(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	made := order(t, client, acmetest.DNS("object.example.test"), nil)
	authz := authorization(t, client, made.Authorizations[0])
	offered := challenge(t, authz, "http-01")
	ca.Web.HTTP01(authz, offered, client.KeyAuthorization(offered.Token))
	for _, payload := range []string{"[]", "null", `""`, "1", "true", " "} {
		refused(t, post(t, client, offered.URL, raw([]byte(payload))), http.StatusBadRequest, "malformed", "object")
	}
	if body := succeeded(t, post(t, client, offered.URL, nil), http.StatusOK); body["status"] != "pending" {
		t.Errorf("after reading the challenge is %v", body)
	}
	refused(t, post(t, client, made.URL, members{}), http.StatusBadRequest, "malformed", "POST-as-GET")
	body := succeeded(t, post(t, client, offered.URL, members{"keyAuthorization": "of an old draft"}), http.StatusOK)
	if body["status"] != "valid" {
		t.Errorf("after the answer the challenge is %v", body)
	}
}
