package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/server/servertest"
	"chancery/internal/token"
)

// issuer signs tokens and publishes its key, as identity providers, clouds and
// clusters do. It also reviews tokens, as API servers do.
type issuer struct {
	*signer
	URL string

	mu     sync.Mutex
	review func(token string) string // the status of the answer; guarded by mu
	code   int                       // of that answer, 0 for 201; guarded by mu
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	i := &issuer{signer: signerOf(t, key, jose.RS256)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+"/keys")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[%s,"kid":%q,"use":"sig"}]}`, strings.TrimSuffix(i.public(t), "}"), i.kid)
	})
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Spec struct{ Token string } }
		if json.NewDecoder(r.Body).Decode(&asked) != nil {
			return
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		w.WriteHeader(max(i.code, http.StatusCreated))
		fmt.Fprintf(w, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":%s}`, i.review(asked.Spec.Token))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

// subjectOf is the subject of a token that the issuer has signed, whatever that
// says besides; "" for others.
func (i *issuer) subjectOf(t testing.TB, token string) string {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{i.algorithm})
	if err != nil || signed.Signatures[0].Header.KeyID != i.kid {
		return ""
	}
	var said struct{ Sub string }
	if payload, err := signed.Verify(i.key.Public()); err == nil {
		check(t, json.Unmarshal(payload, &said))
	}
	return said.Sub
}

// made is a case of a token whose claims are changed.
type made struct {
	name    string
	changes claims
	status  int
	typ     string
	says    string
}

const (
	forbidden = http.StatusForbidden
	bad400    = http.StatusBadRequest
)

// badOfIssuers are those that are wrong whoever issues tokens.
func badOfIssuers(t testing.TB, s, other *signer, good func() claims, longest time.Duration) []bad {
	t.Helper()
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	list := changed(t, s, good, []made{
		{"wrong audience", claims{"aud": "https://other.corp"}, forbidden, "unauthorized", `the token is for "https://other.corp"; expected is `},
		{"audience that begins alike", claims{"aud": textOf(good()["aud"]) + "/x"}, forbidden, "unauthorized", "the token is for"},
		{"no audience", claims{"aud": nil}, bad400, "malformed", `no claim "aud"`},
		{"audience of numbers", claims{"aud": 7}, bad400, "malformed", `"aud"`},
		{"wrong issuer", claims{"iss": "https://evil.example"}, forbidden, "unauthorized", `the token is from "https://evil.example"`},
		{"issuer that begins alike", claims{"iss": textOf(good()["iss"]) + ".evil.example"}, forbidden, "unauthorized", "the token is from"},
		{"no issuer", claims{"iss": nil}, bad400, "malformed", `no claim "iss"`},
		{"expired", claims{"iat": ago(3 * time.Minute), "nbf": nil, "exp": ago(2 * time.Minute)}, forbidden, "unauthorized", "the token expired at"},
		{"not yet valid", claims{"nbf": ago(-2 * time.Minute)}, forbidden, "unauthorized", "the token is good from"},
		{"made in the future", claims{"iat": ago(-2 * time.Minute)}, forbidden, "unauthorized", "the token is good from"},
		{"good for too long", claims{"exp": ago(-longest - time.Hour)}, forbidden, "unauthorized", "at most"},
		{"no exp", claims{"exp": nil}, bad400, "malformed", `no claim "exp"`},
		{"exp is text", claims{"exp": "soon"}, bad400, "malformed", `"exp"`},
		{"a number beyond all", claims{"big": json.RawMessage("1e999")}, bad400, "malformed", "can't be read"},
		{"one megabyte", claims{"pad": strings.Repeat("x", 1<<20)}, http.StatusRequestEntityTooLarge, "tooLarge", "octets"},
		{"too long", claims{"pad": strings.Repeat("x", 100<<10)}, bad400, "malformed", "at most 65536"},
	})
	payload := text(t, good())
	whole := s.token(t, good())
	parts := strings.Split(whole, ".")
	changedPayload := base64url([]byte(strings.Replace(payload, `"exp"`, `"x":1,"exp"`, 1)))
	list = append(list,
		bad{"claim twice", s.sign(t, []byte(`{"iss":"x",`+payload[1:])), bad400, "malformed", "one is there twice"},
		bad{"line break", whole[:20] + "\n" + whole[20:], bad400, "malformed", "the token is no JWT"},
		bad{"payload changed", parts[0] + "." + changedPayload + "." + parts[2], forbidden, "unauthorized", "signature"},
		bad{"no signature", parts[0] + "." + parts[1] + ".", forbidden, "unauthorized", "signature"})
	return append(list, badKeys(t, s, other, good)...)
}

func textOf(value any) string {
	text, _ := value.(string)
	return text
}

