package servertest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/acme/acmetest"
	"chancery/internal/admin"
	"chancery/internal/server/servertest"
)

// doorway asks whether somebody can have names under a profile. Who is nobody
// in particular, or one whom rules and grants know.
type doorway func(t *testing.T, who, profile string, names []string) (allowed bool, reason string)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

// doorRules are the same for grants and for provisioners of the same names.
const doorRules = `policy.rules=[
	{name: web, allow: ["*.corp", 10.1.0.0/16]}, {name: lab, allow: ["**.lab.corp"], profiles: [shortlived]},
	{name: secrets, deny: [secret.corp, secret.x.corp, "**.vault.corp"]},
	{name: b only, grants: [team-b], allow: ["**.team-b.corp"]}, {name: b by token, provisioners: [team-b], allow: ["**.team-b.corp"]},
	{name: all week, deny: ["**.always.corp"], times: [mon-sun]},
	{name: c never, grants: [team-c], deny: ["*.corp"]}, {name: c never by token, provisioners: [team-c], deny: ["*.corp"]}]`

// TestDoorsAnswerAlike asks the same of every door, and of "policy test".
func TestDoorsAnswerAlike(t *testing.T) {
	t.Parallel()
	key, teams := newKey(t), []string{"team-b", "team-c"}
	ca := servertest.StartConstrained(t, []string{"corp", "127.0.0.0/8", "10.0.0.0/8"}, "policy.default=deny", "policy.allow_single_label=false", doorRules, provisioners(t, key, append(teams, "anybody")))
	operator := admin.Dial(filepath.Join(ca.Dir, "admin.sock"))
	t.Cleanup(func() { _ = operator.Close() })
	clients := map[string]*acmetest.Client{"": ca.Client(), "team-a": granted(t, ca, operator, "team-a", admin.Grant{
		Allow: []string{"*.team-a.corp", "**.lab.corp", "10.2.0.0/16"}, Profiles: []string{"tls-server", "tls-mutual"},
	})}
	for _, name := range teams {
		clients[name] = granted(t, ca, operator, name, admin.Grant{Labels: map[string]string{"team": name}})
	}
	doors := map[string]doorway{
		"acme": func(t *testing.T, who, profile string, names []string) (bool, string) {
			return order(t, clients[who], profile, names)
		},
		"token": func(t *testing.T, who, profile string, names []string) (bool, string) {
			return sign(t, ca, key, who, profile, names)
		},
	}
	for test, ask := range map[string]func(who string) admin.PolicyQuestion{
		"policy test of an account": func(who string) admin.PolicyQuestion {
			return admin.PolicyQuestion{Account: filepath.Base(clients[who].AccountURL)}
		},
		"policy test of a grant":       func(who string) admin.PolicyQuestion { return admin.PolicyQuestion{Grant: who} },
		"policy test of a provisioner": func(who string) admin.PolicyQuestion { return admin.PolicyQuestion{Provisioner: provisionerOf(who)} },
	} {
		doors[test] = func(t *testing.T, who, profile string, names []string) (bool, string) {
			question := ask(who)
			question.Names, question.Profile = names, profile
			answer, err := operator.TestPolicy(t.Context(), question)
			check(t, err)
			return answer.Allowed, answer.Reason
		}
	}
	for _, test := range doorTests() {
		for door, ask := range doors {
			if test.who == "team-a" && (door == "token" || door == "policy test of a provisioner") {
				continue // only grants allow so
			}
			allowed, reason := ask(t, test.who, test.profile, test.names)
			if allowed != (test.refused == "") || !strings.Contains(reason, test.refused) {
				t.Errorf("%s, %+v: %v %q", door, test, allowed, reason)
			}
		}
	}
}

// doorTest is a question to every door.
type doorTest struct {
	who, profile string
	names        []string
	refused      string // what is said; "" when it is allowed
}

