package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/ca"
	"chancery/internal/hierarchy"
	"chancery/internal/provisioner"
	"chancery/internal/serial"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
	"chancery/internal/token"
)

// operator is a client of the CA's administration.
func operator(t testing.TB, ca *servertest.CA) *admin.Client {
	t.Helper()
	client := admin.Dial(filepath.Join(ca.Dir, "admin.sock"))
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestStoredProvisioners makes and removes a provisioner while the server runs.
func TestStoredProvisioners(t *testing.T) {
	t.Parallel()
	ci, made := newSigner(t), newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""))
	op := operator(t, ca)
	request := func() answer {
		t.Helper()
		return sign(t, ca, token.SignRequest{Token: made.token(t, claimsFor(ca, "made", "a.corp")), CSR: newCSR(t, newKey(t))})
	}
	wish := admin.NewProvisioner{Name: "made", Spec: provisioner.Spec{Type: "jwk", Keys: []string{made.public(t)}}}
	for _, test := range []struct {
		name string
		spec provisioner.Spec
		says string
	}{
		{"ci", wish.Spec, "the configuration has a provisioner ci"},
		{"a/b", wish.Spec, "is no name for a provisioner"},
		{"made", provisioner.Spec{Type: "jwk"}, "keys: either keys or jwks_url"},
		{"made", provisioner.Spec{Type: "jwk", Keys: []string{"/etc/passwd"}}, "not a file's name"},
		{"made", provisioner.Spec{Type: "jwk", Keys: wish.Spec.Keys, Profiles: []string{"gone"}}, `there is no profile "gone"`},
		{"made", provisioner.Spec{Type: "ldap"}, `there is no type "ldap"`},
	} {
		_, err := op.CreateProvisioner(t.Context(), admin.NewProvisioner{Name: test.name, Spec: test.spec})
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	request().refused(t, http.StatusForbidden, "unauthorized", "no provisioner of this CA")
	_, err := op.CreateProvisioner(t.Context(), wish)
	check(t, err)
	request().issued(t)
	if _, err := op.CreateProvisioner(t.Context(), wish); err == nil || !strings.Contains(err.Error(), "there is a provisioner made") {
		t.Errorf("made twice: %v", err)
	}
	var listed []string
	for one, err := range op.Provisioners(t.Context()) {
		check(t, err)
		listed = append(listed, one.Name+" "+one.Source+" "+one.Spec.Type)
	}
	if strings.Join(listed, ", ") != "ci configuration jwk, made stored jwk" {
		t.Errorf("listed %v", listed)
	}
	ca.Reload("log.level=info")
	request().issued(t)
	ca.Restart()
	request().issued(t)
	if _, err := op.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := op.RemoveProvisioner(t.Context(), "ci"); err == nil || !strings.Contains(err.Error(), "take it out there") {
		t.Errorf("removed from the configuration: %v", err)
	}
	_, err = op.RemoveProvisioner(t.Context(), "made")
	check(t, err)
	request().refused(t, http.StatusForbidden, "unauthorized", "no provisioner of this CA")
	if _, err := op.RemoveProvisioner(t.Context(), "made"); err == nil || !strings.Contains(err.Error(), "there is no provisioner") {
		t.Errorf("removed twice: %v", err)
	}
}

// TestProvisionerMadeAgain makes a provisioner under the name of one that is
// removed: what was issued for that is not this one's.
func TestProvisionerMadeAgain(t *testing.T) {
	t.Parallel()
	made := newSigner(t)
	ca := servertest.Start(t)
	op := operator(t, ca)
	create := func() {
		t.Helper()
		_, err := op.CreateProvisioner(t.Context(), admin.NewProvisioner{Name: "made", Spec: provisioner.Spec{Type: "jwk", Keys: []string{made.public(t)}}})
		check(t, err)
	}
	create()
	leaf, key := get(t, ca, made, "made", "tls-mutual", "a.corp")
	renew := func(leaf *x509.Certificate, key *ecdsa.PrivateKey) answer {
		t.Helper()
		return call(t, holding(t, ca, leaf, key), http.MethodPost, ca.BaseURL+"/api/v1/renew", token.RenewRequest{CSR: newCSR(t, key)})
	}
	renew(leaf, key).issued(t)
	_, err := op.RemoveProvisioner(t.Context(), "made")
	check(t, err)
	create()
	renew(leaf, key).refused(t, http.StatusForbidden, "unauthorized", "the provisioner made that the certificate was issued for is no more")
	revocation := token.RevokeRequest{Serial: leaf.SerialNumber.Text(16), Token: made.token(t, claimsFor(ca, "made", "a.corp"))}
	call(t, ca.HTTP, http.MethodPost, ca.BaseURL+"/api/v1/revoke", revocation).refused(t, http.StatusForbidden, "unauthorized", "was not issued for the provisioner made")
	next, nextKey := get(t, ca, made, "made", "tls-mutual", "a.corp")
	ca.Restart()
	renew(next, nextKey).issued(t)
	renew(leaf, key).refused(t, http.StatusForbidden, "unauthorized", "is no more")
}

// TestProvisionersShareNames refuses a configuration that takes the name of one
// that is stored.
func TestProvisionersShareNames(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := servertest.Start(t)
	_, err := operator(t, ca).CreateProvisioner(t.Context(), admin.NewProvisioner{Name: "ci", Spec: provisioner.Spec{Type: "jwk", Keys: []string{ci.public(t)}}})
	check(t, err)
	ca.WriteConfig("provisioners:\n  " + jwkSpec(t, "ci", ci, "") + "\n")
	_, err = operator(t, ca).Reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), "chancery.yaml:2: provisioners.ci: a provisioner of this name was made") {
		t.Errorf("reloaded: %v", err)
	}
	sign(t, ca, token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp")), CSR: newCSR(t, newKey(t))}).issued(t)
}

