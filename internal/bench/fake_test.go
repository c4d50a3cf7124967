package bench

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fake is a server that takes every order through all that a client may meet:
// a refused nonce, a request for patience, outcomes that take a while.
type fake struct {
	*httptest.Server
	nonces atomic.Int64
	polls  atomic.Int64
	orders atomic.Int64
	broken string // which resource answers what is no ACME
}

func startFake(t *testing.T) *fake {
	f := &fake{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dir", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"newNonce":"%[1]s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/order"}`, f.URL)
	})
	mux.HandleFunc("HEAD /nonce", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /{resource}", f.answer)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", fmt.Sprintf("nonce%d", f.nonces.Add(1)))
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) answer(w http.ResponseWriter, r *http.Request) {
	resource := r.PathValue("resource")
	w.Header().Set("Location", f.URL+"/"+resource)
	begun := int64(0) // orders, with this; 0 when this is none
	if resource == "order" && isOrder(r) {
		begun = f.orders.Add(1)
	}
	settled := f.polls.Add(1)%3 == 0
	order := `{"status":%q,"authorizations":["` + f.URL + `/authz"],"finalize":"` + f.URL + `/finalize","certificate":"` + f.URL + `/cert"}`
	authz := `{"status":%q,"identifier":{"type":"dns","value":"a.test"},"challenges":[{"type":"http-01","token":"t","url":"` + f.URL + `/challenge"}]}`
	switch {
	case resource == f.broken:
		fmt.Fprint(w, "what?")
	case begun == 1:
		w.WriteHeader(400)
		fmt.Fprint(w, `{"type":"urn:ietf:params:acme:error:badNonce"}`)
	case begun == 2:
		w.Header().Set("Retry-After", time.Now().Add(time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(503)
	case begun > 2:
		w.Header().Set("Location", f.URL+"/placed")
		fmt.Fprintf(w, order, "pending")
	case resource == "authz" && !settled:
		fmt.Fprintf(w, authz, "pending")
	case resource == "authz":
		fmt.Fprintf(w, authz, "valid")
	case resource == "challenge":
		fmt.Fprint(w, `{"status":"processing"}`)
	case resource == "finalize", resource == "placed" && !settled:
		fmt.Fprintf(w, order, "processing")
	case resource == "placed":
		fmt.Fprintf(w, order, "valid")
	case resource == "cert":
		fmt.Fprint(w, "-----BEGIN CERTIFICATE-----\n")
	default:
		w.WriteHeader(201)
		fmt.Fprint(w, `{}`)
	}
}

// isOrder tells a new order from an order that is read.
func isOrder(r *http.Request) bool {
	var jws struct{ Payload string }
	_ = json.NewDecoder(r.Body).Decode(&jws)
	payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
	return strings.Contains(string(payload), "identifiers")
}

func fakeLoad(f *fake) Config {
	return Config{
		Server: f.URL + "/", Now: time.Now, Rand: rand.Reader, Clients: 2, Accounts: 1, Names: 1, Count: 6,
		Timeout: 30 * time.Second, Challenge: HTTP01, Domain: "a.test", HTTP: "127.0.0.1:0",
	}
}

func TestPatience(t *testing.T) {
	t.Parallel()
	c := fakeLoad(startFake(t))
	r, err := Run(t.Context(), c)
	if err != nil || r.Issued != c.Count || r.Failed != 0 || r.Retried != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestBadAnswers(t *testing.T) {
	t.Parallel()
	for _, resource := range []string{"order", "authz", "challenge", "finalize", "placed", "cert"} {
		t.Run(resource, func(t *testing.T) {
			t.Parallel()
			f := startFake(t)
			f.broken = resource
			r, err := Run(t.Context(), fakeLoad(f))
			if err != nil || r.Issued != 0 || r.Failures["bad answer"].Count != r.Failed {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func TestOtherChallenges(t *testing.T) {
	t.Parallel()
	c := fakeLoad(startFake(t))
	c.Challenge, c.TLS = TLSALPN01, "127.0.0.1:0"
	r, err := Run(t.Context(), c) // some authorizations are valid from the start
	if missing := r.Failures["challenge not offered"].Count; err != nil || missing == 0 || missing+r.Issued != c.Count {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestNoDirectory(t *testing.T) {
	t.Parallel()
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	c := fakeLoad(&fake{Server: nothing})
	if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "couldn't find an ACME directory") {
		t.Errorf("got %v", err)
	}
}
