package acme_test

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
	"chancery/internal/validation/dnstest"
)

// check ends the test at an error.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newKey makes a P-256 key.
func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

// post posts a payload: nil is POST-as-GET, a json.RawMessage is sent as it
// is, all else as JSON.
func post(t testing.TB, c *acmetest.Client, url string, payload any) *acmetest.Response {
	t.Helper()
	var body []byte
	if raw, ok := payload.(json.RawMessage); ok {
		body = raw
	} else if payload != nil {
		var err error
		body, err = json.Marshal(payload)
		check(t, err)
	}
	resp, err := c.PostRaw(t.Context(), url, body, nil)
	check(t, err)
	return resp
}

// get sends a GET request.
func get(t testing.TB, c *acmetest.Client, url string) *acmetest.Response {
	t.Helper()
	resp, err := c.Get(t.Context(), url)
	check(t, err)
	return resp
}

// members is a JSON object.
type members = map[string]any

// succeeded expects a status below 400 and returns the JSON body.
func succeeded(t testing.TB, resp *acmetest.Response, status int) members {
	t.Helper()
	if resp.Status != status {
		t.Fatalf("status %d, want %d: %s", resp.Status, status, resp.Body)
	}
	if len(resp.Body) == 0 {
		return nil
	}
	var body members
	check(t, resp.Decode(&body))
	return body
}

// refused expects an error with that status and type, whose detail has a word,
// and all that every error has.
func refused(t testing.TB, resp *acmetest.Response, status int, typ, word string) *acmetest.Problem {
	t.Helper()
	problem := resp.Problem()
	if problem == nil {
		t.Fatalf("status %d, want %d %s", resp.Status, status, typ)
		return nil
	}
	if resp.Status != status || problem.Status != status || problem.Type != "urn:ietf:params:acme:error:"+typ {
		t.Errorf("status %d: %v, want %d %s", resp.Status, problem, status, typ)
	}
	if !strings.Contains(problem.Detail, word) || problem.Detail == "" {
		t.Errorf("the detail %q has no %q", problem.Detail, word)
	}
	if media := resp.Header.Get("Content-Type"); media != "application/problem+json" {
		t.Errorf("the content type of an error is %q", media)
	}
	var body members
	check(t, resp.Decode(&body))
	if sub, found := body["subproblems"]; found && sub == nil {
		t.Error("subproblems are null")
	}
	return problem
}

// hasLink reports whether a Link header leads to url by a relation.
func hasLink(resp *acmetest.Response, url, relation string) bool {
	for _, link := range resp.Header.Values("Link") {
		if link == "<"+url+`>;rel="`+relation+`"` {
			return true
		}
	}
	return false
}

