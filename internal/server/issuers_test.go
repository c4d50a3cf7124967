package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/hierarchy"
	"chancery/internal/keyhelper/helpertest"
	"chancery/internal/keys"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
)

func TestMain(m *testing.M) {
	helpertest.Main()
	os.Exit(m.Run())
}

// certificateKey is the key of leaves; it may be the same for all.
var certificateKey = sync.OnceValues(func() (crypto.Signer, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
})

// tester is a test with a CA.
type tester struct {
	*testing.T
	ca *servertest.CA
}

func (t *tester) check(err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// issue has a client get a certificate and verifies its chain.
func (t *tester) issue(client *acmetest.Client, name string) (*x509.Certificate, error) {
	key, err := certificateKey()
	if err != nil {
		return nil, err
	}
	chain, err := client.Issue(t.Context(), acmetest.DNS(name), key, "http-01", t.ca.Web.HTTP01)
	if err != nil {
		return nil, err
	}
	return verify(chain, t.ca.Root)
}

func verify(chain [][]byte, root *x509.Certificate) (*x509.Certificate, error) {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	options.Roots.AddCert(root)
	var parsed []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, c)
	}
	for _, c := range parsed[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := parsed[0].Verify(options)
	return parsed[0], err
}

// until waits for a condition, which is looked at again and again.
func (t *tester) until(what string, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(30 * time.Second)
	for !done() {
		select {
		case <-timeout:
			t.Fatalf("waited in vain: %s", what)
		case <-ticker.C:
		}
	}
}

func (t *tester) files(name string) hierarchy.IssuerFiles {
	files := hierarchy.IssuerFiles{Dir: t.ca.Dir, Name: name}
	if name == hierarchy.DefaultIssuer {
		files.Certificate, files.Key = hierarchy.IntermediateFile, hierarchy.KeyFile
	}
	return files
}

func (t *tester) rotate(options hierarchy.RotateOptions) *hierarchy.Generation {
	t.Helper()
	options.Passphrase = []byte(servertest.RootPassphrase)
	generation, err := hierarchy.Rotate(options)
	t.check(err)
	return generation
}

// load has several clients get certificates until stop is called, which
// returns how many each issuer has signed. No request may fail.
func (t *tester) load(clients int) (count func() int, stop func() map[string]int) {
	var work sync.WaitGroup
	var mu sync.Mutex
	signed, total, done := map[string]int{}, 0, make(chan struct{})
	for range clients {
		client := t.ca.Client()
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				leaf, err := t.issue(client, "a.example.test")
				if err != nil {
					t.Errorf("an issuance failed: %v", err)
					return
				}
				mu.Lock()
				signed[leaf.Issuer.CommonName]++
				total++
				mu.Unlock()
			}
		})
	}
	count = func() int {
		mu.Lock()
		defer mu.Unlock()
		return total
	}
	return count, func() map[string]int {
		close(done)
		work.Wait()
		return signed
	}
}

func TestRotateUnderLoad(t *testing.T) {
	test := &tester{t, servertest.Start(t)}
	client := test.ca.Client()
	before, err := test.issue(client, "old.example.test")
	test.check(err)
	count, stop := test.load(6)
	var issuers []string
	for range 3 {
		seen := count()
		test.until("work", func() bool { return count() > seen+10 || t.Failed() })
		issuers = append(issuers, test.rotate(hierarchy.RotateOptions{Files: test.files(hierarchy.DefaultIssuer)}).Issuer().Subject.CommonName)
		test.ca.Reload()
		after, err := test.issue(client, "new.example.test")
		test.check(err)
		if after.Issuer.CommonName != issuers[len(issuers)-1] {
			t.Errorf("after the rotation %s signs", after.Issuer.CommonName)
		}
	}
	signed := stop()
	t.Logf("signed: %v", signed)
	if len(signed) < 3 {
		t.Errorf("only %d issuers have signed under load", len(signed))
	}
	key := store.CertificateKey{IssuerID: store.IssuerID(before.AuthorityKeyId)}
	known, last, err := test.ca.Store().Unexpired(t.Context(), key.IssuerID, time.Now())
	if err != nil || known < 2 || last.Before(before.NotAfter) { // the server's own is one
		t.Errorf("%d certificates of the first issuer until %s, %v", known, last, err)
	}
	test.ca.Restart()
	client.ForgetNonces()
	if again, err := test.issue(client, "new.example.test"); err != nil || again.Issuer.CommonName != issuers[2] {
		t.Errorf("after a restart: %v", err)
	}
}

// A certificate of an earlier generation is served with its own chain.
func TestOldChainIsServed(t *testing.T) {
	test := &tester{t, servertest.Start(t)}
	client, order := test.order("a.example.test")
	test.rotate(hierarchy.RotateOptions{Files: test.files(hierarchy.DefaultIssuer)})
	test.ca.Restart()
	client.ForgetNonces()
	chain, err := client.Download(t.Context(), order)
	test.check(err)
	_, err = verify(chain, test.ca.Root)
	test.check(err)
}

