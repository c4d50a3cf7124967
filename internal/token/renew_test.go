package token_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/hierarchy"
	"chancery/internal/keys"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
	"chancery/internal/token"
)

// renew asks for a successor, showing a certificate.
func renew(t testing.TB, ca *servertest.CA, leaf *x509.Certificate, key *ecdsa.PrivateKey, body any) answer {
	t.Helper()
	return call(t, holding(t, ca, leaf, key), http.MethodPost, ca.BaseURL+"/api/v1/renew", body)
}

func TestRenew(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""), "limits.certificates_per_set=1/1h", "profiles={mixed: {san: {types: [dns, uri]}}}")
	leaf, key := get(t, ca, ci, "ci", "mixed", "a.corp", "uri:spiffe://corp/a")
	next := newKey(t)
	made, successor := renew(t, ca, leaf, key, token.RenewRequest{CSR: newCSR(t, next, "a.corp", "uri:spiffe://corp/a"), NotAfter: time.Now().Add(24 * time.Hour)}).issued(t)
	if made.Profile != "mixed" || !slices.Equal(successor.DNSNames, leaf.DNSNames) || len(successor.URIs) != 1 || !next.PublicKey.Equal(successor.PublicKey) || time.Until(successor.NotAfter) > 24*time.Hour {
		t.Errorf("the successor is %+v", made)
	}
	recorded := recordOf(t, ca, successor)
	if recorded.Requester != "token:ci/runner" || recorded.Replaces == nil || recorded.Replaces.Serial.Big().Cmp(leaf.SerialNumber) != 0 {
		t.Errorf("recorded %+v", recorded)
	}
	renew(t, ca, leaf, key, token.RenewRequest{CSR: newCSR(t, next)}).refused(t, http.StatusTooManyRequests, "rateLimited", "exactly these names")
	renew(t, ca, successor, next, token.RenewRequest{CSR: newCSR(t, next)}).issued(t)
	renew(t, ca, successor, next, token.RenewRequest{CSR: newCSR(t, next, "b.corp")}).refused(t, http.StatusBadRequest, "badCSR", "the certificate has")
	renew(t, ca, successor, next, token.RenewRequest{}).refused(t, http.StatusBadRequest, "malformed", `"csr" is missing`)
}

func TestWhoCannotRenew(t *testing.T) {
	t.Parallel()
	ci, once := newSigner(t), newSigner(t)
	specs := jwkSpec(t, "ci", ci, "")
	ca := start(t, specs+", "+jwkSpec(t, "once", once, ", no_renewal: true"))
	request := token.RenewRequest{CSR: newCSR(t, newKey(t))}
	refused := func(leaf *x509.Certificate, key *ecdsa.PrivateKey, says string) {
		t.Helper()
		renew(t, ca, leaf, key, request).refused(t, http.StatusForbidden, "unauthorized", says)
	}
	call(t, ca.HTTP, http.MethodPost, ca.BaseURL+"/api/v1/renew", request).refused(t, http.StatusForbidden, "unauthorized", "shows no client certificate")
	old, stranger := newPKI(t), newKey(t)
	template := &x509.Certificate{DNSNames: []string{"a.corp"}, KeyUsage: x509.KeyUsageDigitalSignature}
	refused(old.make(t, stranger, template), stranger, "is not from this CA")

	leaf, key := get(t, ca, ci, "ci", "tls-mutual", "a.corp")
	template = &x509.Certificate{DNSNames: []string{"a.corp"}, AuthorityKeyId: leaf.AuthorityKeyId}
	old.root.SubjectKeyId = leaf.AuthorityKeyId
	refused(old.make(t, stranger, template), stranger, "is not signed by the issuer that it names")

	refused(issueBeside(t, ca, stranger), stranger, "is not in the inventory")

	_, err := operator(t, ca).RevokeCertificate(t.Context(), leaf.SerialNumber.Text(16), "superseded")
	check(t, err)
	refused(leaf, key, "is revoked")
	leaf, key = get(t, ca, once, "once", "tls-mutual", "a.corp")
	refused(leaf, key, "are not renewed by themselves")
	leaf, key = get(t, ca, ci, "ci", "tls-mutual", "a.corp")
	ca.Reload("provisioners={" + jwkSpec(t, "ci", ci, ", profiles: [tls-server]") + "}")
	renew(t, ca, leaf, key, request).refused(t, http.StatusBadRequest, "invalidProfile", "no longer gives certificates of the profile tls-mutual")

	leaf, key = byACME(t, ca)
	refused(leaf, key, "was not issued by a token")
}

func keyOf(leaf *x509.Certificate) store.CertificateKey {
	key := store.CertificateKey{IssuerID: store.IssuerID(leaf.AuthorityKeyId)}
	leaf.SerialNumber.FillBytes(key.Serial[:])
	return key
}

// issueBeside signs a certificate with the CA's own key, past its inventory.
func issueBeside(t testing.TB, ca *servertest.CA, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	loaded, err := hierarchy.Load(ca.Dir)
	check(t, err)
	signing, err := keys.ReadFile(filepath.Join(ca.Dir, hierarchy.KeyFile))
	check(t, err)
	issuer := &oldPKI{signing.(*ecdsa.PrivateKey), loaded.Issuer()}
	return issuer.make(t, key, &x509.Certificate{DNSNames: []string{"a.corp"}})
}

