package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/identifier"
	"chancery/internal/server/servertest"
	"chancery/internal/token"
)

type claims map[string]any

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// signer makes tokens.
type signer struct {
	key       crypto.Signer
	algorithm jose.SignatureAlgorithm
	kid       string
	header    map[jose.HeaderKey]any
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return signerOf(t, key, jose.ES256)
}

func signerOf(t testing.TB, key crypto.Signer, algorithm jose.SignatureAlgorithm) *signer {
	t.Helper()
	jwk := jose.JSONWebKey{Key: key.Public()}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	check(t, err)
	return &signer{key: key, algorithm: algorithm, kid: base64.RawURLEncoding.EncodeToString(thumbprint), header: map[jose.HeaderKey]any{}}
}

// public is the public key as a JWK.
func (s *signer) public(t testing.TB) string {
	t.Helper()
	text, err := jose.JSONWebKey{Key: s.key.Public()}.MarshalJSON()
	check(t, err)
	return string(text)
}

// sign makes a token of any payload.
func (s *signer) sign(t testing.TB, payload []byte) string {
	t.Helper()
	options := (&jose.SignerOptions{ExtraHeaders: s.header}).WithType("JWT")
	if s.kid != "" {
		options = options.WithHeader("kid", s.kid)
	}
	signing, err := jose.NewSigner(jose.SigningKey{Algorithm: s.algorithm, Key: s.key}, options)
	check(t, err)
	signed, err := signing.Sign(payload)
	check(t, err)
	text, err := signed.CompactSerialize()
	check(t, err)
	return text
}

// claimsFor are those of a good token for the names.
func claimsFor(ca *servertest.CA, provisioner string, names ...string) claims {
	now := time.Now()
	return claims{
		"iss": provisioner, "aud": ca.BaseURL + "/api/v1/sign", "sub": "runner", "sans": names, "jti": random(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
}

func random() string {
	var octets [16]byte
	_, _ = rand.Read(octets[:])
	return hex.EncodeToString(octets[:])
}

// with changes claims; nil takes one out.
func (c claims) with(changes claims) claims {
	changed := maps.Clone(c)
	maps.Copy(changed, changes)
	for name, value := range changed {
		if value == nil {
			delete(changed, name)
		}
	}
	return changed
}

func (s *signer) token(t testing.TB, c claims) string {
	t.Helper()
	payload, err := json.Marshal(c)
	check(t, err)
	return s.sign(t, payload)
}

// start makes a CA with provisioners, as --set takes them.
func start(t testing.TB, provisioners string, set ...string) *servertest.CA {
	t.Helper()
	return servertest.Start(t, append([]string{"provisioners={" + provisioners + "}"}, set...)...)
}

func jwkSpec(t testing.TB, name string, s *signer, more string) string {
	t.Helper()
	return fmt.Sprintf("%s: {type: jwk, keys: ['%s']%s}", name, s.public(t), more)
}

// newCSR is a CSR in PEM, with names or none.
func newCSR(t testing.TB, key crypto.Signer, names ...string) string {
	t.Helper()
	template := x509.CertificateRequest{}
	for _, text := range names {
		name, err := identifier.ParseText(text)
		check(t, err)
		switch name.Type {
		case identifier.DNS:
			template.DNSNames = append(template.DNSNames, name.Value)
		case identifier.IP:
			template.IPAddresses = append(template.IPAddresses, name.Addr().AsSlice())
		case identifier.Email:
			template.EmailAddresses = append(template.EmailAddresses, name.Value)
		case identifier.URI:
			u, err := url.Parse(name.Value)
			check(t, err)
			template.URIs = append(template.URIs, u)
		}
	}
	return csrOf(t, &template, key)
}

func csrOf(t testing.TB, template *x509.CertificateRequest, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func commonName(name string) *x509.CertificateRequest {
	return &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

// answer is what the door said.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// call sends a request; a body that is text is sent as it is.
func call(t testing.TB, client *http.Client, method, url string, body any) answer {
	t.Helper()
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	default:
		text, err := json.Marshal(body)
		check(t, err)
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	check(t, err)
	response, err := client.Do(request)
	check(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(t, err)
	return answer{response.StatusCode, response.Header, text}
}

func sign(t testing.TB, ca *servertest.CA, body any) answer {
	t.Helper()
	return call(t, ca.HTTP, http.MethodPost, ca.BaseURL+"/api/v1/sign", body)
}

// issued reads a certificate out of an answer.
func (a answer) issued(t testing.TB) (token.Certificate, *x509.Certificate) {
	t.Helper()
	if a.Status != http.StatusCreated {
		t.Fatalf("answered %d: %s", a.Status, a.Body)
	}
	var made token.Certificate
	check(t, json.Unmarshal(a.Body, &made))
	block, rest := pem.Decode([]byte(made.Certificate))
	if block == nil || len(rest) > 0 {
		t.Fatalf("the certificate is %q", made.Certificate)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	return made, leaf
}

// refused reads a problem out of an answer, which must be of that type and say
// that.
func (a answer) refused(t testing.TB, status int, name, says string) token.Problem {
	t.Helper()
	var problem token.Problem
	err := json.Unmarshal(a.Body, &problem)
	if err != nil || a.Status != status || problem.Status != status || problem.Type != "urn:chancery:error:"+name || problem.Title == "" ||
		!strings.Contains(problem.Detail, says) || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("answered %d: %.500s, want %d %s: …%s…", a.Status, a.Body, status, name, says)
	}
	return problem
}

// holding is a client that shows a certificate.
func holding(t testing.TB, ca *servertest.CA, leaf *x509.Certificate, key crypto.Signer) *http.Client {
	t.Helper()
	transport := ca.HTTP.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// get gets a certificate for names by a token of the signer.
func get(t testing.TB, ca *servertest.CA, s *signer, provisioner, profile string, names ...string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	_, leaf := sign(t, ca, token.SignRequest{
		Token: s.token(t, claimsFor(ca, provisioner, names...)), CSR: newCSR(t, key), Profile: profile,
	}).issued(t)
	return leaf, key
}
