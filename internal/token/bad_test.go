package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/server/servertest"
	"chancery/internal/token"
)

// bad is a token that must be refused.
type bad struct {
	name, token string
	status      int
	typ, says   string
}

func base64url(octets []byte) string { return base64.RawURLEncoding.EncodeToString(octets) }

// raw puts a token together from parts that no library would make.
func raw(header, payload string, sign func(input []byte) []byte) string {
	input := base64url([]byte(header)) + "." + base64url([]byte(payload))
	return input + "." + base64url(sign([]byte(input)))
}

func text(t testing.TB, value any) string {
	t.Helper()
	octets, err := json.Marshal(value)
	check(t, err)
	return string(octets)
}

// over signs by ES256 or RS256 what no library would.
func (s *signer) over(t testing.TB) func([]byte) []byte {
	return func(input []byte) []byte {
		digest := sha256.Sum256(input)
		if key, is := s.key.(*rsa.PrivateKey); is {
			signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
			check(t, err)
			return signature
		}
		r, s, err := ecdsa.Sign(rand.Reader, s.key.(*ecdsa.PrivateKey), digest[:])
		check(t, err)
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature
	}
}

// badClaims are those that are wrong for jwk and x5c alike.
func badClaims(t testing.TB, s *signer, good func() claims) []bad {
	t.Helper()
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	made := func(name string, changes claims, status int, typ, says string) bad {
		return bad{name, s.token(t, good().with(changes)), status, typ, says}
	}
	const unauthorized, malformed = http.StatusForbidden, http.StatusBadRequest
	list := []bad{
		made("wrong audience", claims{"aud": "https://other.corp/api/v1/sign"}, unauthorized, "unauthorized", `the token is for "https://other.corp/api/v1/sign"; expected is https://`),
		made("audience of another door", claims{"aud": []string{"https://a.corp", good()["aud"].(string) + "/x"}}, unauthorized, "unauthorized", "the token is for"),
		made("no audience", claims{"aud": nil}, malformed, "malformed", `no claim "aud"`),
		made("audience of numbers", claims{"aud": 7}, malformed, "malformed", `"aud"`),
		made("no issuer", claims{"iss": nil}, unauthorized, "unauthorized", "no provisioner of this CA"),
		made("wrong issuer", claims{"iss": "nobody"}, unauthorized, "unauthorized", `the token is from "nobody"`),
		made("expired", claims{"iat": ago(3 * time.Minute), "nbf": nil, "exp": ago(2 * time.Minute)}, unauthorized, "unauthorized", "the token expired at"),
		made("not yet valid", claims{"nbf": ago(-2 * time.Minute)}, unauthorized, "unauthorized", "the token is good from"),
		made("made in the future", claims{"iat": ago(-2 * time.Minute)}, unauthorized, "unauthorized", "the token is good from"),
		made("good for too long", claims{"exp": ago(-2 * time.Hour)}, unauthorized, "unauthorized", "this provisioner takes 1h0m0s at most"),
		made("good for too long without iat", claims{"iat": nil, "nbf": nil, "exp": ago(-2 * time.Hour)}, unauthorized, "unauthorized", "this provisioner takes"),
		made("exp far away", claims{"exp": 1 << 60}, malformed, "malformed", `"exp"`),
		made("exp is text", claims{"exp": "soon"}, malformed, "malformed", `"exp"`),
		made("no exp", claims{"exp": nil}, malformed, "malformed", `no claim "exp"`),
		made("no jti", claims{"jti": nil}, malformed, "malformed", `no claim "jti"`),
		made("empty jti", claims{"jti": ""}, malformed, "malformed", `no claim "jti"`),
		made("no subject", claims{"sub": nil}, malformed, "malformed", `no claim "sub"`),
		made("bad name", claims{"sans": []string{"a..corp"}}, malformed, "malformed", `the name "a..corp"`),
		made("name of no type", claims{"sans": []string{"urn:x"}}, malformed, "malformed", "write a DNS name"),
		made("names are numbers", claims{"sans": []any{1}}, malformed, "malformed", `"sans" must be a list of texts`),
		made("names in a map", claims{"sans": map[string]any{"a": 1}}, malformed, "malformed", `"sans"`),
		made("many names", claims{"sans": strings.Split(strings.Repeat("a.corp ", 101), " ")}, malformed, "malformed", "at most 100"),
		made("a number beyond all", claims{"big": json.RawMessage("1e999")}, malformed, "malformed", "can't be read"),
		made("one megabyte", claims{"pad": strings.Repeat("x", 1<<20)}, http.StatusRequestEntityTooLarge, "tooLarge", "octets"),
		made("too long", claims{"pad": strings.Repeat("x", 100<<10)}, malformed, "malformed", "at most 65536"),
	}
	payload := text(t, good())
	for _, twice := range []string{`{"iss":"x",` + payload[1:], strings.TrimSuffix(payload, "}") + `,"deep":[{"a":1,"a":2}]}`} {
		list = append(list, bad{"claim twice", s.sign(t, []byte(twice)), malformed, "malformed", "one is there twice"})
	}
	for name, payload := range map[string]string{"array": "[]", "text": `"x"`, "nothing": "", "two objects": payload + payload} {
		list = append(list, bad{"payload: " + name, s.sign(t, []byte(payload)), malformed, "malformed", "the token's"})
	}
	list = append(list, bad{"payload: null", s.sign(t, []byte("null")), unauthorized, "unauthorized", `the token is from ""`})
	whole := s.token(t, good())
	parts := strings.Split(whole, ".")
	for name, changed := range map[string]string{
		"trailing bytes": whole + "x=", "trailing part": whole + ".x", "line break": whole[:20] + "\n" + whole[20:], "trailing space": whole + " ",
		"two parts": parts[0] + "." + parts[1], "empty": "", "no token": "hello", "JSON form": `{"payload":"` + parts[1] + `"}`,
	} {
		list = append(list, bad{name, changed, malformed, "malformed", "the token is no JWT"})
	}
	return append(list,
		bad{"signature cut", whole[:len(whole)-4], unauthorized, "unauthorized", "signature"},
		bad{"no signature", parts[0] + "." + parts[1] + ".", unauthorized, "unauthorized", "signature"},
		bad{"payload changed", parts[0] + "." + base64url([]byte(strings.Replace(payload, "runner", "walker", 1))) + "." + parts[2], unauthorized, "unauthorized", "signature"})
}

