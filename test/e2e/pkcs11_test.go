package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// softHSM is a token "ca" with a key "issuing", and the program that reaches it.
type softHSM struct {
	*site
	tokens string // SoftHSM's directory
	uri    string // of the key
}

func newSoftHSM(t *testing.T, s *site) *softHSM {
	t.Helper()
	module, err := filepath.Glob("/usr/lib/*/softhsm/libsofthsm2.so")
	if err != nil || len(module) == 0 {
		t.Fatal("SoftHSM is missing; run: make deps")
	}
	h := &softHSM{site: s, tokens: filepath.Join(s.work, "tokens")}
	if err := os.Mkdir(h.tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	settings, pin := filepath.Join(s.work, "softhsm2.conf"), filepath.Join(s.work, "pin")
	for path, content := range map[string]string{settings: "directories.tokendir = " + h.tokens + "\n", pin: "1234\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SOFTHSM2_CONF", settings)
	s.run(t, nil, "softhsm2-util", "--init-token", "--free", "--label", "ca", "--pin", "1234", "--so-pin", "1234")
	s.run(t, nil, "pkcs11-tool", "--module", module[0], "--token-label", "ca", "--login", "--pin", "1234",
		"--keypairgen", "--key-type", "EC:prime256v1", "--label", "issuing", "--id", "01")
	h.uri = "pkcs11:token=ca;object=issuing;id=%01?module-path=" + module[0] + "&pin-source=" + pin

	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(filepath.Dir(chancery), "chancery-key-pkcs11"), ".")
	build.Dir = filepath.Join("..", "..", "cmd", "chancery-key-pkcs11")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("couldn't build the helper: %v\n%s", err, output)
	}
	return h
}

// helper is the process that holds the key, or 0.
func (h *softHSM) helper() int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", h.server.cmd.Process.Pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for child := range strings.FieldsSeq(string(children)) {
			id, err := strconv.Atoi(child)
			name, _ := os.ReadFile("/proc/" + child + "/comm")
			if err == nil && strings.HasPrefix(string(name), "chancery-key-pk") {
				return id
			}
		}
	}
	return 0
}

// TestPKCS11 runs a CA whose intermediate's key is in a token: made by rotation,
// and taken over by another CA; with helpers that are killed, and a token that
// goes away.
func TestPKCS11(t *testing.T) {
	s := newSite(t)
	h := newSoftHSM(t, s)
	s.chancery(t, "init", "--dir", s.dir)
	s.chancery(t, "issuer", "rotate", "--key", h.uri, "--dir", s.dir)
	s.serve(t, "serve", "validation.allow=127.0.0.0/8")
	t.Run("Issues", h.testIssues)
	t.Run("HelperIsKilled", h.testHelperIsKilled)
	t.Run("TokenGoesAndReturns", h.testTokenGoesAndReturns)
	t.Run("IsTakenOver", h.testIsTakenOver)
}

func (h *softHSM) issuer(t *testing.T) string {
	t.Helper()
	return string(read(t, filepath.Join(h.dir, "issuers", "default", "0002", "certificate.pem")))
}

func (h *softHSM) testIssues(t *testing.T) {
	chain := connectAcmez(t, h.site, nil).obtain(t, order{"http-01", []string{"token." + zoneName}})
	if !strings.HasSuffix(string(chain), h.issuer(t)) {
		t.Errorf("the certificate is not signed by the token's key:\n%s", chain)
	}
}

func (h *softHSM) testHelperIsKilled(t *testing.T) {
	var work sync.WaitGroup
	var issued atomic.Int64
	done := make(chan struct{})
	for i := range 4 {
		client := connectAcmez(t, h.site, nil)
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := client.request(t, order{"http-01", []string{fmt.Sprintf("load%d.%s", i, zoneName)}}, "", nil); err != nil {
					t.Errorf("an issuance failed: %v", err)
					return
				}
				issued.Add(1)
			}
		})
	}
	killed := 0
	for range 3 {
		before := issued.Load()
		h.await(t, h.server, "issuances", func() error {
			if id := h.helper(); id == 0 || id == killed || issued.Load() < before+4 {
				return errors.New("not yet")
			}
			return nil
		})
		killed = h.helper()
		if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	close(done)
	work.Wait()
	if list := h.chancery(t, "certs", "list", "--status", "abandoned", "--json", "--dir", h.dir); strings.TrimSpace(list) != "[]" {
		t.Errorf("certificates were abandoned: %s", list)
	}
	t.Logf("%d certificates beside 3 kills", issued.Load())
}

func (h *softHSM) testTokenGoesAndReturns(t *testing.T) {
	move := func(from, to string) func() {
		return func() {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	keyGoesAndReturns(t, h.site, move(h.tokens, h.tokens+".away"), move(h.tokens+".away", h.tokens))
}

// keyGoesAndReturns finalizes an order that is ready while the issuer's key is
// away, which is answered with 503, and again when it is back.
func keyGoesAndReturns(t *testing.T, s *site, leave, comeBack func()) {
	t.Helper()
	name := "away." + zoneName
	client := newXCrypto(t, s, nil).(*xcrypto)
	client.client.RetryBackoff = func(int, *http.Request, *http.Response) time.Duration { return -1 }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ready, err := client.client.AuthorizeOrder(ctx, acme.DomainIDs(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range ready.AuthzURLs {
		if err := client.authorize(ctx, url, "http-01"); err != nil {
			t.Fatal(err)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}

	leave()
	s.await(t, s.server, "the server to notice", func() error {
		if err := s.get("/readyz"); err == nil || !strings.Contains(err.Error(), "503") {
			return fmt.Errorf("readyz: %w", err)
		}
		return nil
	})
	_, _, err = client.client.CreateOrderCert(ctx, ready.FinalizeURL, csr, true)
	var refused *acme.Error
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" {
		t.Errorf("finalize without the key: %v", err)
	}
	comeBack()
	s.await(t, s.server, "the key", func() error { return s.get("/readyz") })
	if _, _, err := client.client.CreateOrderCert(ctx, ready.FinalizeURL, csr, true); err != nil {
		t.Errorf("after the key returned: %v", err)
	}
}

// testIsTakenOver gives the same key and certificate to another CA.
func (h *softHSM) testIsTakenOver(t *testing.T) {
	certificate := filepath.Join(h.work, "issuing.pem")
	if err := os.WriteFile(certificate, []byte(h.issuer(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	other := newSite(t)
	other.chancery(t, "init", "--dir", other.dir, "--root", h.root, "--intermediate", certificate, "--key", h.uri)
	if key := read(t, filepath.Join(other.dir, "intermediate.key")); !bytes.HasPrefix(key, []byte("pkcs11:")) {
		t.Error("the key's file does not name the key")
	}
	other.serve(t, "serve", "validation.allow=127.0.0.0/8")
	chain := connectAcmez(t, other, nil).obtain(t, order{"http-01", []string{"token." + zoneName}})
	if !strings.HasSuffix(string(chain), h.issuer(t)) {
		t.Errorf("the certificate is not signed by the token's key:\n%s", chain)
	}
}