// changed makes the tokens of cases.
func changed(t testing.TB, s *signer, good func() claims, cases []made) (list []bad) {
	t.Helper()
	for _, one := range cases {
		list = append(list, bad{one.name, s.token(t, good().with(one.changes)), one.status, one.typ, one.says})
	}
	return list
}

// bearer is a way to come by tokens, for the tests that all of them share.
type bearer struct {
	ca    *servertest.CA
	by    string // the provisioner
	issue *signer
	good  func() claims // of another one each time
	own   []bad         // what is wrong for this type
	once  bool          // a token is spent
	names string
}

// refuses sends all that is wrong, and then what is good.
func (b *bearer) refuses(t *testing.T, longest time.Duration) {
	t.Helper()
	other := newSigner(t)
	list := slices.Concat(badOfIssuers(t, b.issue, other, b.good, longest), b.own)
	refuseAll(t, b.ca, b.by, list, func() string { return b.issue.token(t, b.good()) })
}

// serves brings one token twice, the second time without saying whose it is.
func (b *bearer) serves(t *testing.T) {
	t.Helper()
	request := token.SignRequest{Token: b.issue.token(t, b.good().with(claims{"n": random()})), CSR: newCSR(t, newKey(t))}
	made, _ := sign(t, b.ca, request).issued(t)
	if found := strings.Join(made.Names, " "); found != b.names {
		t.Errorf("the names are %s", found)
	}
	request.Provisioner = b.by
	if again := sign(t, b.ca, request); b.once {
		again.refused(t, forbidden, "tokenUsed", "was used")
	} else {
		again.issued(t)
	}
}

func TestBadTokensOfOIDC(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	ca := start(t, "people: {type: oidc, issuer: '"+i.URL+"', client_id: chancery, domains: [corp.example], groups: [ops]}")
	b := &bearer{ca: ca, by: "people", issue: i.signer, once: true, names: "email:ann@corp.example"}
	b.good = func() claims {
		now := time.Now().Unix()
		return claims{
			"iss": i.URL, "aud": "chancery", "sub": "248289761001", "iat": now, "exp": now + 3600, "sid": random(),
			"email": "ann@corp.example", "email_verified": true, "groups": []string{"ops", "dev"},
		}
	}
	b.own = changed(t, i.signer, b.good, []made{
		{"no subject", claims{"sub": nil}, bad400, "malformed", `no claim "sub"`},
		{"no iat", claims{"iat": nil}, bad400, "malformed", `no claim "iat"`},
		{"for others, too", claims{"aud": []string{"chancery", "wiki"}}, forbidden, "unauthorized", `no claim "azp"`},
		{"asked for by others", claims{"azp": "wiki"}, forbidden, "unauthorized", `was made for "wiki"`},
		{"a logout token", claims{"events": claims{"http://schemas.openid.net/event/backchannel-logout": claims{}}}, forbidden, "unauthorized", "logout tokens"},
		{"an access token by its claim", claims{"typ": "Bearer"}, forbidden, "unauthorized", "an ID token is needed"},
		{"address not verified", claims{"email_verified": false}, forbidden, "unauthorized", "no verified email address"},
		{"address verified, perhaps", claims{"email_verified": nil}, forbidden, "unauthorized", "no verified email address"},
		{"another domain", claims{"email": "ann@sub.corp.example"}, forbidden, "unauthorized", "is not in corp.example"},
		{"domain in the name", claims{"email": "ann@corp.example@evil.example"}, forbidden, "unauthorized", "is not in corp.example"},
		{"an address of lines", claims{"email": "a\n@corp.example"}, forbidden, "unauthorized", "can't be in a certificate"},
		{"another group", claims{"groups": []string{"dev"}}, forbidden, "unauthorized", "one of ops is needed"},
		{"no group", claims{"groups": nil}, forbidden, "unauthorized", "one of ops is needed"},
		{"jti is a number", claims{"jti": 7}, bad400, "malformed", `"jti"`},
	})
	access := raw(`{"alg":"RS256","typ":"at+jwt","kid":"`+i.kid+`"}`, text(t, b.good()), i.over(t))
	b.own = append(b.own, bad{"an access token", access, forbidden, "unauthorized", "at+jwt"})
	b.refuses(t, 24*time.Hour)
	b.serves(t)
}

// clusterClaims are those of a pod's token.
func (i *issuer) clusterClaims(ca *servertest.CA) func() claims {
	return func() claims {
		now := time.Now().Unix()
		return claims{
			"iss": i.URL, "aud": ca.BaseURL, "sub": "system:serviceaccount:web:front", "iat": now, "nbf": now, "exp": now + 3600, "jti": random(),
			"kubernetes.io": claims{"namespace": "web", "serviceaccount": claims{"name": "front"}, "pod": claims{"name": "front-0"}},
		}
	}
}