// badKeys are tokens signed in ways that prove nothing.
func badKeys(t testing.TB, ci, other *signer, good func() claims) []bad {
	t.Helper()
	const unauthorized, malformed = http.StatusForbidden, http.StatusBadRequest
	payload := text(t, good())
	public, err := x509.MarshalPKIXPublicKey(ci.key.Public())
	check(t, err)
	mac := func(secret []byte) func([]byte) []byte {
		return func(input []byte) []byte {
			h := hmac.New(sha256.New, secret)
			h.Write(input)
			return h.Sum(nil)
		}
	}
	ownKey, foreign, alg := ci.over(t), other.over(t), string(ci.algorithm)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	list := []bad{
		{"alg none", raw(`{"alg":"none"}`, payload, func([]byte) []byte { return nil }), unauthorized, "unauthorized", `the algorithm "none"; accepted are ES256`},
		{"alg NONE with signature", raw(`{"alg":"NONE"}`, payload, ownKey), unauthorized, "unauthorized", "accepted are"},
		{"no alg", raw(`{}`, payload, ownKey), unauthorized, "unauthorized", "accepted are"},
		{"HMAC with the public key", raw(`{"alg":"HS256"}`, payload, mac(public)), unauthorized, "unauthorized", `the algorithm "HS256"`},
		{"HMAC with the key as PEM", raw(`{"alg":"HS256"}`, payload, mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))), unauthorized, "unauthorized", "accepted are"},
		{"HMAC with the JWK", raw(`{"alg":"HS256"}`, payload, mac([]byte(ci.public(t)))), unauthorized, "unauthorized", "accepted are"},
		{"key in the header", raw(`{"alg":"ES256","jwk":`+other.public(t)+`}`, payload, foreign), malformed, "malformed", `"jwk"; keys are taken from the provisioner alone`},
		{"URL of keys in the header", raw(`{"alg":"ES256","jku":"https://evil.example/keys"}`, payload, foreign), malformed, "malformed", `"jku"`},
		{"critical extension", raw(`{"alg":"`+alg+`","crit":["x"],"x":1}`, payload, ownKey), malformed, "malformed", `"crit"`},
		{"header twice", raw(`{"alg":"none","alg":"`+alg+`"}`, payload, ownKey), malformed, "malformed", "no JWT that can be read"},
		{"another key", raw(`{"alg":"ES256"}`, payload, foreign), unauthorized, "unauthorized", "signature"},
		{"another key with its name", other.token(t, good()), unauthorized, "unauthorized", other.kid},
		{"kid of another", raw(`{"alg":"`+alg+`","kid":"`+other.kid+`"}`, payload, ownKey), unauthorized, "unauthorized", other.kid},
		{"another key with this one's name", raw(`{"alg":"ES256","kid":"`+ci.kid+`"}`, payload, foreign), unauthorized, "unauthorized", "signature"},
		{"another algorithm", raw(`{"alg":"ES384","kid":"`+ci.kid+`"}`, payload, ownKey), unauthorized, "unauthorized", "signature"},
	}
	for _, s := range []*signer{signerOf(t, edwards, jose.EdDSA), signerOf(t, p384, jose.ES384), signerOf(t, rsaKey, jose.RS256), signerOf(t, rsaKey, jose.PS256)} {
		s.kid = ""
		list = append(list, bad{"unknown key, " + string(s.algorithm), s.token(t, good()), unauthorized, "unauthorized", "signature"})
	}
	return list
}

