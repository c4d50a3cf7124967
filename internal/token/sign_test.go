package token_test

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"chancery/internal/store"
	"chancery/internal/token"
)

func TestOneTokenOneCertificate(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""))
	names := []string{"Web.corp", "10.0.0.1", "uri:spiffe://corp/web", "email:ops@corp"}
	key := newKey(t)
	request := token.SignRequest{
		Token: ci.token(t, claimsFor(ca, "ci", names...)), CSR: newCSR(t, key, names...),
		Profile: "everything",
	}
	sign(t, ca, request).refused(t, http.StatusBadRequest, "invalidProfile", `there is no profile "everything"`)
	request.Profile = "tls-server"
	sign(t, ca, request).refused(t, http.StatusBadRequest, "unsupportedIdentifier", "")
	request.Profile = "" // tls-server does not take all of these names
	if made, _ := sign(t, ca, request).issued(t); made.Profile != "tls-mutual" || len(made.Names) != len(names) {
		t.Errorf("the certificate for all types of names is %+v", made)
	}

	request.Token = ci.token(t, claimsFor(ca, "ci", "Web.corp", "10.0.0.1"))
	request.CSR = newCSR(t, key, "web.corp", "10.0.0.1")
	made, leaf := sign(t, ca, request).issued(t)
	if !slices.Equal(made.Names, []string{"dns:web.corp", "ip:10.0.0.1"}) || made.Profile != "tls-server" || len(made.Serial) != 40 {
		t.Errorf("the certificate is %+v", made)
	}
	roots, chain := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca.Root)
	chain.AppendCertsFromPEM([]byte(made.Chain))
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: "web.corp", Roots: roots, Intermediates: chain}); err != nil {
		t.Error(err)
	}
	recorded := recordOf(t, ca, leaf)
	if recorded.Requester != "token:ci/runner" || recorded.Owner.Kind != store.OwnerToken || recorded.Profile != "tls-server" {
		t.Errorf("recorded %+v", recorded)
	}
	sign(t, ca, request).refused(t, http.StatusForbidden, "tokenUsed", "get a new one")
}

func TestNamesAndProfiles(t *testing.T) {
	t.Parallel()
	ci, narrow := newSigner(t), newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, "")+", "+jwkSpec(t, "narrow", narrow, ", profiles: [people, tls-mutual], labels: {team: a}"),
		`profiles={people: {restricted: true, validity: {default: 1h}, san: {types: [email, uri]}, extended_key_usages: [clientAuth], subject: {organization: [{cel: grant.labels.team}]}}}`)
	key := newKey(t)
	request := func(s *signer, by, profile string, c claims, names ...string) answer {
		t.Helper()
		all := claimsFor(ca, by, "a.corp").with(c)
		return sign(t, ca, token.SignRequest{Token: s.token(t, all), CSR: newCSR(t, key, names...), Profile: profile})
	}
	_, leaf := request(ci, "ci", "", nil).issued(t)
	if !slices.Equal(leaf.DNSNames, []string{"a.corp"}) {
		t.Errorf("a CSR without names gets %v", leaf.DNSNames)
	}
	request(ci, "ci", "", nil, "a.corp", "b.corp").refused(t, http.StatusBadRequest, "badCSR", "the CSR has the names [dns:a.corp dns:b.corp], and the token stands for [dns:a.corp]")
	request(ci, "ci", "", claims{"sans": []string{"a.corp", "b.corp"}}, "a.corp").refused(t, http.StatusBadRequest, "badCSR", "must be the same")
	request(ci, "ci", "", claims{"sans": []string{}}).refused(t, http.StatusBadRequest, "malformed", "stands for no name")
	request(ci, "ci", "people", claims{"sans": "email:a@corp"}).refused(t, http.StatusBadRequest, "invalidProfile", "people")
	request(ci, "ci", "tls-server", claims{"profile": "tls-mutual"}).refused(t, http.StatusBadRequest, "invalidProfile", "the token is for the profile")
	request(narrow, "narrow", "tls-server", nil).refused(t, http.StatusBadRequest, "invalidProfile", "the provisioner narrow gives no certificates of the profile")

	made, leaf := request(narrow, "narrow", "", claims{"sans": []string{"email:a@corp", "uri:spiffe://corp/a"}}).issued(t)
	if made.Profile != "people" || !slices.Equal(leaf.EmailAddresses, []string{"a@corp"}) || len(leaf.URIs) != 1 || !slices.Equal(leaf.Subject.Organization, []string{"a"}) {
		t.Errorf("%+v: %v", made, leaf.Subject)
	}
	made, _ = request(narrow, "narrow", "", claims{"profile": "tls-mutual"}).issued(t)
	if made.Profile != "tls-mutual" {
		t.Errorf("the profile is %s", made.Profile)
	}
	answered := sign(t, ca, token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp")), CSR: csrOf(t, commonName("a.corp"), key)})
	if _, leaf := answered.issued(t); leaf.Subject.CommonName != "a.corp" {
		t.Errorf("the subject is %s", leaf.Subject)
	}
	sign(t, ca, token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp")), CSR: newCSR(t, key), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour)}).
		refused(t, http.StatusBadRequest, "malformed", "notAfter")
}

func TestPolicyAndLimits(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""), "limits.certificates_per_set=1/1h",
		`policy.rules=[{name: fence, doors: [token], deny: ["**.secret.corp"]}]`)
	key := newKey(t)
	request := func(names ...string) answer {
		t.Helper()
		return sign(t, ca, token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", names...)), CSR: newCSR(t, key)})
	}
	problem := request("a.secret.corp", "b.corp", "c.secret.corp").refused(t, http.StatusForbidden, "rejectedIdentifier", "fence")
	if len(problem.Subproblems) != 2 || problem.Subproblems[1].Identifier.Value != "c.secret.corp" {
		t.Errorf("the subproblems are %+v", problem.Subproblems)
	}
	request("b.corp").issued(t)
	answered := request("b.corp")
	if answered.refused(t, http.StatusTooManyRequests, "rateLimited", "certificates for exactly these names"); answered.Header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
}

