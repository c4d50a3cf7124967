package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"chancery/client"
)

// door is a server that speaks the token door's JSON and believes every token,
// so that a test can have it answer what no real server would.
type door struct {
	*httptest.Server
	root     *x509.Certificate
	key      *ecdsa.PrivateKey
	lifetime time.Duration

	mu      sync.Mutex
	next    []http.HandlerFunc // answer the next requests, in this order
	seen    []string           // paths, in the order of requests
	bodies  []map[string]any
	serial  int64
	revoked map[string]bool // by serial number
}

func startDoor(t testing.TB) *door {
	t.Helper()
	d := newDoor()
	t.Cleanup(d.Close)
	return d
}

func newDoor() *door {
	d := &door{lifetime: time.Hour, revoked: map[string]bool{}}
	d.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, d.key.Public(), d.key)
	if err != nil {
		panic(err)
	}
	d.root, _ = x509.ParseCertificate(der)
	own, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	d.Server = httptest.NewUnstartedServer(http.HandlerFunc(d.serve))
	d.TLS = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{d.sign(own.Public(), []string{"ca.test"}).Raw}, PrivateKey: own}},
		ClientAuth:   tls.RequestClientCert,
	}
	d.Config.ErrorLog = log.New(io.Discard, "", 0)
	d.StartTLS()
	return d
}

func (d *door) client() *client.Client {
	return &client.Client{Server: d.URL, Roots: client.Pool(d.root)}
}

func (d *door) sign(public any, names []string) *x509.Certificate {
	d.mu.Lock()
	d.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + d.serial), NotBefore: time.Now(), NotAfter: time.Now().Add(d.lifetime),
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	d.mu.Unlock()
	der, err := x509.CreateCertificate(rand.Reader, template, d.root, public, d.key)
	if err != nil {
		panic(err)
	}
	certificate, _ := x509.ParseCertificate(der)
	return certificate
}

// answerNext has the next requests answered so.
func (d *door) answerNext(answers ...http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = append(d.next, answers...)
}

// requests are the paths that were asked for since the last call.
func (d *door) requests() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := d.seen
	d.seen = nil
	return seen
}

func (d *door) lastBody() map[string]any {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bodies[len(d.bodies)-1]
}

func (d *door) serve(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	d.mu.Lock()
	d.seen, d.bodies = append(d.seen, r.Method+" "+r.URL.Path), append(d.bodies, body)
	var injected http.HandlerFunc
	if len(d.next) > 0 {
		injected, d.next = d.next[0], d.next[1:]
	}
	d.mu.Unlock()
	if injected != nil {
		injected(w, r)
		return
	}
	switch r.URL.Path {
	case "/root.pem":
		_, _ = w.Write(encode(d.root))
	case "/api/v1/roots":
		answer(w, 200, map[string]any{"roots": []any{map[string]string{"certificate": string(encode(d.root))}}})
	case "/api/v1/profiles":
		answer(w, 200, map[string]any{"profiles": []any{map[string]string{"name": "tls-mutual"}}})
	case "/api/v1/provisioners":
		answer(w, 200, map[string]any{"provisioners": []any{map[string]string{"name": "deploy", "type": "jwk"}}})
	case "/api/v1/sign":
		d.issue(w, body, []string{"web.corp.example"})
	case "/api/v1/renew":
		d.renew(w, r, body)
	case "/api/v1/revoke":
		answer(w, 200, map[string]any{})
	default:
		d.window(w)
	}
}

func (d *door) issue(w http.ResponseWriter, body map[string]any, names []string) {
	block, _ := pem.Decode([]byte(body["csr"].(string)))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		problem(400, "badCSR", err.Error())(w, nil)
		return
	}
	leaf := d.sign(csr.PublicKey, names)
	answer(w, 201, map[string]any{"certificate": string(encode(leaf)), "chain": "", "profile": "tls-mutual"})
}

func (d *door) renew(w http.ResponseWriter, r *http.Request, body map[string]any) {
	if len(r.TLS.PeerCertificates) == 0 {
		problem(401, "unauthorized", "no certificate was shown")(w, r)
		return
	}
	old := r.TLS.PeerCertificates[0]
	d.mu.Lock()
	revoked := d.revoked[old.SerialNumber.String()]
	d.mu.Unlock()
	if revoked {
		problem(403, "unauthorized", "the certificate is revoked")(w, r)
		return
	}
	d.issue(w, body, old.DNSNames)
}

// window is past for certificates of less than an hour, so that they are
// renewed at every look.
func (d *door) window(w http.ResponseWriter) {
	start := time.Now().Add(40 * time.Minute)
	if d.lifetime < time.Hour {
		start = time.Now().Add(-time.Minute)
	}
	answer(w, 200, map[string]any{"suggestedWindow": map[string]any{"start": start, "end": start.Add(time.Second)}})
}

func (d *door) revoke(c *x509.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revoked[c.SerialNumber.String()] = true
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func problem(status int, name, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "urn:chancery:error:" + name, "detail": detail, "status": status})
	}
}

func fingerprint(c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.Raw)
	return sum[:]
}
