package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// revoking is a site with a certificate that is good, and one that is revoked.
type revoking struct {
	*site
	account           *acmezClient
	good, bad         *x509.Certificate
	goodFile, badFile string
	issuerFile        string            // PEM
	issuer            *x509.Certificate // of both
	listFile          string            // PEM, of the partition of both
	rootListFile      string            // PEM
}

// TestRevocation has relying parties find out what is revoked.
func TestRevocation(t *testing.T) {
	t.Parallel()
	r := &revoking{site: start(t)}
	r.account = connectAcmez(t, r.site, nil)
	r.good, r.goodFile = r.save(t, "good.pem", r.account.obtain(t, order{"http-01", []string{"good." + zoneName}}))
	chain := r.account.obtain(t, order{"http-01", []string{"bad." + zoneName}})
	r.bad, r.badFile = r.save(t, "bad.pem", chain)
	_, rest := pem.Decode(chain)
	r.issuer, r.issuerFile = r.save(t, "issuer.pem", rest)
	r.account.revoke(t, order{}, chain)
	r.awaitListed(t)
	t.Run("Lists", r.testLists)
	t.Run("Verify", r.testVerify)
	t.Run("OCSP", r.testOCSP)
	t.Run("Conditional", r.testConditional)
	t.Run("Nginx", r.testNginx)
	t.Run("Stapling", r.testStapling)
	t.Run("RootList", r.testRootList)
}

// save writes the first certificate of a chain into a file of its own.
func (r *revoking) save(t *testing.T, name string, chain []byte) (*x509.Certificate, string) {
	t.Helper()
	block, _ := pem.Decode(chain)
	if block == nil {
		t.Fatalf("not PEM: %q", chain)
	}
	path := filepath.Join(r.work, name)
	write(t, path, pem.EncodeToMemory(block))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, path
}

// fetch gets a URL that a certificate names, over plain HTTP.
func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return body
}

// awaitListed waits until the list that the revoked certificate names has it:
// 5 s at most.
func (r *revoking) awaitListed(t *testing.T) {
	t.Helper()
	began := time.Now()
	r.await(t, r.server, "the revocation to be listed", func() error {
		if text := r.listText(t, r.bad.CRLDistributionPoints[0]); !strings.Contains(text, fmt.Sprintf("%040X", r.bad.SerialNumber)) {
			return fmt.Errorf("the list is\n%s", text)
		}
		return nil
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s until the revocation was listed", took)
	}
	r.listFile = r.saveList(t, "list.pem", r.bad.CRLDistributionPoints[0])
	r.rootListFile = r.saveList(t, "root-list.pem", r.issuer.CRLDistributionPoints[0])
}

// listText is a list as openssl reads it.
func (r *revoking) listText(t *testing.T, url string) string {
	t.Helper()
	der := filepath.Join(t.TempDir(), "list.crl")
	write(t, der, fetch(t, url))
	return r.run(t, nil, "openssl", "crl", "-inform", "DER", "-in", der, "-noout", "-text")
}

// saveList writes a list as PEM.
func (r *revoking) saveList(t *testing.T, name, url string) string {
	t.Helper()
	path := filepath.Join(r.work, name)
	write(t, path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: fetch(t, url)}))
	return path
}

func (r *revoking) testLists(t *testing.T) {
	full := strings.TrimSuffix(r.bad.CRLDistributionPoints[0], "/1.crl") + ".crl"
	r.await(t, r.server, "the full list", func() error {
		if text := r.listText(t, full); !strings.Contains(text, fmt.Sprintf("%040X", r.bad.SerialNumber)) {
			return fmt.Errorf("the full list is\n%s", text)
		}
		return nil
	})
	for _, address := range []string{r.bad.CRLDistributionPoints[0], full} {
		list, err := x509.ParseRevocationList(fetch(t, address))
		if err != nil {
			t.Fatal(err)
		}
		if err := list.CheckSignatureFrom(r.issuer); err != nil {
			t.Error(err)
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(r.good.SerialNumber) == 0 {
				t.Errorf("%s has the good certificate", address)
			}
		}
	}
	issuer, err := x509.ParseCertificate(fetch(t, r.good.IssuingCertificateURL[0]))
	if err != nil || !issuer.Equal(r.issuer) {
		t.Errorf("the issuer's certificate is not where its leaves say: %v", err)
	}
	secure := "https://" + r.ca + ":" + httpsPort + strings.TrimPrefix(full, "http://"+r.ca+":"+plainPort)
	if resp, err := r.trusting(t).Get(secure); err != nil || resp.StatusCode != http.StatusOK || resp.Body.Close() != nil {
		t.Errorf("over HTTPS: %v, %v", resp, err)
	}
}