// byACME gets a certificate at the ACME door.
func byACME(t testing.TB, ca *servertest.CA) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	chain, err := ca.Client().Issue(t.Context(), acmetest.DNS("a.example.test"), key, "http-01", ca.Web.HTTP01)
	check(t, err)
	leaf, err := x509.ParseCertificate(chain[0])
	check(t, err)
	return leaf, key
}

// revoke asks for the end of a certificate.
func revoke(t testing.TB, ca *servertest.CA, client *http.Client, body any) answer {
	t.Helper()
	return call(t, client, http.MethodPost, ca.BaseURL+"/api/v1/revoke", body)
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	ci, other := newSigner(t), newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, "")+", "+jwkSpec(t, "other", other, ""))
	first, key := get(t, ca, ci, "ci", "tls-mutual", "a.corp")
	second, secondKey := get(t, ca, ci, "ci", "", "a.corp", "b.corp")
	holder := holding(t, ca, first, key)
	forbidden := func(client *http.Client, request token.RevokeRequest, says string) {
		t.Helper()
		revoke(t, ca, client, request).refused(t, http.StatusForbidden, "unauthorized", says)
	}
	forbidden(ca.HTTP, token.RevokeRequest{Serial: first.SerialNumber.Text(16)}, "shows no client certificate")
	forbidden(holder, token.RevokeRequest{Serial: second.SerialNumber.Text(16)}, "is not the one to revoke")
	forbidden(holder, token.RevokeRequest{Certificate: encode(second)}, "is not the one to revoke")
	revoke(t, ca, holder, token.RevokeRequest{Reason: "boredom"}).refused(t, http.StatusBadRequest, "badRevocationReason", "boredom")
	revoke(t, ca, holder, token.RevokeRequest{Certificate: encode(first), Reason: "superseded"}).succeeded(t)
	if found := recordOf(t, ca, first); found.Revocation == nil || found.Revocation.Reason != 4 {
		t.Errorf("the record is %+v", found)
	}
	forbidden(holder, token.RevokeRequest{}, "is revoked")

	bearing := func(s *signer, by string, names ...string) token.RevokeRequest {
		return token.RevokeRequest{Serial: second.SerialNumber.Text(16), Token: s.token(t, claimsFor(ca, by, names...))}
	}
	forbidden(ca.HTTP, bearing(ci, "ci", "a.corp"), "has the name dns:b.corp, which the token does not stand for")
	forbidden(ca.HTTP, bearing(other, "other", "a.corp", "b.corp"), "was not issued for the provisioner other")
	request := bearing(ci, "ci", "a.corp", "b.corp", "c.corp")
	request.Serial = "01"
	revoke(t, ca, ca.HTTP, request).refused(t, http.StatusNotFound, "notFound", "there is no certificate")
	request.Serial = "x"
	revoke(t, ca, ca.HTTP, request).refused(t, http.StatusBadRequest, "malformed", "is no serial number")
	request.Serial, request.Certificate = "", "x"
	revoke(t, ca, ca.HTTP, request).refused(t, http.StatusBadRequest, "malformed", "is no PEM")
	request.Certificate = encode(issueBeside(t, ca, secondKey))
	revoke(t, ca, ca.HTTP, request).refused(t, http.StatusNotFound, "notFound", "there is no certificate")
	request.Certificate = encode(second)
	revoke(t, ca, ca.HTTP, request).succeeded(t)
	revoke(t, ca, ca.HTTP, request).refused(t, http.StatusConflict, "alreadyRevoked", "already revoked")
}

func encode(leaf *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
}

func recordOf(t testing.TB, ca *servertest.CA, leaf *x509.Certificate) store.Certificate {
	t.Helper()
	found, err := ca.Store().Certificate(t.Context(), keyOf(leaf))
	check(t, err)
	return found
}

func (a answer) succeeded(t testing.TB) {
	t.Helper()
	if a.Status != http.StatusOK {
		t.Errorf("answered %d: %s", a.Status, a.Body)
	}
}

// TestOtherSitesCannotRevoke has a browser with a client certificate visit a
// page that sends it here.
func TestOtherSitesCannotRevoke(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""))
	leaf, key := get(t, ca, ci, "ci", "tls-mutual", "a.corp")
	for name, value := range map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ca.BaseURL+"/api/v1/revoke", strings.NewReader("{}"))
		check(t, err)
		request.Header.Set("Content-Type", "text/plain")
		request.Header.Set(name, value)
		response, err := holding(t, ca, leaf, key).Do(request)
		check(t, err)
		body, err := io.ReadAll(response.Body)
		check(t, err)
		check(t, response.Body.Close())
		answer{response.StatusCode, response.Header, body}.refused(t, http.StatusForbidden, "unauthorized", "another site's page")
	}
	if found := recordOf(t, ca, leaf); found.Revocation != nil {
		t.Error("the certificate is revoked")
	}
}