func doorTests() []doorTest {
	return []doorTest{
		{"", "", []string{"a.corp", "10.1.2.3"}, ""},
		{"", "", []string{"*.x.corp"}, `the rule "secrets" denies secret.x.corp`},
		{"", "", []string{"a.corp", "secret.corp"}, `"secret.corp": the rule "secrets" denies secret.corp`},
		{"", "", []string{"corp"}, "allow_single_label"},
		{"", "", []string{"_a.corp"}, `"_a.corp": `},
		{"", "", []string{"a.b.corp"}, "no rule allows it"},
		{"", "", []string{"a.lab.corp"}, "no rule allows it"},
		{"", "shortlived", []string{"a.lab.corp"}, ""},
		{"", "", []string{"10.2.0.1"}, "no rule allows it"},
		{"team-b", "", []string{"x.y.team-b.corp", "a.corp"}, ""},
		{"team-b", "", []string{"x.vault.corp"}, `the rule "secrets" denies **.vault.corp`},
		{"team-c", "", []string{"a.corp"}, `the rule "c never`},
		{"", "", []string{"x.team-b.corp"}, "no rule allows it"},
		{"", "", []string{"a.always.corp"}, `the rule "all week" denies **.always.corp`},
		{"", "", []string{"a.outside.test"}, "name constraints"},
		{"team-a", "", []string{"10.2.0.1", "a.lab.corp"}, ""},
		{"team-a", "", []string{"a.corp"}, `the grant "team-a" allows only`},
		{"team-a", "shortlived", []string{"a.lab.corp"}, `does not have the profile "shortlived"`},
	}
}

// provisioners is a setting with provisioners that all take tokens of one key.
func provisioners(t testing.TB, key *ecdsa.PrivateKey, names []string) string {
	t.Helper()
	public, err := jose.JSONWebKey{Key: key.Public()}.MarshalJSON()
	check(t, err)
	specs := make([]string, len(names))
	for i, name := range names {
		specs[i] = fmt.Sprintf("%s: {type: jwk, keys: ['%s']}", name, public)
	}
	return "provisioners={" + strings.Join(specs, ", ") + "}"
}

// granted is a client whose account came with a grant of that name.
func granted(t testing.TB, ca *servertest.CA, operator *admin.Client, name string, grant admin.Grant) *acmetest.Client {
	t.Helper()
	binding, err := operator.CreateBinding(t.Context(), admin.NewBinding{Name: name, Grant: grant})
	check(t, err)
	secret, err := base64.RawURLEncoding.DecodeString(binding.HMAC)
	check(t, err)
	client := ca.NewClient()
	header := map[string]any{"alg": "HS256", "kid": binding.KID, "url": client.Directory.NewAccount}
	bound := json.RawMessage(acmetest.MAC(secret, header, acmetest.JWK(client.Key.Public())))
	answered, err := client.Register(t.Context(), map[string]any{"externalAccountBinding": bound})
	check(t, err)
	if problem := answered.Problem(); problem != nil {
		t.Fatal(problem)
	}
	return client
}

func order(t *testing.T, client *acmetest.Client, profile string, names []string) (bool, string) {
	t.Helper()
	identifiers := acmetest.DNS(names...)
	for i := range identifiers {
		if strings.HasPrefix(identifiers[i].Value, "10.") {
			identifiers[i].Type = "ip"
		}
	}
	_, err := client.NewOrder(t.Context(), identifiers, map[string]any{"profile": profile})
	if problem, ok := errors.AsType[*acmetest.Problem](err); ok {
		return false, problem.Detail
	}
	check(t, err)
	return true, ""
}

func provisionerOf(who string) string {
	if who == "" {
		return "anybody"
	}
	return who
}

func sign(t *testing.T, ca *servertest.CA, key *ecdsa.PrivateKey, who, profile string, names []string) (bool, string) {
	t.Helper()
	return present(t, ca, newToken(t, key, ca.BaseURL, who, names), profile)
}

// newToken is a token of a provisioner that was made with the key.
func newToken(t *testing.T, key *ecdsa.PrivateKey, audience, who string, names []string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	check(t, err)
	claims, err := json.Marshal(map[string]any{
		"iss": provisionerOf(who), "aud": audience, "sub": "test", "sans": names, "jti": rand.Text(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	check(t, err)
	signed, err := signer.Sign(claims)
	check(t, err)
	text, err := signed.CompactSerialize()
	check(t, err)
	return text
}

// present asks for a certificate by a token.
func present(t *testing.T, ca *servertest.CA, text, profile string) (bool, string) {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(t))
	check(t, err)
	body, err := json.Marshal(map[string]any{"token": text, "csr": csr, "profile": profile})
	check(t, err)
	response, err := ca.HTTP.Post(ca.BaseURL+"/api/v1/sign", "application/json", bytes.NewReader(body))
	check(t, err)
	defer response.Body.Close()
	var problem struct{ Detail string }
	check(t, json.NewDecoder(response.Body).Decode(&problem))
	return response.StatusCode == http.StatusCreated, problem.Detail
}