// order gets a certificate and returns its order.
func (t *tester) order(name string) (*acmetest.Client, *acmetest.Order) {
	t.Helper()
	client := t.ca.Client()
	order, csr := t.proven(client, name)
	order, err := client.Finalize(t.Context(), order, csr)
	t.check(err)
	return client, order
}

// proven is an order that is ready, and a request for it.
func (t *tester) proven(client *acmetest.Client, name string) (*acmetest.Order, []byte) {
	t.Helper()
	order, err := client.NewOrder(t.Context(), acmetest.DNS(name), nil)
	t.check(err)
	t.check(client.Prove(t.Context(), order, "http-01", t.ca.Web.HTTP01))
	key, err := certificateKey()
	t.check(err)
	csr, err := acmetest.CSR(key, acmetest.DNS(name))
	t.check(err)
	return order, csr
}

func TestAlternateChains(t *testing.T) {
	test := &tester{t, servertest.Start(t)}
	client, order := test.order("a.example.test")
	elsewhere := t.TempDir()
	other, err := hierarchy.Create(hierarchy.Options{Dir: elsewhere, Passphrase: []byte("p")})
	test.check(err)
	cross := test.crossSign(elsewhere)
	test.ca.Reload("issuers.default.alternates=" + cross)

	var chains [][][]byte
	urls := []string{order.Certificate, order.Certificate + "/1", order.Certificate + "/2"}
	for _, url := range urls {
		resp, err := client.Post(t.Context(), url, nil)
		test.check(err)
		var chain [][]byte
		for block, rest := pem.Decode(resp.Body); block != nil; block, rest = pem.Decode(rest) {
			chain = append(chain, block.Bytes)
		}
		chains = append(chains, chain)
		for _, link := range urls {
			has := slices.Contains(resp.Header.Values("Link"), "<"+link+`>;rel="alternate"`)
			if has != (link != url) {
				t.Errorf("%s: links %q", url, resp.Header.Values("Link"))
			}
		}
	}
	for i, want := range []struct {
		root   *x509.Certificate
		length int
	}{{test.ca.Root, 2}, {test.ca.Root, 3}, {other.Root, 2}} {
		if _, err := verify(chains[i], want.root); err != nil || len(chains[i]) != want.length {
			t.Errorf("chain %d of %d certificates: %v", i, len(chains[i]), err)
		}
	}
	if resp, _ := client.Post(t.Context(), order.Certificate+"/3", nil); resp.Status != http.StatusNotFound {
		t.Errorf("there is a fourth chain: %d", resp.Status)
	}
}

