package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// cluster is what pods and the CA see of a Kubernetes cluster: service account
// tokens, the keys that verify them, and an API server that reviews them.
type cluster struct {
	*httptest.Server
	key     jose.JSONWebKey
	gone    atomic.Bool // the pod has been deleted
	reviews atomic.Int32
}

// own is the token by which the API server knows the CA.
const own = "the-CA's-own-token"

func newCluster(t *testing.T) *cluster {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{key: jose.JSONWebKey{Key: private, KeyID: "7bDBQu0UYyJKW8-Mw_VSwGrLnVHiPhpD", Algorithm: "RS256", Use: "sig"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, 200, "application/json", map[string]any{
			"issuer": c.URL, "jwks_uri": c.URL + "/openid/v1/jwks", "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /openid/v1/jwks", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		respond(w, 200, "application/jwk-set+json", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{c.key.Public()}})
	})
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", c.review)
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+own {
			respond(w, 401, "application/json", map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Unauthorized", "code": 401})
			return
		}
		mux.ServeHTTP(w, r)
	}))
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}

func respond(w http.ResponseWriter, status int, typ string, value any) {
	w.Header().Set("Content-Type", typ)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

// review says that a token is good while the pod is there.
func (c *cluster) review(w http.ResponseWriter, r *http.Request) {
	c.reviews.Add(1)
	var review struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Spec       map[string]any `json:"spec"`
		Status     map[string]any `json:"status"`
	}
	err := json.NewDecoder(r.Body).Decode(&review)
	if err != nil || review.APIVersion != "authentication.k8s.io/v1" || review.Kind != "TokenReview" || len(review.Status) > 0 {
		respond(w, 400, "application/json", map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "BadRequest", "code": 400})
		return
	}
	status := map[string]any{"user": map[string]any{}, "error": "[invalid bearer token, pod has been deleted]"}
	token, _ := review.Spec["token"].(string)
	if jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256}); err == nil && !c.gone.Load() {
		if _, err := jws.Verify(c.key.Public()); err == nil {
			status = map[string]any{
				"authenticated": true, "audiences": review.Spec["audiences"],
				"user": map[string]any{"username": "system:serviceaccount:payments:web", "groups": []string{"system:serviceaccounts"}},
			}
		}
	}
	respond(w, 201, "application/json", map[string]any{
		"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": map[string]any{"creationTimestamp": nil},
		"spec": review.Spec, "status": status,
	})
}

// project writes the token of the service account payments/web into a file, as
// a projected volume has it.
func (c *cluster) project(t *testing.T, file, audience string) {
	t.Helper()
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"aud": []string{audience}, "exp": now + 3600, "iat": now, "nbf": now, "iss": c.URL, "jti": rand.Text(), "sub": "system:serviceaccount:payments:web",
		"kubernetes.io": map[string]any{
			"namespace": "payments", "node": map[string]any{"name": "node-7", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
			"pod":            map[string]any{"name": "web-0", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
			"serviceaccount": map[string]any{"name": "web", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: c.key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err == nil {
		err = os.WriteFile(file, []byte(token), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestKubernetes gets certificates for a pod, by the keys that its cluster
// publishes and by asking its API server.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := newCluster(t)
	files := map[string]string{
		"cluster.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})), "own-token": own,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.server.stop(); err != nil {
		t.Fatal(err)
	}
	common := "type: kubernetes, root: cluster.pem, service_account_token: own-token, trust_domain: corp.example, namespaces: [payments], profiles: [tls-mutual]"
	s.configure(t, fmt.Sprintf("  pods: {issuer: %q, %s}\n  reviewed: {api_server: %q, audience: [reviewed], %s}\n", c.URL, common, c.URL, common))
	s.serve(t, "serve")

	token := filepath.Join(s.work, "token")
	server := "https://" + s.ca + ":" + httpsPort
	issue := func(provisioner, folder string) (string, error) {
		_, stderr, err := s.try(t, nil, chancery, "cert", "issue", "--k8s-token", token, "--provisioner", provisioner,
			"--server", server, "--root", s.root, "--out", filepath.Join(s.work, folder))
		return stderr, err
	}
	c.project(t, token, server)
	for _, folder := range []string{"first", "second"} { // pods have one token for an hour
		if stderr, err := issue("pods", folder); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
	}
	s.isPods(t, "first")
	if stderr, err := issue("reviewed", "none"); err == nil || !strings.Contains(stderr, "reviewed") {
		t.Errorf("a token for another audience: %v: %s", err, stderr)
	}
	c.project(t, token, "reviewed")
	if stderr, err := issue("reviewed", "third"); err != nil {
		t.Errorf("%v: %s", err, stderr)
	}
	s.isPods(t, "third")
	c.gone.Store(true)
	if stderr, err := issue("reviewed", "none"); err == nil || !strings.Contains(stderr, "its pod is gone") {
		t.Errorf("the token of a pod that is gone: %v: %s", err, stderr)
	}
	if c.reviews.Load() < 2 {
		t.Errorf("the API server was asked %d times", c.reviews.Load())
	}
}

// configure writes provisioners into the site's configuration file.
func (s *site) configure(t *testing.T, provisioners string) {
	t.Helper()
	const none = "\nprovisioners:\n"
	name := filepath.Join(s.dir, "chancery.yaml")
	text := string(read(t, name))
	if !strings.Contains(text, none) {
		t.Fatalf("%s has no line %q", name, none)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(text, none, none+provisioners, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// isPods wants the certificate in a folder to be the service account's.
func (s *site) isPods(t *testing.T, folder string) {
	t.Helper()
	block, _ := pem.Decode(read(t, filepath.Join(s.work, folder, "cert.pem")))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var uris []string
	for _, uri := range certificate.URIs {
		uris = append(uris, uri.String())
	}
	if !slices.Equal(uris, []string{"spiffe://corp.example/ns/payments/sa/web"}) || len(certificate.DNSNames) > 0 {
		t.Errorf("the certificate is for %v and %v", uris, certificate.DNSNames)
	}
}