// TestPublishedKeys takes keys from a URL that is down when the server starts.
func TestPublishedKeys(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	keys := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},` + strings.TrimSuffix(ci.public(t), "}") + `,"kid":"` + ci.kid + `"}]}`))
	}))
	t.Cleanup(keys.Close)
	address := "http://" + keys.Listener.Addr().String() // which accepts, and does not answer yet
	ca := start(t, "down: {type: jwk, jwks_url: 'http://127.0.0.1:1/keys'}, up: {type: jwk, jwks_url: '"+address+"'}")
	request := func(by string) answer {
		t.Helper()
		return sign(t, ca, token.SignRequest{Token: ci.token(t, claimsFor(ca, by, "a.corp")), CSR: newCSR(t, newKey(t))})
	}
	answered := request("down")
	if answered.refused(t, http.StatusServiceUnavailable, "unavailable", "can't be fetched just now"); answered.Header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	keys.Start()
	request("up").issued(t)
	keys.Close()
	ca.Reload("log.level=info") // what was fetched stays
	request("up").issued(t)
}

// TestCrashFreesTheToken leaves on the road what a crash between intent and
// signature leaves.
func TestCrashFreesTheToken(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	first, second := start(t, jwkSpec(t, "ci", ci, "")), start(t, jwkSpec(t, "ci", ci, ""))
	c := claimsFor(first, "ci", "a.corp")
	_, leaf := sign(t, first, token.SignRequest{Token: ci.token(t, c), CSR: newCSR(t, newKey(t))}).issued(t)
	crashed := recordOf(t, first, leaf)

	second.Stop()
	number, err := serial.New(time.Now(), strings.NewReader(strings.Repeat("x", 20)))
	check(t, err)
	asked, err := json.Marshal(ca.Request{Door: "token", Provisioner: "ci", Subject: "runner", Owner: crashed.Owner, Identifiers: crashed.Identifiers, Profile: crashed.Profile})
	check(t, err)
	issuers, err := second.Store().Issuers(t.Context())
	check(t, err)
	key := store.CertificateKey{IssuerID: issuers[0].ID, Serial: number}
	check(t, second.Store().BeginIssuance(t.Context(), store.Intent{
		CertificateKey: key, Owner: crashed.Owner, OwnerExpires: time.Now().Add(time.Hour), TBS: leaf.RawTBSCertificate,
		Request: asked, Attempt: 1, Created: time.Now(), Deadline: time.Now().Add(time.Minute),
	}))
	second.Restart()
	abandoned, err := second.Store().Certificate(t.Context(), key)
	if check(t, err); !abandoned.Abandoned || abandoned.Revocation == nil {
		t.Errorf("the crash left %+v", abandoned)
	}
	sign(t, second, token.SignRequest{Token: ci.token(t, c.with(claims{"aud": second.BaseURL})), CSR: newCSR(t, newKey(t))}).issued(t)
	sign(t, second, token.SignRequest{Token: ci.token(t, c.with(claims{"aud": second.BaseURL})), CSR: newCSR(t, newKey(t))}).
		refused(t, http.StatusForbidden, "tokenUsed", "was used")
}

// TestRenewOverGenerations renews a certificate of an issuer that was replaced.
// The client holds several, and shows the one that the server asks for.
func TestRenewOverGenerations(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""))
	leaf, key := get(t, ca, ci, "ci", "tls-mutual", "a.corp")
	_, err := hierarchy.Rotate(hierarchy.RotateOptions{
		Files:      hierarchy.IssuerFiles{Dir: ca.Dir, Name: hierarchy.DefaultIssuer, Certificate: hierarchy.IntermediateFile, Key: hierarchy.KeyFile},
		Passphrase: []byte(servertest.RootPassphrase),
	})
	check(t, err)
	ca.Reload()
	show := func(shown *x509.Certificate, with any) *http.Client {
		stranger := newKey(t)
		foreign := newPKI(t).make(t, stranger, &x509.Certificate{DNSNames: []string{"a.corp"}})
		transport := ca.HTTP.Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = []tls.Certificate{
			{Certificate: [][]byte{foreign.Raw}, PrivateKey: stranger}, {Certificate: [][]byte{shown.Raw}, PrivateKey: with},
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	next := newKey(t)
	_, successor := call(t, show(leaf, key), http.MethodPost, ca.BaseURL+"/api/v1/renew", token.RenewRequest{CSR: newCSR(t, next)}).issued(t)
	if bytes.Equal(successor.AuthorityKeyId, leaf.AuthorityKeyId) {
		t.Error("the old generation still signs")
	}
	call(t, show(successor, next), http.MethodPost, ca.BaseURL+"/api/v1/renew", token.RenewRequest{CSR: newCSR(t, key)}).issued(t)
}

// TestAudiencesAreToldOnce reads which URLs a token may be made out for.
func TestAudiencesAreToldOnce(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""), "former_urls=https://old.corp")
	request := token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp").with(claims{"aud": "https://new.corp"})), CSR: newCSR(t, newKey(t))}
	problem := sign(t, ca, request).refused(t, http.StatusForbidden, "unauthorized", "https://old.corp/api/v1/sign or https://old.corp")
	_, list, _ := strings.Cut(problem.Detail, "expected is ")
	urls := strings.Split(list, " or ")
	slices.Sort(urls)
	if len(slices.Compact(slices.Clone(urls))) != len(urls) {
		t.Errorf("expected are %v", urls)
	}
	request.Token = ci.token(t, claimsFor(ca, "ci", "a.corp").with(claims{"aud": "https://old.corp"}))
	sign(t, ca, request).issued(t)
}
