package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/cloudkms"
	"chancery/internal/keys"
)

const (
	testName  = "projects/corp-ca/locations/europe-west3/keyRings/ca/cryptoKeys/issuing/cryptoKeyVersions/1"
	testEmail = "chancery@corp-ca.iam.gserviceaccount.com"
	testToken = "ya29.token"
)

// fakeKMS is Cloud KMS with one key, the endpoint for tokens, and the metadata
// server, strict about what they are sent.
type fakeKMS struct {
	*httptest.Server
	signer    crypto.Signer
	algorithm string
	account   *rsa.PrivateKey // of the service account

	mu     sync.Mutex
	faults []fault // of the next requests of the key; guarded by mu, as all below
	tokens int     // given so far; the last is good
	change func(answer map[string]any)
	asked  int // requests of the key
}

// fault is an answer in place of the right one.
type fault struct {
	code   int
	status string // of google.rpc.Status
	body   string // in place of it
}

// accountKey is made once, for that takes long.
var accountKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newFakeKMS(t *testing.T, typ, algorithm string) *fakeKMS {
	t.Helper()
	signer, err := keys.Generate(rand.Reader, typ)
	if err != nil {
		t.Fatal(err)
	}
	account, err := accountKey()
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeKMS{signer: signer, algorithm: algorithm, account: account}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", f.serveToken)
	mux.HandleFunc("GET /computeMetadata/v1/instance/service-accounts/default/token", f.serveMetadata)
	mux.HandleFunc("/v1/", f.serveKey)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeKMS) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// nextToken gives a token, after which earlier ones are not good any more.
func (f *fakeKMS) nextToken(w http.ResponseWriter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens++
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprint(testToken, f.tokens), "expires_in": 3599, "token_type": "Bearer"})
}

func (f *fakeKMS) serveMetadata(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Metadata-Flavor") != "Google" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	w.Header().Set("Metadata-Flavor", "Google")
	f.nextToken(w)
}

func (f *fakeKMS) serveToken(w http.ResponseWriter, r *http.Request) {
	if err := f.verifyAssertion(r, time.Now()); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": err.Error()})
		return
	}
	f.nextToken(w)
}

// verifyAssertion checks a JWT as Google's endpoint does.
func (f *fakeKMS) verifyAssertion(r *http.Request, now time.Time) error {
	parts := strings.Split(r.FormValue("assertion"), ".")
	if len(parts) != 3 || r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return fmt.Errorf("the request has no assertion: %v", r.Form)
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return err
		}
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&f.account.PublicKey, crypto.SHA256, digest[:], decoded[2]); err != nil {
		return fmt.Errorf("invalid JWT signature: %w", err)
	}
	var header map[string]string
	var claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	if err := json.Unmarshal(decoded[0], &header); err != nil || header["alg"] != "RS256" || header["typ"] != "JWT" || header["kid"] != "key-1" {
		return fmt.Errorf("the header is %s", decoded[0])
	}
	err := json.Unmarshal(decoded[1], &claims)
	if err != nil || claims.Iss != testEmail || claims.Scope != "https://www.googleapis.com/auth/cloudkms" || claims.Aud != f.URL+"/token" ||
		claims.Iat > now.Unix() || claims.Exp <= now.Unix() || claims.Exp > claims.Iat+3600 {
		return fmt.Errorf("the claims are %s", decoded[1])
	}
	return nil
}

func (f *fakeKMS) serveKey(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if len(f.faults) > 0 {
		next := f.faults[0]
		f.faults = f.faults[1:]
		refuse(w, next)
		return
	}
	if r.Header.Get("Authorization") != fmt.Sprint("Bearer ", testToken, f.tokens) {
		refuse(w, fault{code: 401, status: "UNAUTHENTICATED"})
		return
	}
	var answer map[string]any
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/" + testName + "/publicKey":
		answer = f.public()
	case "POST /v1/" + testName + ":asymmetricSign":
		body, _ := io.ReadAll(r.Body)
		answer = f.sign(body)
	default:
		refuse(w, fault{code: 404, status: "NOT_FOUND"})
		return
	}
	if answer == nil {
		refuse(w, fault{code: 400, status: "INVALID_ARGUMENT"})
		return
	}
	if f.change != nil {
		f.change(answer)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func refuse(w http.ResponseWriter, f fault) {
	w.WriteHeader(f.code)
	if f.body != "" {
		_, _ = io.WriteString(w, f.body)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": f.code, "status": f.status, "message": "because"}})
}

func sumOf(data []byte) string {
	return strconv.Itoa(int(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))))
}

func (f *fakeKMS) public() map[string]any {
	der, _ := x509.MarshalPKIXPublicKey(f.signer.Public())
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string]any{"name": testName, "pem": string(text), "pemCrc32c": sumOf(text), "algorithm": f.algorithm, "protectionLevel": "HSM"}
}

// sign signs what a request asks for; nil if it asks wrongly.
func (f *fakeKMS) sign(body []byte) map[string]any {
	var in struct {
		Digest       map[string][]byte
		DigestCRC32C string `json:"digestCrc32c"`
	}
	member, hash := "sha256", crypto.SHA256
	if public, ok := f.signer.Public().(*ecdsa.PublicKey); ok && public.Params().BitSize == 384 {
		member, hash = "sha384", crypto.SHA384
	}
	err := json.Unmarshal(body, &in)
	digest := in.Digest[member]
	if err != nil || len(in.Digest) != 1 || len(digest) != hash.Size() || in.DigestCRC32C != sumOf(digest) {
		return nil
	}
	signature, err := f.signer.Sign(rand.Reader, digest, hash)
	if err != nil {
		return nil
	}
	return map[string]any{"name": testName, "signature": signature, "signatureCrc32c": sumOf(signature), "verifiedDigestCrc32c": true}
}

// accountFile writes the file of the service account, changed.
func (f *fakeKMS) accountFile(t *testing.T, change func(map[string]string)) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(f.account)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{
		"type": "service_account", "project_id": "corp-ca", "private_key_id": "key-1", "client_email": testEmail, "token_uri": f.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
	if change != nil {
		change(content)
	}
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// withVariables is an environment of the variables given.
func withVariables(variables map[string]string) environment {
	return environment{get: func(name string) string { return variables[name] }, now: time.Now}
}

// find finds the key with a service account.
func (f *fakeKMS) find(t *testing.T) cloudkms.Key {
	t.Helper()
	k, err := findKey("gcpkms:"+testName+"?endpoint="+f.URL, withVariables(map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": f.accountFile(t, nil)}))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// open also reads its public key.
func (f *fakeKMS) open(t *testing.T) cloudkms.Key {
	t.Helper()
	k := f.find(t)
	if _, err := k.Public(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}