func (r *revoking) testVerify(t *testing.T) {
	full := r.saveList(t, "full.pem", strings.TrimSuffix(r.bad.CRLDistributionPoints[0], "/1.crl")+".crl")
	for name, flags := range map[string][]string{
		"partition":       {"-crl_check", "-CRLfile", r.listFile},
		"full list":       {"-crl_check", "-CRLfile", full},
		"the whole chain": {"-crl_check_all", "-CRLfile", r.listFile, "-CRLfile", r.rootListFile},
		"strictly":        {"-x509_strict", "-crl_check_all", "-CRLfile", r.listFile, "-CRLfile", r.rootListFile},
		"fetched":         {"-crl_check", "-crl_download"},
	} {
		args := append([]string{"verify", "-CAfile", r.root, "-untrusted", r.issuerFile}, flags...)
		r.run(t, nil, "openssl", append(args, r.goodFile)...)
		if stdout, stderr, err := r.try(t, nil, "openssl", append(args, r.badFile)...); err == nil || !strings.Contains(stderr, "certificate revoked") {
			t.Errorf("%s: the revoked certificate is %s%s", name, stdout, stderr)
		}
	}
}

// askOCSP has openssl ask and verify.
func (r *revoking) askOCSP(t *testing.T, args ...string) string {
	t.Helper()
	all := append([]string{"ocsp", "-url", r.good.OCSPServer[0], "-CAfile", r.root, "-verify_other", r.issuerFile}, args...)
	stdout, stderr, _ := r.try(t, nil, "openssl", all...) // it fails on what is revoked
	return stdout + stderr
}

func (r *revoking) testOCSP(t *testing.T) {
	for _, nonce := range []string{"-nonce", "-no_nonce"} {
		text := r.askOCSP(t, nonce, "-issuer", r.issuerFile, "-cert", r.goodFile, "-cert", r.badFile, "-serial", "0x1234567890")
		for _, want := range []string{
			"Response verify OK", r.goodFile + ": good", r.badFile + ": revoked", "Reason: superseded", "0x1234567890: unknown",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in\n%s", nonce, want, text)
			}
		}
		if strings.Contains(text, "WARNING") {
			t.Errorf("%s: %s", nonce, text)
		}
	}
	if text := r.askOCSP(t, "-sha256", "-issuer", r.issuerFile, "-cert", r.goodFile); !strings.Contains(text, ": good") {
		t.Error(text)
	}
	if text := r.askOCSP(t, "-issuer", r.root, "-cert", r.issuerFile); !strings.Contains(text, "unauthorized (6)") {
		t.Errorf("asked about another issuer: %s", text)
	}
	r.testOCSPByGet(t)
}

func (r *revoking) testOCSPByGet(t *testing.T) {
	request := filepath.Join(t.TempDir(), "request")
	r.run(t, nil, "openssl", "ocsp", "-issuer", r.issuerFile, "-cert", r.badFile, "-no_nonce", "-reqout", request)
	encoded := base64.StdEncoding.EncodeToString(read(t, request))
	for _, path := range []string{"/" + url.PathEscape(encoded), "//" + encoded} {
		answer := r.run(t, nil, "curl", "--silent", "--fail", "--path-as-is", r.bad.OCSPServer[0]+path)
		parsed, err := ocsp.ParseResponseForCert([]byte(answer), r.bad, r.issuer)
		if err != nil || parsed.Status != ocsp.Revoked || parsed.RevocationReason != ocsp.Superseded {
			t.Errorf("%s: %v, %v", path, parsed, err)
		}
	}
}