// badOfClusters are tokens that are no pod's, or another's.
func badOfClusters() []made {
	account := func(namespace, name string) claims {
		return claims{
			"sub":           "system:serviceaccount:" + namespace + ":" + name,
			"kubernetes.io": claims{"namespace": namespace, "serviceaccount": claims{"name": name}},
		}
	}
	return []made{
		{"a user", claims{"sub": "system:admin"}, forbidden, "unauthorized", "a service account is needed"},
		{"a node", claims{"sub": "system:node:n1"}, forbidden, "unauthorized", "a service account is needed"},
		{"a path", account("web", "../../sa/root"), forbidden, "unauthorized", "a service account is needed"},
		{"no details", claims{"kubernetes.io": nil}, forbidden, "unauthorized", "kubernetes.io"},
		{"details of another", claims{"kubernetes.io": claims{"namespace": "web", "serviceaccount": claims{"name": "back"}}}, forbidden, "unauthorized", "kubernetes.io"},
		{"another namespace", account("kube-system", "front"), forbidden, "unauthorized", "is in the namespace kube-system"},
		{"another account", account("web", "back"), forbidden, "unauthorized", "is web/back"},
		{"a secret's, without end", claims{"exp": nil}, bad400, "malformed", `no claim "exp"`},
		{"extended for old clients", claims{"exp": time.Now().Unix() + 365*86400}, forbidden, "unauthorized", "at most"},
	}
}

const clusterRules = ", trust_domain: corp.example, namespaces: [web], service_accounts: [web/front]}"

func TestBadTokensOfKubernetes(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	ca := start(t, "pods: {type: kubernetes, issuer: '"+i.URL+"'"+clusterRules)
	b := &bearer{ca: ca, by: "pods", issue: i.signer, good: i.clusterClaims(ca), names: "uri:spiffe://corp.example/ns/web/sa/front"}
	b.own = changed(t, i.signer, b.good, badOfClusters())
	b.refuses(t, 24*time.Hour)
	b.serves(t)
}

// TestBadTokensOfTokenReview has an API server say that all tokens are good that
// the cluster has signed: that alone is not enough.
func TestBadTokensOfTokenReview(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	ca := start(t, "pods: {type: kubernetes, issuer: '"+i.URL+"', api_server: '"+i.URL+"'"+clusterRules)
	const front = "system:serviceaccount:web:front"
	accept := `{"authenticated":true,"audiences":["` + ca.BaseURL + `"],"user":{"username":"` + front + `"}}`
	i.review = func(token string) string {
		if subject := i.subjectOf(t, token); subject != "" {
			return strings.Replace(accept, front, subject, 1)
		}
		return `{"authenticated":false,"error":"the token is secret"}`
	}
	good, other := i.clusterClaims(ca), newSigner(t)
	list := append(badOfIssuers(t, i.signer, other, good, 24*time.Hour), changed(t, i.signer, good, badOfClusters())...)
	for at, one := range list {
		if strings.Contains(one.says, "signature") || one.says == other.kid {
			list[at].says = "doesn't accept" // no more than that
		}
	}
	refuseAll(t, ca, "pods", list, func() string { return i.token(t, good()) })
	before := contents(t, ca)
	for _, test := range []struct {
		name, status string
		code         int
		answered     int
		typ, says    string
	}{
		{"for others", strings.Replace(accept, ca.BaseURL, i.URL, 1), 201, forbidden, "unauthorized", "but not for"},
		{"for whoever", strings.Replace(accept, `"audiences"`, `"audience"`, 1), 201, forbidden, "unauthorized", "but not for"},
		{"somebody else's", strings.Replace(accept, "front", "back", 1), 201, forbidden, "unauthorized", "its subject is another"},
		{"nothing said", `{}`, 201, forbidden, "unauthorized", "doesn't accept"},
		{"may not ask", `{}`, 403, http.StatusServiceUnavailable, "unavailable", "can't be asked"},
		{"no JSON", `{`, 201, http.StatusServiceUnavailable, "unavailable", "can't be asked"},
		{"much", `{"error":"` + strings.Repeat("x", 2<<20) + `"}`, 201, http.StatusServiceUnavailable, "unavailable", "can't be asked"},
		{"elsewhere", accept, 307, http.StatusServiceUnavailable, "unavailable", "can't be asked"},
	} {
		i.mu.Lock()
		i.code, i.review = test.code, func(string) string { return test.status }
		i.mu.Unlock()
		answered := sign(t, ca, token.SignRequest{Token: i.token(t, good()), CSR: newCSR(t, newKey(t)), Provisioner: "pods"})
		if problem := answered.refused(t, test.answered, test.typ, test.says); strings.Contains(problem.Detail, "secret") {
			t.Errorf("%s: what the API server says is told: %s", test.name, problem.Detail)
		}
	}
	unchanged(t, ca, before)
}