// refuseAll sends bad tokens, all at once: nothing may come of them, and the
// next good token must work. By is the provisioner that requests name; "" for
// none.
func refuseAll(t *testing.T, ca *servertest.CA, by string, list []bad, good func() string) {
	t.Helper()
	request := token.SignRequest{CSR: newCSR(t, newKey(t)), Provisioner: by}
	before := contents(t, ca)
	answers := make([]answer, len(list))
	var sending sync.WaitGroup
	for i, one := range list {
		request := request
		request.Token = one.token
		sending.Go(func() { answers[i] = sign(t, ca, request) })
	}
	sending.Wait()
	for i, one := range list {
		t.Run(one.name, func(t *testing.T) { answers[i].refused(t, one.status, one.typ, one.says) })
	}
	unchanged(t, ca, before)
	request.Token = good()
	sign(t, ca, request).issued(t)
}

func TestBadTokensOfJWK(t *testing.T) {
	t.Parallel()
	ci, other := newSigner(t), newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, "")+", "+jwkSpec(t, "other", other, ""))
	good := func() claims { return claimsFor(ca, "ci", "a.corp") }
	list := append(badClaims(t, ci, good), badKeys(t, ci, other, good)...)
	list = append(list,
		bad{"long subject", ci.token(t, good().with(claims{"sub": strings.Repeat("x", 256)})), http.StatusBadRequest, "malformed", "subject has more than 255 octets"},
		bad{"subject that turns the line around", ci.token(t, good().with(claims{"sub": "a\u202eb"})), http.StatusBadRequest, "malformed", "characters that can't be seen"},
		bad{"subject of lines", ci.token(t, good().with(claims{"sub": "a\nb"})), http.StatusBadRequest, "malformed", "characters that can't be seen"},
		bad{"provisioner of another", ci.token(t, good().with(claims{"iss": "other"})), http.StatusForbidden, "unauthorized", ci.kid})
	refuseAll(t, ca, "", list, func() string { return ci.token(t, good()) })

	named := token.SignRequest{Token: ci.token(t, good()), CSR: newCSR(t, newKey(t)), Provisioner: "other"}
	sign(t, ca, named).refused(t, http.StatusForbidden, "unauthorized", ci.kid)
	named.Token = other.token(t, good())
	sign(t, ca, named).refused(t, http.StatusForbidden, "unauthorized", `the token is from "ci"; expected is "other"`)
	named.Provisioner = "nobody"
	sign(t, ca, named).refused(t, http.StatusForbidden, "unauthorized", `there is no provisioner "nobody"`)
}

// oldPKI is a CA of somebody else.
type oldPKI struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newPKI(t testing.TB) *oldPKI {
	t.Helper()
	p := &oldPKI{key: newKey(t)}
	p.root = p.make(t, p.key, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Old CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return p
}

// make signs a certificate.
func (p *oldPKI) make(t testing.TB, key *ecdsa.PrivateKey, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	check(t, err)
	template.SerialNumber = number
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent := p.root
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), p.key)
	check(t, err)
	made, err := x509.ParseCertificate(der)
	check(t, err)
	return made
}

// bearer signs tokens by a certificate of the CA.
func (p *oldPKI) bearer(t testing.TB, template *x509.Certificate) *signer {
	t.Helper()
	s := newSigner(t)
	leaf := p.make(t, s.key.(*ecdsa.PrivateKey), template)
	s.kid, s.header["x5c"] = "", []string{base64.StdEncoding.EncodeToString(leaf.Raw)}
	return s
}

