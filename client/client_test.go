package client_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/client"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestIssueRenewRevoke(t *testing.T) {
	d := startDoor(t)
	c := d.client()
	first := must[*client.Certificate](t)(c.Issue(t.Context(), client.Request{Token: "t", Profile: "tls-mutual"}))
	if first.Profile != "tls-mutual" || first.Leaf().VerifyHostname("web.corp.example") != nil {
		t.Errorf("issued %v of profile %s", first.Leaf().DNSNames, first.Profile)
	}
	if body := d.lastBody(); body["token"] != "t" || body["profile"] != "tls-mutual" || body["not_after"] != nil {
		t.Errorf("sent %v", body)
	}
	second := must[*client.Certificate](t)(c.Renew(t.Context(), first, first.Key))
	if second.Leaf().Equal(first.Leaf()) || second.Key != first.Key {
		t.Error("not another certificate for the same key")
	}
	window := must[client.Window](t)(c.Renewal(t.Context(), second.Leaf()))
	if !window.End.After(window.Start) {
		t.Errorf("the window is %+v", window)
	}
	if err := c.Revoke(t.Context(), client.Revocation{Certificate: second.Leaf(), Key: second.Key, Reason: "superseded"}); err != nil {
		t.Error(err)
	}
	if err := c.Revoke(t.Context(), client.Revocation{Certificate: second.Leaf()}); err == nil {
		t.Error("revoked without a proof")
	}
	if _, err := c.Renew(t.Context(), &client.Certificate{}, nil); err == nil {
		t.Error("renewed nothing")
	}
}

func TestIssueForACSR(t *testing.T) {
	d := startDoor(t)
	key, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	csr := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))
	c := must[*client.Certificate](t)(d.client().Issue(t.Context(), client.Request{Token: "t", CSR: csr}))
	if c.Key != nil || !key.PublicKey.Equal(c.Leaf().PublicKey) {
		t.Error("the certificate is for another key")
	}
	if _, err := d.client().Issue(t.Context(), client.Request{Token: "t", CSR: []byte("x")}); err == nil {
		t.Error("took nonsense for a CSR")
	}
}

func TestListings(t *testing.T) {
	d := startDoor(t)
	c := d.client()
	if roots := must[[]*x509.Certificate](t)(c.FetchRoots(t.Context())); !roots[0].Equal(d.root) {
		t.Error("another root")
	}
	if p := must[[]client.Profile](t)(c.Profiles(t.Context())); p[0].Name != "tls-mutual" {
		t.Errorf("profiles %v", p)
	}
	if p := must[[]client.Provisioner](t)(c.Provisioners(t.Context())); p[0].Type != "jwk" {
		t.Errorf("provisioners %v", p)
	}
}

func TestErrorsCarryTheProblem(t *testing.T) {
	d := startDoor(t)
	d.answerNext(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(403)
		_, _ = w.Write([]byte(`{"type":"urn:chancery:error:rejectedIdentifier","detail":"two names are not yours","status":403,
			"subproblems":[{"type":"urn:chancery:error:rejectedIdentifier","identifier":{"type":"dns","value":"a.example"},"detail":"denied by rule 3"}]}`))
	})
	_, err := d.client().Issue(t.Context(), client.Request{Token: "t"})
	found, ok := errors.AsType[*client.Problem](err)
	if !ok || found.Name() != "rejectedIdentifier" || found.Status != 403 || found.Subproblems[0].Identifier.Value != "a.example" {
		t.Fatalf("the error is %v", err)
	}
	want := "couldn't issue the certificate: two names are not yours (rejectedIdentifier)\n  a.example: denied by rule 3 (rejectedIdentifier)"
	if err.Error() != want {
		t.Errorf("it reads %q", err)
	}
}

// What no server of ours answers ends in an error that says so, soon.
func TestStrangeAnswers(t *testing.T) {
	d := startDoor(t)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	foreign := string(encode(d.sign(other.Public(), []string{"a.example"})))
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"another key": {func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 201, map[string]string{"certificate": foreign})
		}, "for another key"},
		"no certificate": {func(w http.ResponseWriter, _ *http.Request) { answer(w, 201, map[string]string{}) }, "no certificate"},
		"a page":         {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "couldn't read the server's answer"},
		"an error page": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>secret", 404)
		}, "answered 404 Not Found to /api/v1/sign"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for chunk := bytes.Repeat([]byte(" "), 1<<16); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "larger than"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
		}, "answered 307"},
	} {
		d.answerNext(test.answer)
		_, err := d.client().Issue(t.Context(), client.Request{Token: "t"})
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTriesAgainWhenTheServerIsBusy(t *testing.T) {
	d := startDoor(t)
	busy := func(seconds string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", seconds)
			problem(503, "serverInternal", "overloaded")(w, r)
		}
	}
	d.answerNext(busy("1"))
	must[*client.Certificate](t)(d.client().Issue(t.Context(), client.Request{Token: "t"}))
	if n := len(d.requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
	// Not when that would take longer than there is time, and then it says when.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d.answerNext(busy("50"))
	_, err := d.client().Issue(ctx, client.Request{Token: "t"})
	if found, ok := errors.AsType[*client.Problem](err); !ok || found.RetryAfter() != 50*time.Second {
		t.Errorf("it is %v", err)
	}
	// Nor what will not change.
	d.requests()
	d.answerNext(problem(403, "unauthorized", "no"))
	_, err = d.client().Issue(t.Context(), client.Request{Token: "t"})
	if n := len(d.requests()); err == nil || n != 1 {
		t.Errorf("%v after %d requests", err, n)
	}
}

func TestTrust(t *testing.T) {
	d, other := startDoor(t), startDoor(t)
	stranger := &client.Client{Server: d.URL, Roots: client.Pool(other.root)}
	_, err := stranger.FetchRoots(t.Context())
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("a server of another CA: %v", err)
	}
	for _, server := range []string{"", "http://127.0.0.1:1", "127.0.0.1:9443", "https://", "https://a b", "https://user:secret@127.0.0.1:1"} {
		if _, err := (&client.Client{Server: server}).FetchRoots(t.Context()); err == nil {
			t.Errorf("took %q for a server", server)
		}
	}
	text := strings.ToUpper(hex.EncodeToString(fingerprint(d.root)))
	spaced := strings.Join(slices.Collect(func(yield func(string) bool) {
		for pair := range slices.Chunk([]byte(text), 2) {
			if !yield(string(pair)) {
				return
			}
		}
	}), ":")
	root := must[*x509.Certificate](t)(client.RootByFingerprint(t.Context(), d.URL, spaced))
	if !root.Equal(d.root) {
		t.Error("another root")
	}
	if _, err := client.RootByFingerprint(t.Context(), d.URL, client.Fingerprint(other.root)); !errors.Is(err, client.ErrFingerprint) {
		t.Errorf("a root with another fingerprint: %v", err)
	}
	if _, err := client.RootByFingerprint(t.Context(), d.URL, "abcd"); err == nil {
		t.Error("a fingerprint of four digits")
	}
}
