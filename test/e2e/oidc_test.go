package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"chancery/test/e2e/oidcprovider"
)

// people are a site whose certificates people get by logging in.
type people struct {
	*site
	provider *oidcprovider.Provider
	bin      string // folder with an xdg-open
}

func newPeople(t *testing.T) *people {
	t.Helper()
	s := start(t)
	p := &people{site: s, bin: filepath.Join(s.work, "bin")}
	p.provider = oidcprovider.Start(t, s.own,
		oidcprovider.User{Name: "ann", Password: "pear", Email: "ann@corp.example", Verified: true, Groups: []string{"ops", "dev"}},
		oidcprovider.User{Name: "bob", Password: "plum", Email: "bob@corp.example", Verified: true, Groups: []string{"dev"}},
		oidcprovider.User{Name: "eve", Password: "fig", Email: "ann@corp.example", Groups: []string{"ops"}},
	)
	s.chancery(t, "provisioner", "create", "people", "--type", "oidc", "--issuer", p.provider.Issuer, "--client-id", oidcprovider.ClientID,
		"--scopes", "email,groups", "--groups", "ops", "--domains", "corp.example", "--profiles", "tls-client", "--dir", s.dir)
	// What the command opens is left in a file, for the test to open.
	script := "#!/bin/sh\nprintf %s \"$1\" >\"$OPENED.part\" && mv \"$OPENED.part\" \"$OPENED\"\n"
	if err := os.MkdirAll(p.bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.bin, "xdg-open"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *people) url() string { return "https://" + p.ca + ":" + httpsPort }

// login starts a command of chancery on the site's server that makes somebody
// log in; opened is the file that then has the URL of where.
func (p *people) login(t *testing.T, args ...string) (command *process, opened string) {
	t.Helper()
	return p.start(t, append([]string{chancery}, args...)...)
}

// loginInVain is login for a command that is to fail.
func (p *people) loginInVain(t *testing.T, args ...string) *process {
	t.Helper()
	command, _ := p.start(t, append([]string{"sh", "-c", `! "$@"`, "sh", chancery}, args...)...)
	return command
}

func (p *people) start(t *testing.T, program ...string) (command *process, opened string) {
	t.Helper()
	opened = filepath.Join(t.TempDir(), "opened")
	program = append([]string{"PATH=" + p.bin + ":" + os.Getenv("PATH"), "OPENED=" + opened}, program...)
	return p.launch(t, "env", append(program, "--oidc", "--server", p.url(), "--root", p.root)...), opened
}

// done waits until a command has ended well, and returns what it wrote.
func (p *people) done(t *testing.T, command *process) string {
	t.Helper()
	select {
	case <-command.ended:
	case <-time.After(time.Minute):
		t.Fatalf("the command didn't end: %s", command.log)
	}
	if command.err != nil {
		t.Fatalf("the command failed: %v: %s", command.err, command.log)
	}
	return command.log.String()
}

// shown waits until a command has written what matches, and returns its groups.
func (p *people) shown(t *testing.T, command *process, pattern string) []string {
	t.Helper()
	var found []string
	p.await(t, command, pattern, func() error {
		if found = regexp.MustCompile(pattern).FindStringSubmatch(command.log.String()); found == nil {
			return fmt.Errorf("there is only %s", command.log)
		}
		return nil
	})
	return found[1:]
}

// open waits until a command has opened a URL, and returns that.
func (p *people) open(t *testing.T, command *process, opened string) string {
	t.Helper()
	var address []byte
	p.await(t, command, "a URL to be opened", func() (err error) {
		address, err = os.ReadFile(opened)
		return err
	})
	return string(address)
}

// token has somebody log in without a browser, and returns their ID token.
func (p *people) token(t *testing.T, user, password string) string {
	t.Helper()
	command, opened := p.login(t, "token")
	address := p.open(t, command, opened)
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	page, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	page.Body.Close()
	answer, err := client.PostForm(p.provider.Issuer+"/login", url.Values{
		"id": {page.Request.URL.Query().Get("id")}, "user": {user}, "password": {password},
	})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if !bytes.Contains(body, []byte("Logged in")) {
		t.Fatalf("the browser would show %s", body)
	}
	lines := strings.Fields(p.done(t, command))
	return lines[len(lines)-1]
}

// TestOIDCBrowser gets a certificate for a person who logs in with a browser.
func TestOIDCBrowser(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	command, opened := p.login(t, "cert", "issue", "--out", filepath.Join(p.work, "ann"))
	address := p.open(t, command, opened)
	browser := newBrowser(t)
	drive(t, browser, chromedp.Navigate(address), chromedp.SendKeys("#user", "ann"), chromedp.SendKeys("#password", "pear"),
		chromedp.Click("#allow"), chromedp.WaitVisible(`//h1[text()="Logged in"]`))
	p.done(t, command)
	p.isAnns(t, "ann")
}

// TestOIDCDevice gets one for a person who types in a code on another device,
// and none for who refuses.
func TestOIDCDevice(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	browser := newBrowser(t)
	answer := func(command *process, button string) {
		t.Helper()
		told := p.shown(t, command, `(?s)open (http\S+) and type in the code\s+(\S+)`)
		drive(t, browser, chromedp.Navigate(told[0]), chromedp.SendKeys("#code", told[1]), chromedp.SendKeys("#user", "ann"),
			chromedp.SendKeys("#password", "pear"), chromedp.Click(button), chromedp.WaitVisible("#done"))
	}
	command, _ := p.login(t, "cert", "issue", "--device", "--out", filepath.Join(p.work, "ann"))
	answer(command, "#allow")
	p.done(t, command)
	p.isAnns(t, "ann")

	refused := p.loginInVain(t, "cert", "issue", "--device", "--out", filepath.Join(p.work, "none"))
	answer(refused, "#deny")
	if text := p.done(t, refused); !strings.Contains(text, "access_denied") {
		t.Errorf("the login was refused, and the command wrote %s", text)
	}
}

// isAnns wants the certificate in a folder of the site to have Ann's address
// and nothing else for a name.
func (p *people) isAnns(t *testing.T, folder string) {
	t.Helper()
	block, _ := pem.Decode(read(t, filepath.Join(p.work, folder, "cert.pem")))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(certificate.EmailAddresses, []string{"ann@corp.example"}) || len(certificate.DNSNames)+len(certificate.IPAddresses)+len(certificate.URIs) > 0 {
		t.Errorf("the certificate is for %v, %v, %v and %v", certificate.EmailAddresses, certificate.DNSNames, certificate.IPAddresses, certificate.URIs)
	}
}

// sign asks for a certificate by a token, and returns the status, Retry-After,
// and what was said.
func (s *site) sign(t *testing.T, token string) (status int, retryAfter, text string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{
		"token": token, "csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.ca+":"+httpsPort+"/api/v1/sign", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := s.trusting(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Retry-After"), string(said)
}

// TestOIDCWhoMay refuses who is not in the group, whose address is not proven,
// and who comes again with a token that was used.
func TestOIDCWhoMay(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	ann := p.token(t, "ann", "pear")
	for _, test := range []struct {
		name, token string
		status      int
		says        string
	}{
		{"another group", p.token(t, "bob", "plum"), 403, `one of ops is needed`},
		{"another's address, not verified", p.token(t, "eve", "fig"), 403, "no verified email address"},
		{"changed", ann[:len(ann)-8] + "AAAAAAAA", 403, "signature"},
		{"good", ann, 201, "ann@corp.example"},
		{"used", ann, 403, "used"},
	} {
		if status, _, text := p.sign(t, test.token); status != test.status || !strings.Contains(text, test.says) {
			t.Errorf("%s: %d %s; want %d that says %q", test.name, status, text, test.status, test.says)
		}
	}
	if list := p.chancery(t, "certs", "list", "--dir", p.dir, "--json"); strings.Count(list, "ann@corp.example") == 0 || strings.Contains(list, "bob@corp.example") {
		t.Errorf("the certificates are %s", list)
	}
}

// TestOIDCProviderAway lets the provider change its keys, stop answering, be
// away when the server starts, and come back.
func TestOIDCProviderAway(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	works := func(token string) {
		t.Helper()
		p.await(t, p.server, "a certificate", func() error {
			if status, _, text := p.sign(t, token); status != 201 {
				return fmt.Errorf("%d %s", status, text)
			}
			return nil
		})
	}
	works(p.token(t, "ann", "pear"))
	p.provider.Rotate(t)
	works(p.token(t, "ann", "pear"))

	waiting := p.token(t, "ann", "pear")
	p.provider.Stop()
	p.restart(t)
	p.unavailable(t, waiting)
	p.provider.Run(t)
	p.provider.Stall(true)
	p.restart(t)
	p.unavailable(t, waiting)
	p.provider.Stall(false)
	works(waiting)
}

func (p *people) restart(t *testing.T) {
	t.Helper()
	if err := p.server.stop(); err != nil {
		t.Fatal(err)
	}
	p.serve(t, "serve")
}

// unavailable wants a token to be answered soon, with when to come again.
func (p *people) unavailable(t *testing.T, token string) {
	t.Helper()
	begun := time.Now()
	status, retryAfter, text := p.sign(t, token)
	if status != 503 || retryAfter == "" || time.Since(begun) > 10*time.Second {
		t.Errorf("after %v: %d, Retry-After %q, %s", time.Since(begun), status, retryAfter, text)
	}
}