// eventually waits until ready, or fails the test after 20 seconds.
func eventually(t testing.TB, what string, ready func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ready() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// order orders a certificate.
func order(t testing.TB, c *acmetest.Client, names []acmetest.Name, more members) *acmetest.Order {
	t.Helper()
	made, err := c.NewOrder(t.Context(), names, more)
	check(t, err)
	return made
}

// authorization reads an order's authorization.
func authorization(t testing.TB, c *acmetest.Client, url string) *acmetest.Authorization {
	t.Helper()
	authz, err := c.ReadAuthorization(t.Context(), url)
	check(t, err)
	return authz
}

// challenge is the authorization's challenge of a type.
func challenge(t testing.TB, authz *acmetest.Authorization, kind string) acmetest.Challenge {
	t.Helper()
	found, err := authz.Of(kind)
	check(t, err)
	return found
}

// readyOrder orders a certificate and proves the names by http-01.
func readyOrder(t testing.TB, ca *servertest.CA, c *acmetest.Client, names []acmetest.Name, more members) *acmetest.Order {
	t.Helper()
	made := order(t, c, names, more)
	check(t, c.Prove(t.Context(), made, "http-01", ca.Web.HTTP01))
	return made
}

// request makes a CSR as finalize takes it.
func request(t testing.TB, key crypto.Signer, names []acmetest.Name) members {
	t.Helper()
	der, err := acmetest.CSR(key, names)
	check(t, err)
	return members{"csr": acmetest.Encode(der)}
}

// issued is a certificate that a client got.
type issued struct {
	key   crypto.Signer
	order *acmetest.Order
	leaf  *x509.Certificate
}

// issue gets a certificate.
func issue(t testing.TB, ca *servertest.CA, c *acmetest.Client, names []acmetest.Name, more members) *issued {
	t.Helper()
	made := &issued{key: newKey(t), order: readyOrder(t, ca, c, names, more)}
	csr, err := acmetest.CSR(made.key, names)
	check(t, err)
	made.order, err = c.Finalize(t.Context(), made.order, csr)
	check(t, err)
	chain, err := c.Download(t.Context(), made.order)
	check(t, err)
	made.leaf, err = x509.ParseCertificate(chain[0])
	check(t, err)
	return made
}

// revocation is the payload that revokes the certificate.
func (i *issued) revocation(reason any) members {
	payload := members{"certificate": acmetest.Encode(i.leaf.Raw)}
	if reason != nil {
		payload["reason"] = reason
	}
	return payload
}

// certID names the certificate for renewal information (RFC 9773 §4.1).
func (i *issued) certID() string {
	serial := i.leaf.SerialNumber.Bytes()
	if serial[0] >= 0x80 {
		serial = append([]byte{0}, serial...)
	}
	return acmetest.Encode(i.leaf.AuthorityKeyId) + "." + acmetest.Encode(serial)
}

// do sends a plain HTTP request without a body.
func do(t testing.TB, ca *servertest.CA, method, url string, header http.Header) *acmetest.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	check(t, err)
	for name, values := range header {
		req.Header[name] = values
		if name == "Host" {
			req.Host = values[0]
		}
	}
	client := acmetest.Client{HTTP: ca.HTTP}
	resp, err := client.Send(req)
	check(t, err)
	return resp
}

// group runs tests of one CA at the same time.
func group(t *testing.T, ca *servertest.CA, tests map[string]func(*testing.T, *servertest.CA)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, ca)
		})
	}
}

// idOf is the last part of a resource's URL.
func idOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// withOtherID changes the id in a resource's URL to one that nothing has.
func withOtherID(url string) string {
	parts := strings.Split(url, "/") // https:, "", host, acme, resource, id
	at := 5
	if parts[4] == "cert" {
		at = 6 // the serial comes after the issuer
	}
	id := []byte(parts[at])
	if last := len(id) - 1; id[last] == '0' {
		id[last] = '1'
	} else {
		id[last] = '0'
	}
	parts[at] = string(id)
	return strings.Join(parts, "/")
}

// linked is where a Link header of that relation leads; "" when there is none.
func linked(resp *acmetest.Response, relation string) string {
	for _, link := range resp.Header.Values("Link") {
		if url, rel, _ := strings.Cut(link, ";"); rel == `rel="`+relation+`"` {
			return strings.Trim(url, "<>")
		}
	}
	return ""
}

func raw(text []byte) json.RawMessage { return text }

func encode(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	check(t, err)
	return text
}

// weakRSA is a key that is too short, for accounts and certificates.
func weakRSA(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	return key
}

// What a DNS server does with a name.
var (
	dropped  = dnstest.Fault{Drop: true}
	refusing = dnstest.Fault{Rcode: dns.RcodeServerFailure}
	working  = dnstest.Fault{}
)

// shrinkBacklog makes a listening socket's queue as short as can be.
func shrinkBacklog(conn syscall.RawConn) (err error) {
	controlErr := conn.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) })
	return cmp.Or(err, controlErr)
}

type pkixExtension = pkix.Extension

// certificates is how many the store has for a name.
func certificates(t testing.TB, ca *servertest.CA, name string) int {
	t.Helper()
	found, err := ca.Store().ListCertificates(t.Context(), store.CertificateQuery{Name: name, Limit: 10_000})
	check(t, err)
	return len(found)
}