// crossSign has the root of another CA sign the intermediate's key.
func (t *tester) crossSign(dir string) (path string) {
	t.Helper()
	rootKey, err := keys.ReadSealedFile(filepath.Join(dir, hierarchy.RootKeyFile), []byte("p"))
	t.check(err)
	other, err := hierarchy.Load(dir)
	t.check(err)
	own, err := hierarchy.Load(t.ca.Dir)
	t.check(err)
	template := *own.Issuer()
	template.SerialNumber = big.NewInt(5)
	der, err := x509.CreateCertificate(rand.Reader, &template, other.Root, template.PublicKey, rootKey)
	t.check(err)
	path = filepath.Join(t.ca.Dir, "cross.pem")
	t.check(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return path
}

// A profile chooses its issuer, which its certificates never outlive.
func TestProfileChoosesIssuer(t *testing.T) {
	test := &tester{t, servertest.Start(t)}
	mesh := test.rotate(hierarchy.RotateOptions{Files: test.files("mesh"), Lifetime: time.Hour})
	test.ca.WriteConfig("issuers: {mesh: {}}\nprofiles: {mesh: {issuer: mesh, validity: {default: 30d}}}\n")
	test.ca.Reload()
	client := test.ca.Client()
	for profile, want := range map[string]bool{"mesh": true, "tls-server": false} {
		order, err := client.NewOrder(t.Context(), acmetest.DNS("a.example.test"), map[string]any{"profile": profile})
		test.check(err)
		test.check(client.Prove(t.Context(), order, "http-01", test.ca.Web.HTTP01))
		key, err := certificateKey()
		test.check(err)
		csr, err := acmetest.CSR(key, acmetest.DNS("a.example.test"))
		test.check(err)
		order, err = client.Finalize(t.Context(), order, csr)
		test.check(err)
		chain, err := client.Download(t.Context(), order)
		test.check(err)
		leaf, err := verify(chain, test.ca.Root)
		test.check(err)
		if isMesh := leaf.CheckSignatureFrom(mesh.Issuer()) == nil; isMesh != want {
			t.Errorf("%s is signed by %s", profile, leaf.Issuer)
		}
		if outlives := leaf.NotAfter.After(mesh.Issuer().NotAfter); outlives == want {
			t.Errorf("%s ends %s, its issuer %s", profile, leaf.NotAfter, mesh.Issuer().NotAfter)
		}
	}
	_, err := client.NewOrder(t.Context(), acmetest.DNS("a.example.test"), map[string]any{"profile": "mesh", "notAfter": mesh.Issuer().NotAfter.Add(time.Minute)})
	if err == nil || !strings.Contains(err.Error(), "after the end of the CA's own certificate") {
		t.Errorf("a leaf that outlives its issuer: %v", err)
	}
}

// inHelper moves the CA's key to a helper and returns the key's directory.
func (t *tester) inHelper() (dir string) {
	t.Helper()
	t.ca.Stop()
	dir = t.TempDir()
	path := filepath.Join(t.ca.Dir, hierarchy.KeyFile)
	t.check(os.Rename(path, filepath.Join(dir, helpertest.Key)))
	t.check(os.WriteFile(path, []byte(helpertest.URI(dir)+"\n"), 0o600))
	self, err := os.Executable()
	t.check(err)
	t.ca.Restart("issuers.default.helper=" + self)
	return dir
}

// readiness asks the server whether it could issue.
func (t *tester) readiness() (int, string) {
	t.Helper()
	resp, err := t.ca.NewClient().Get(t.Context(), t.ca.BaseURL+"/readyz")
	t.check(err)
	return resp.Status, string(resp.Body)
}

func TestHelperIsKilledUnderLoad(t *testing.T) {
	test := &tester{t, servertest.Start(t)}
	dir := test.inHelper()
	count, stop := test.load(6)
	killed := 0
	for range 3 {
		test.until("a helper", func() bool { id := helpertest.Process(dir); return id != 0 && id != killed })
		seen := count()
		test.until("work", func() bool { return count() > seen+10 || t.Failed() })
		killed = helpertest.Process(dir)
		test.check(syscall.Kill(killed, syscall.SIGKILL))
	}
	seen := count()
	test.until("work", func() bool { return count() > seen+10 || t.Failed() })
	t.Logf("signed: %v", stop())
	abandoned, err := test.ca.Store().ListCertificates(t.Context(), store.CertificateQuery{Status: store.CertificateAbandoned, Now: time.Now()})
	if err != nil || len(abandoned) > 0 {
		t.Errorf("%d certificates were abandoned, %v", len(abandoned), err)
	}
}

// While the token is away, what has begun waits and what begins is refused with
// 503, and the order stays ready; when it is back, all goes on.
func TestTokenGoesAndReturns(t *testing.T) {
	test := &tester{t, servertest.Start(t, "acme.finalize_wait=100ms")}
	dir := test.inHelper()
	client := test.ca.Client()
	began, csr := test.proven(client, "began.example.test")
	refused, refusedCSR := test.proven(client, "refused.example.test")

	away := filepath.Join(dir, helpertest.Away)
	test.check(os.WriteFile(away, nil, 0o600))
	resp, err := client.Post(t.Context(), began.Finalize, map[string]string{"csr": acmetest.Encode(csr)})
	if err == nil { // else the health check was first
		var order acmetest.Order
		test.check(resp.Decode(&order))
		if order.Status != "processing" {
			t.Errorf("the order whose signature failed is %s", order.Status)
		}
	}
	test.until("the server to notice", func() bool { status, _ := test.readiness(); return status == http.StatusServiceUnavailable })
	if _, text := test.readiness(); !strings.Contains(text, "the token is away") {
		t.Errorf("readyz says %s", text)
	}
	resp, err = client.Post(t.Context(), refused.Finalize, map[string]string{"csr": acmetest.Encode(refusedCSR)})
	if err == nil || resp.Status != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("finalize without the token: %d %s, Retry-After %q", resp.Status, resp.Body, resp.Header.Get("Retry-After"))
	}
	if order, err := client.ReadOrder(t.Context(), refused.URL); err != nil || order.Status != "ready" {
		t.Errorf("the refused order is %+v, %v", order, err)
	}

	test.check(os.Remove(away))
	test.until("readiness", func() bool { status, _ := test.readiness(); return status == http.StatusOK })
	_, err = client.Finalize(t.Context(), refused, refusedCSR)
	test.check(err)
	test.until("the order that had begun", func() bool {
		order, err := client.ReadOrder(t.Context(), began.URL)
		test.check(err)
		if order.Status == "ready" {
			_, err = client.Finalize(t.Context(), began, csr)
			test.check(err)
		}
		return order.Status == "valid"
	})
}