// badProofs are tokens that bring a certificate along, and whose signatures
// prove nothing about its key.
func badProofs(t testing.TB, holder *signer, good func() claims) []bad {
	t.Helper()
	const unauthorized, malformed = http.StatusForbidden, http.StatusBadRequest
	public, err := x509.MarshalPKIXPublicKey(holder.key.Public())
	check(t, err)
	header := func(alg string, more claims) string {
		return text(t, claims{"alg": alg, "x5c": holder.header["x5c"]}.with(more))
	}
	payload, own, stranger := text(t, good()), holder.over(t), newSigner(t)
	return []bad{
		{"alg none", raw(header("none", nil), payload, func([]byte) []byte { return nil }), unauthorized, "unauthorized", `the algorithm "none"`},
		{"HMAC with the public key", raw(header("HS256", nil), payload, func(input []byte) []byte {
			h := hmac.New(sha256.New, public)
			h.Write(input)
			return h.Sum(nil)
		}), unauthorized, "unauthorized", `the algorithm "HS256"`},
		{"an algorithm of other curves", raw(header("ES384", nil), payload, own), unauthorized, "unauthorized", "signature"},
		{"an algorithm of other keys", raw(header("RS256", nil), payload, own), unauthorized, "unauthorized", "signature"},
		{"another key in the header", raw(header("ES256", claims{"jwk": json.RawMessage(stranger.public(t))}), payload, stranger.over(t)), malformed, "malformed", `"jwk"; keys are taken from the provisioner alone`},
	}
}

func TestBadTokensOfX5C(t *testing.T) {
	t.Parallel()
	old := newPKI(t)
	path := filepath.Join(t.TempDir(), "old.pem")
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.root.Raw}), 0o600))
	ca := start(t, "old: {type: x5c, roots: ["+path+"]}, free: {type: x5c, roots: ["+path+"], names: [{cel: 'token.sans'}, {cel: 'token.certificate.common_name'}]}")
	leaf := func() *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: "host.corp"}, DNSNames: []string{"a.corp", "b.corp"}, KeyUsage: x509.KeyUsageDigitalSignature}
	}
	good := func() claims { return claimsFor(ca, "old", "a.corp") }
	holder := old.bearer(t, leaf())
	list := append(badClaims(t, holder, good), badProofs(t, holder, good)...)

	refused := func(name, says string, s *signer) {
		list = append(list, bad{name, s.token(t, good()), http.StatusForbidden, "unauthorized", says})
	}
	expired, encipher, authority := leaf(), leaf(), leaf()
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	encipher.KeyUsage = x509.KeyUsageKeyEncipherment
	authority.IsCA, authority.BasicConstraintsValid = true, true
	refused("certificate of another CA", "comes from none of the provisioner's roots", newPKI(t).bearer(t, leaf()))
	refused("expired certificate", "has expired or is not valid yet", old.bearer(t, expired))
	refused("certificate of a CA", "is a CA's", old.bearer(t, authority))
	refused("certificate not for signatures", "lacks the key usage digitalSignature", old.bearer(t, encipher))
	bare := newSigner(t)
	refused("no certificate", `no "x5c"`, bare)
	bare.header["x5c"] = holder.header["x5c"]
	refused("somebody's certificate", "signature", bare)
	list = append(list, bad{"name of others", holder.token(t, good().with(claims{"sans": []string{"a.corp", "c.corp"}})),
		http.StatusForbidden, "unauthorized", "claims the name dns:c.corp, which its certificate does not have"})
	broken := newSigner(t)
	broken.header["x5c"] = []string{"AAAA"}
	list = append(list, bad{"broken certificate", broken.token(t, good()), http.StatusBadRequest, "malformed", "no JWT that can be read"})
	refuseAll(t, ca, "", list, func() string { return holder.token(t, good()) })

	request := token.SignRequest{CSR: newCSR(t, newKey(t)), Token: holder.token(t, good().with(claims{"sans": nil}))}
	if made, _ := sign(t, ca, request).issued(t); strings.Join(made.Names, " ") != "dns:a.corp dns:b.corp dns:host.corp" {
		t.Errorf("a token without names has %v", made.Names)
	}
	request.Token = holder.token(t, good().with(claims{"iss": "free", "sans": []string{"c.corp"}}))
	if made, _ := sign(t, ca, request).issued(t); strings.Join(made.Names, " ") != "dns:c.corp dns:host.corp" {
		t.Errorf("the provisioner's names are %v", made.Names)
	}
}