// TestTheTokenGoesOn uses a token again that came to nothing.
func TestTheTokenGoesOn(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""))
	request := token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp")), CSR: newCSR(t, newKey(t), "b.corp")}
	sign(t, ca, request).refused(t, http.StatusBadRequest, "badCSR", "must be the same")
	request.CSR = newCSR(t, newKey(t))
	sign(t, ca, request).issued(t)
}

func TestReadingIsForAll(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ", profiles: [tls-mutual]"))
	leaf, _ := get(t, ca, ci, "ci", "", "a.corp")
	read := func(path string, into any) {
		t.Helper()
		answered := call(t, ca.HTTP, http.MethodGet, ca.BaseURL+"/api/v1/"+path, nil)
		if answered.Status != http.StatusOK {
			t.Errorf("%s answers %d: %s", path, answered.Status, answered.Body)
		}
		check(t, json.Unmarshal(answered.Body, into))
	}
	var roots token.Roots
	if read("roots", &roots); len(roots.Roots) != 1 {
		t.Errorf("the roots are %+v", roots)
	}
	var profiles token.Profiles
	if read("profiles", &profiles); len(profiles.Profiles) < 4 {
		t.Errorf("the profiles are %+v", profiles)
	}
	var provisioners token.Provisioners
	if read("provisioners", &provisioners); len(provisioners.Provisioners) != 1 || provisioners.Provisioners[0].Name != "ci" || provisioners.Provisioners[0].Type != "jwk" {
		t.Errorf("the provisioners are %+v", provisioners)
	}
	var window token.Renewal
	read("renewal/"+leaf.SerialNumber.Text(16), &window)
	middle := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
	if window.SuggestedWindow.Start.After(middle) || window.SuggestedWindow.End.Before(middle) {
		t.Errorf("the window is %+v", window)
	}
}

// TestBodiesAreReadOneWay sends bodies that readers could take for different
// requests.
func TestBodiesAreReadOneWay(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""))
	good := text(t, token.SignRequest{Token: ci.token(t, claimsFor(ca, "ci", "a.corp")), CSR: newCSR(t, newKey(t))})
	for body, says := range map[string]string{
		`{"token":"x",` + good[1:]: "one is there twice",
		good + "}":                 "something follows the object",
		good + " {}":               "something follows the object",
		good + "x":                 "something follows the object",
	} {
		call(t, ca.HTTP, http.MethodPost, ca.BaseURL+"/api/v1/sign", body).refused(t, http.StatusBadRequest, "malformed", says)
	}
	call(t, ca.HTTP, http.MethodPost, ca.BaseURL+"/api/v1/sign", good+"\n").issued(t)
}
