package server_test

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"chancery/internal/admin"
	"chancery/internal/hierarchy"
	"chancery/internal/revocation"
	"chancery/internal/serial"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
)

// relyBase is what the server is told that relying parties reach it by. The
// tests ask over HTTPS, where the same is served.
const relyBase = "http://ca.example.test"

// rely gets a path of the server.
func (t *tester) rely(path string, body []byte) (int, []byte) {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(t.Context(), method, t.ca.BaseURL+path, bytes.NewReader(body))
	t.check(err)
	resp, err := t.ca.HTTP.Do(request)
	t.check(err)
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	t.check(err)
	return resp.StatusCode, read
}

// lists reports whether the list that a certificate names has it.
func (t *tester) lists(leaf, issuer *x509.Certificate) bool {
	t.Helper()
	status, der := t.rely(strings.TrimPrefix(leaf.CRLDistributionPoints[0], relyBase), nil)
	if status != http.StatusOK {
		t.Fatalf("%s: %d", leaf.CRLDistributionPoints[0], status)
	}
	list, err := x509.ParseRevocationList(der)
	t.check(err)
	t.check(list.CheckSignatureFrom(issuer))
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return true
		}
	}
	return false
}

// status is what the responder says of a certificate.
func (t *tester) status(leaf, issuer *x509.Certificate) (int, error) {
	t.Helper()
	request, err := ocsp.CreateRequest(leaf, issuer, nil)
	t.check(err)
	_, der := t.rely(revocation.OCSPPath, request)
	answer, err := ocsp.ParseResponseForCert(der, leaf, issuer)
	if err != nil {
		return 0, err
	}
	return answer.Status, nil
}

func (t *tester) revoke(leaf *x509.Certificate) {
	t.Helper()
	operator := admin.Dial(filepath.Join(t.ca.Dir, "admin.sock"))
	defer func() { t.check(operator.Close()) }()
	number, _ := serial.FromBig(leaf.SerialNumber)
	_, err := operator.RevokeCertificate(t.Context(), number.String(), "keyCompromise")
	t.check(err)
}

func TestEarlierGenerationsAreAnsweredFor(t *testing.T) {
	run := &tester{T: t, ca: servertest.Start(t, "http_url="+relyBase)}
	client := run.ca.Client()
	leaf, err := run.issue(client, "a.example.test")
	run.check(err)
	before, err := hierarchy.Load(run.ca.Dir)
	run.check(err)
	run.rotate(hierarchy.RotateOptions{Files: run.files(hierarchy.DefaultIssuer)})
	run.ca.Reload()
	if status, err := run.status(leaf, before.Issuer()); err != nil || status != ocsp.Good {
		t.Errorf("after a rotation: %d, %v", status, err)
	}
	run.revoke(leaf)
	run.until("the revocation is listed", func() bool { return run.lists(leaf, before.Issuer()) })
	run.until("the revocation is answered", func() bool {
		status, err := run.status(leaf, before.Issuer())
		return err == nil && status == ocsp.Revoked
	})
	if status, der := run.rely(strings.TrimPrefix(leaf.IssuingCertificateURL[0], relyBase), nil); status != http.StatusOK || !bytes.Equal(der, before.Issuer().Raw) {
		t.Errorf("the certificate of the earlier generation: %d", status)
	}
}

func TestKeyOfAnEarlierGenerationIsGone(t *testing.T) {
	run := &tester{T: t, ca: servertest.Start(t, "http_url="+relyBase)}
	earlier := run.rotate(hierarchy.RotateOptions{Files: run.files(hierarchy.DefaultIssuer)})
	run.ca.Reload()
	leaf, err := run.issue(run.ca.Client(), "a.example.test")
	run.check(err)
	run.revoke(leaf)
	run.until("the revocation is listed", func() bool { return run.lists(leaf, earlier.Issuer()) })
	run.rotate(hierarchy.RotateOptions{Files: run.files(hierarchy.DefaultIssuer)})
	run.check(os.Remove(earlier.Key))
	run.ca.Restart()
	if !run.lists(leaf, earlier.Issuer()) {
		t.Error("its last list is gone")
	}
	if _, err := run.status(leaf, earlier.Issuer()); err == nil {
		t.Error("somebody answers for it")
	}
	if _, err := run.issue(run.ca.Client(), "b.example.test"); err != nil {
		t.Errorf("the others can't issue: %v", err)
	}
}

func TestRootListIsServed(t *testing.T) {
	run := &tester{T: t, ca: servertest.Start(t)}
	path := strings.TrimPrefix(revocation.ListURL(relyBase, store.IssuerID(run.ca.Root.SubjectKeyId), 0), relyBase)
	status, der := run.rely(path, nil)
	list, err := x509.ParseRevocationList(der)
	if status != http.StatusOK || err != nil || list.CheckSignatureFrom(run.ca.Root) != nil {
		t.Fatalf("%d, %v", status, err)
	}
	if status, text := run.readiness(); status != http.StatusOK || strings.Contains(text, "warning") {
		t.Errorf("with a list for a year the server says %d %q", status, text)
	}
	_, err = hierarchy.SignRootList(hierarchy.RootListOptions{Dir: run.ca.Dir, Passphrase: []byte(servertest.RootPassphrase), Lifetime: 24 * time.Hour})
	run.check(err)
	run.ca.Reload()
	if _, again := run.rely(path, nil); bytes.Equal(again, der) {
		t.Error("a reload did not bring the new list")
	}
	if status, text := run.readiness(); status != http.StatusOK || !strings.Contains(text, "chancery root crl") {
		t.Errorf("with a list for a day the server says %d %q", status, text)
	}
	run.check(os.WriteFile(filepath.Join(run.ca.Dir, hierarchy.RootListFile), []byte("no list"), 0o600))
	run.ca.Reload()
	if status, _ := run.rely(path, nil); status != http.StatusNotFound {
		t.Errorf("a broken list is served: %d", status)
	}
}

func TestUnknownListsAreNotFound(t *testing.T) {
	run := &tester{T: t, ca: servertest.Start(t, "http_url="+relyBase)}
	id := store.IssuerID(run.ca.Root.SubjectKeyId)
	for _, path := range []string{
		"/crl/", "/crl/x.crl", "/crl/" + id, "/crl/" + id + "/1.crl", "/crl/" + id + "/0.crl", "/crl/" + id + "/-1.crl",
		"/crl/" + id + "/01.crl", "/crl/" + id + "/1/2.crl", "/ca/", "/ca/x.cer", "/ca/" + id,
	} {
		if status, body := run.rely(path, nil); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, der := run.rely("/ca/"+id+".cer", nil); status != http.StatusOK || !bytes.Equal(der, run.ca.Root.Raw) {
		t.Errorf("the root's certificate: %d", status)
	}
}