func (r *revoking) testConditional(t *testing.T) {
	list := r.bad.CRLDistributionPoints[0]
	code := []string{"--silent", "--output", os.DevNull, "--write-out", "%{http_code} %{content_type}", list}
	head := r.run(t, nil, "curl", "--silent", "--head", list)
	var etag, modified string
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch strings.ToLower(name) {
		case "etag":
			etag = value
		case "last-modified":
			modified = value
		}
	}
	for _, condition := range []string{"If-None-Match: " + etag, "If-Modified-Since: " + modified} {
		if got := r.run(t, nil, "curl", append(code, "--header", condition)...); !strings.HasPrefix(got, "304") {
			t.Errorf("%s: %s\n%s", condition, got, head)
		}
	}
	for _, condition := range []string{`If-None-Match: "another"`, "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT"} {
		if got := r.run(t, nil, "curl", append(code, "--header", condition)...); got != "200 application/pkix-crl" {
			t.Errorf("%s: %s", condition, got)
		}
	}
}

// clientCertificate gets a certificate for a client, with its key.
func (r *revoking) clientCertificate(t *testing.T, name string) (tls.Certificate, []byte) {
	t.Helper()
	chainFile := filepath.Join(r.work, name)
	key := newKey(t)
	chain, err := r.account.requestFor(t, key, order{"http-01", []string{name + "." + zoneName}}, "tls-mutual", nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	write(t, chainFile+".pem", chain)
	write(t, chainFile+".key", keyText)
	pair, err := tls.X509KeyPair(chain, keyText)
	if err != nil {
		t.Fatal(err)
	}
	return pair, chain
}

// nginx serves HTTPS with a certificate of the CA until the test ends.
func (r *revoking) nginx(t *testing.T, port, server, settings string) {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr info;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s:%[3]s ssl;
		ssl_certificate %[4]s.pem;
		ssl_certificate_key %[4]s.key;
		%[5]s
		location / { return 200 "hello"; }
	}
}
`, dir, r.own, port, server, settings)
	file := filepath.Join(dir, "nginx.conf")
	write(t, file, []byte(config))
	process := r.launch(t, "nginx", "-c", file, "-e", "stderr")
	r.await(t, process, "nginx", func() error {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", r.own+":"+port) // only whether it listens
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// testNginx has nginx ask clients for certificates.
func (r *revoking) testNginx(t *testing.T) {
	good, _ := r.clientCertificate(t, "client-good")
	bad, chain := r.clientCertificate(t, "client-bad")
	r.account.revoke(t, order{}, chain)
	leaf := leafOf(t, chain)
	r.await(t, r.server, "the client's revocation to be listed", func() error {
		if text := r.listText(t, leaf.CRLDistributionPoints[0]); !strings.Contains(text, fmt.Sprintf("%040X", leaf.SerialNumber)) {
			return fmt.Errorf("the list is\n%s", text)
		}
		return nil
	})
	lists := filepath.Join(r.work, "nginx-lists.pem")
	write(t, lists, append(read(t, r.saveList(t, "list.pem", leaf.CRLDistributionPoints[0])), read(t, r.rootListFile)...))
	trusted := filepath.Join(r.work, "nginx-trusted.pem")
	write(t, trusted, append(read(t, r.root), read(t, r.issuerFile)...))
	r.nginx(t, "6001", filepath.Join(r.work, "client-good"),
		fmt.Sprintf("ssl_client_certificate %s; ssl_verify_client on; ssl_verify_depth 2; ssl_crl %s;", trusted, lists))
	for want, certificate := range map[int]tls.Certificate{http.StatusOK: good, http.StatusBadRequest: bad} {
		roots, err := r.roots()
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: roots, ServerName: "client-good." + zoneName, Certificates: []tls.Certificate{certificate},
		}}}
		resp, err := client.Get("https://" + r.own + ":6001/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		client.CloseIdleConnections()
		if resp.StatusCode != want {
			t.Errorf("nginx answers with %d, want %d: %s", resp.StatusCode, want, body)
		}
	}
}

// testStapling has nginx staple answers, and clients refuse a revoked server.
func (r *revoking) testStapling(t *testing.T) {
	_, chain := r.clientCertificate(t, "server")
	trusted := filepath.Join(r.work, "stapling-trusted.pem")
	write(t, trusted, append(read(t, r.root), read(t, r.issuerFile)...))
	r.nginx(t, "6002", filepath.Join(r.work, "server"), "ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate "+trusted+";")
	process := r.server
	r.await(t, process, "nginx to staple", func() error {
		stdout, stderr, err := r.try(t, nil, "sh", "-c", "openssl s_client -connect "+r.own+":6002 -status -CAfile "+r.root+" </dev/null")
		if err != nil || !strings.Contains(stdout, "Cert Status: good") || !strings.Contains(stdout, "Verify return code: 0 (ok)") {
			return fmt.Errorf("%w: %s%s", err, stdout, stderr)
		}
		return nil
	})
	if err := r.visitChecked(t); err != nil {
		t.Errorf("a client with OCSP refuses a good server: %v", err)
	}
	r.account.revoke(t, order{}, chain)
	if err := r.visitChecked(t); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a client with OCSP says of a revoked server: %v", err)
	}
}

// visitChecked visits the server as a client that asks the responder which the
// server's certificate names.
func (r *revoking) visitChecked(t *testing.T) error {
	t.Helper()
	roots, err := r.roots()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&tls.Dialer{Config: &tls.Config{
		RootCAs: roots, ServerName: "server." + zoneName,
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf, issuer := state.VerifiedChains[0][0], state.VerifiedChains[0][1]
			request, err := ocsp.CreateRequest(leaf, issuer, nil)
			if err != nil {
				return err
			}
			resp, err := http.Post(leaf.OCSPServer[0], "application/ocsp-request", bytes.NewReader(request))
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			answer, err := ocsp.ParseResponseForCert(body, leaf, issuer)
			if err == nil && answer.Status != ocsp.Good {
				err = fmt.Errorf("the server's certificate is revoked (status %d)", answer.Status)
			}
			return err
		},
	}}).DialContext(t.Context(), "tcp", r.own+":6002")
	if err != nil {
		return err
	}
	return conn.Close()
}

// testRootList revokes an intermediate, which the running server tells at once.
func (r *revoking) testRootList(t *testing.T) {
	before, err := x509.ParseRevocationList(fetch(t, r.issuer.CRLDistributionPoints[0]))
	if err != nil {
		t.Fatal(err)
	}
	r.chancery(t, "issuer", "rotate", "--dir", r.dir)
	r.chancery(t, "root", "crl", "--revoke", r.issuerFile, "--reason", "superseded", "--lifetime", "90d", "--dir", r.dir)
	after, err := x509.ParseRevocationList(fetch(t, r.issuer.CRLDistributionPoints[0]))
	if err != nil {
		t.Fatal(err)
	}
	if after.Number.Cmp(before.Number) <= 0 || len(after.RevokedCertificateEntries) != 1 {
		t.Errorf("after list %s came %s with %v", before.Number, after.Number, after.RevokedCertificateEntries)
	}
	file := r.saveList(t, "root-list-2.pem", r.issuer.CRLDistributionPoints[0])
	args := []string{"verify", "-CAfile", r.root, "-untrusted", r.issuerFile, "-crl_check_all", "-CRLfile", r.listFile, "-CRLfile", file, r.goodFile}
	if stdout, stderr, err := r.try(t, nil, "openssl", args...); err == nil || !strings.Contains(stderr, "certificate revoked") {
		t.Errorf("what the revoked intermediate signed is %s%s", stdout, stderr)
	}
	// The earlier generation still answers for what it has signed.
	if text := r.askOCSP(t, "-issuer", r.issuerFile, "-cert", r.goodFile); !strings.Contains(text, ": good") {
		t.Error(text)
	}
	chain := r.account.obtain(t, order{"http-01", []string{"after." + zoneName}})
	if point := leafOf(t, chain).CRLDistributionPoints[0]; strings.TrimSuffix(point, "/1.crl") == strings.TrimSuffix(r.good.CRLDistributionPoints[0], "/1.crl") {
		t.Errorf("the new generation's certificates are in the old one's list %s", point)
	}
}
