package instanceidentity

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// metadata answers as the services of the three clouds do.
func metadata(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch r.Method + " " + r.URL.Path {
	case "PUT /latest/api/token":
		if r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "60" {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, "AQAEAPR-session==")
	case "GET /latest/dynamic/instance-identity/rsa2048":
		if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "AQAEAPR-session==" {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "MIAGCSqGSIb3\nDQEHAqCAMIAC\nAQ==")
	case "GET /computeMetadata/v1/instance/service-accounts/default/identity":
		if r.Header.Get("Metadata-Flavor") != "Google" || query.Get("format") != "full" {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "google."+query.Get("audience")+".full\n")
	case "GET /metadata/identity/oauth2/token":
		switch {
		case r.Header.Get("Metadata") != "true" || query.Get("api-version") != "2018-02-01":
			http.Error(w, "", http.StatusBadRequest)
		case query.Get("client_id") == "none":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_request","error_description":"Identity not found"}`)
		default:
			fmt.Fprintf(w, `{"access_token":"azure.%s.%s","expires_in":"86399","token_type":"Bearer"}`, query.Get("resource"), query.Get("client_id"))
		}
	default:
		http.NotFound(w, r)
	}
}

func TestTokens(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(metadata))
	defer server.Close()
	s, ctx := Service{Base: server.URL}, t.Context()
	for want, get := range map[string]func() (string, error){
		"MIAGCSqGSIb3DQEHAqCAMIACAQ==":        func() (string, error) { return s.AWS(ctx) },
		"google.https://ca.corp:9443/?a.full": func() (string, error) { return s.GCP(ctx, "https://ca.corp:9443/?a") },
		"azure.api://chancery.":               func() (string, error) { return s.Azure(ctx, "api://chancery", "") },
		"azure.api://chancery.id":             func() (string, error) { return s.Azure(ctx, "api://chancery", "id") },
	} {
		if got, err := get(); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if _, err := s.Azure(ctx, "api://chancery", "none"); err == nil || !strings.Contains(err.Error(), "Identity not found") {
		t.Errorf("%v; want what the service says", err)
	}
}

func TestBadServices(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(metadata))
	defer elsewhere.Close()
	for says, handler := range map[string]http.HandlerFunc{
		"answered 404": http.NotFound,
		"answered 307": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.String(), http.StatusTemporaryRedirect)
		},
		"more than 65536 octets": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("a", largest+1)) },
		"answered 500":           func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusInternalServerError) },
	} {
		t.Run(says, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			mustFail(t, server.URL, says)
		})
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	mustFail(t, gone.URL, "refused")
}

// mustFail wants each of the three to say why there is no token.
func mustFail(t *testing.T, base, says string) {
	t.Helper()
	s, ctx := Service{Base: base}, t.Context()
	for name, get := range map[string]func() (string, error){
		"aws":   func() (string, error) { return s.AWS(ctx) },
		"gcp":   func() (string, error) { return s.GCP(ctx, "a") },
		"azure": func() (string, error) { return s.Azure(ctx, "a", "") },
	} {
		if got, err := get(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q, %v; want an error that says %q", name, got, err, says)
		}
	}
}

func TestAzureWithoutToken(t *testing.T) {
	for _, answer := range []string{"{}", "[]", "<html>"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		if token, err := (Service{Base: server.URL}).Azure(t.Context(), "a", ""); err == nil {
			t.Errorf("%s gave the token %q", answer, token)
		}
		server.Close()
	}
}

func TestGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	if _, err := (Service{Base: server.URL}).GCP(ctx, "a"); err == nil {
		t.Error("there is a token from a service that doesn't answer")
	}
}
