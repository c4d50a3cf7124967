package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"chancery/internal/acme/acmetest"
)

// badMessages are no JWS as RFC 8555 §6.2 wants it.
func badMessages() []bad {
	replace := func(old, new string) func(*scene) *acmetest.Response {
		return spoiled(func(good string, _ map[string]string) string { return strings.Replace(good, old, new, 1) })
	}
	part := func(name string, change func(string) string) func(*scene) *acmetest.Response {
		return spoiled(func(good string, parts map[string]string) string {
			return strings.Replace(good, parts[name], change(parts[name]), 1)
		})
	}
	const m = "malformed"
	list := []bad{
		{"an empty body", body(""), 400, m, "object"},
		{"no JSON", body("hello"), 400, m, "object"},
		{"JSON null", body("null"), 400, m, "object"},
		{"a JSON array", body("[]"), 400, m, "object"},
		{"an empty object", body("{}"), 400, m, "protected"},
		{"NUL octets", body(strings.Repeat("\x00", 100)), 400, m, "object"},
		{"no UTF-8", body("{\"protected\":\"\xff\"}"), 400, m, "UTF-8"},
		{"a body of 128 KiB and more", body(strings.Repeat(" ", 128<<10+1)), 413, m, "larger"},
		{"nested without end", body(strings.Repeat(`{"a":`, 10000)), 400, m, "nested"},
		{"arrays without end", body(`{"protected":` + strings.Repeat("[", 10000)), 400, m, "nested"},
		{"compact serialization", spoiled(func(_ string, p map[string]string) string {
			return p["protected"] + "." + p["payload"] + "." + p["signature"]
		}), 400, m, "object"},
		{"general serialization", spoiled(func(_ string, p map[string]string) string {
			return fmt.Sprintf(`{"payload":"%s","signatures":[{"protected":"%s","signature":"%s"}]}`, p["payload"], p["protected"], p["signature"])
		}), 400, m, "signatures"},
		{"an unprotected header", replace("{", `{"header":{"kid":"x"},`), 400, m, "header"},
		{"a detached payload", replace(`"payload"`, `"load"`), 400, m, "payload"},
		{"no signature", replace(`"signature"`, `"sig"`), 400, m, "signature"},
		{"the payload twice", replace("{", `{"payload":"",`), 400, m, "twice"},
		{"something after the JWS", spoiled(func(good string, _ map[string]string) string { return good + "{}" }), 400, m, "follows"},
		{"a truncated JWS", spoiled(func(good string, _ map[string]string) string { return good[:len(good)/2] }), 400, m, "JWS"},
		{"a signature that is a number", part("signature", func(string) string { return `",": 1, "x":"` }), 400, m, ""},
		{"an empty signature", part("signature", func(string) string { return "" }), 400, m, "signature"},
		{"a padded protected header", part("protected", func(s string) string { return s + "=" }), 400, m, "base64url"},
		{"a padded payload", part("payload", func(s string) string { return s + "=" }), 400, m, "base64url"},
		{"a padded signature", part("signature", func(s string) string { return s + "==" }), 400, m, "base64url"},
		{"standard base64", part("payload", func(string) string { return "+/+/" }), 400, m, "base64url"},
		{"white space in base64", part("payload", func(s string) string { return s[:4] + " " + s[4:] }), 400, m, "base64url"},
		{"a line break in base64", part("payload", func(s string) string { return s[:4] + `\n` + s[4:] }), 400, m, "base64url"},
		{"a header that is no JSON", part("protected", func(string) string { return acmetest.Encode([]byte("hello")) }), 400, m, "header"},
		{"a header that is an array", part("protected", func(string) string { return acmetest.Encode([]byte("[]")) }), 400, m, "header"},
	}
	for _, tamper := range []struct{ name, part string }{{"a payload that was changed", "payload"}, {"a signature that was changed", "signature"}} {
		list = append(list, bad{tamper.name, part(tamper.part, flipped), 403, "unauthorized", "signature"})
	}
	return append(list,
		bad{"a signature in DER", part("signature", inDER), 403, "unauthorized", "signature"},
		bad{"a signature of zeros", part("signature", func(string) string { return acmetest.Encode(make([]byte, 64)) }), 403, "unauthorized", "signature"},
		bad{"a signature cut short", part("signature", func(s string) string { return s[:80] }), 403, "unauthorized", "signature"},
	)
}

// flipped changes a bit in the middle of base64url.
func flipped(text string) string {
	octets, _ := base64.RawURLEncoding.DecodeString(text)
	octets[len(octets)/2] ^= 1
	return acmetest.Encode(octets)
}

func inDER(text string) string {
	octets, _ := base64.RawURLEncoding.DecodeString(text)
	der := append([]byte{0x30, 70, 2, 33, 0}, octets[:32]...)
	der = append(append(der, 2, 33, 0), octets[32:]...)
	return acmetest.Encode(der)
}

// badHeaders are good JWS but for the protected header.
func badHeaders() []bad {
	const m = "malformed"
	list := []bad{
		{"no alg", set("alg", nil), 400, m, "alg"},
		{"no url", set("url", nil), 400, m, "url"},
		{"no nonce", set("nonce", nil), 400, "badNonce", "nonce"},
		{"no kid", set("kid", nil), 400, m, "kid"},
		{"an alg that is a number", set("alg", 1), 400, m, "alg"},
		{"a url that is a list", set("url", []string{"x"}), 400, m, "url"},
		{"an empty url", set("url", ""), 400, m, "url"},
		{"an empty kid", set("kid", ""), 400, m, "kid"},
		{"a kid that is a number", set("kid", 1), 400, m, "kid"},
		{"a nonce that is a number", set("nonce", 1), 400, m, "nonce"},
		{"a nonce that is not base64url", set("nonce", "????"), 400, m, "nonce"},
		{"a padded nonce", set("nonce", "AA=="), 400, m, "nonce"},
		{"an empty nonce", set("nonce", ""), 400, m, "nonce"},
		{"a nonce never issued", set("nonce", "AAAAAAAAAAAAAAAAAAAAAA"), 400, "badNonce", "nonce"},
		{"a short nonce", set("nonce", "AAAA"), 400, "badNonce", "nonce"},
		{"a nonce used before", usedNonce, 400, "badNonce", "nonce"},
		{"kid and jwk", header(func(s *scene) members { return members{"jwk": acmetest.JWK(s.client.Key.Public())} }), 400, m, "exclude"},
		{"jwk where an account is wanted", header(func(s *scene) members {
			return members{"kid": nil, "jwk": acmetest.JWK(s.client.Key.Public())}
		}), 400, m, "kid"},
		{"crit", set("crit", []string{"exp"}), 400, m, "crit"},
		{"b64", set("b64", false), 400, m, "b64"},
		{"the url of another resource", header(func(s *scene) members { return members{"url": s.client.Directory.NewAuthz} }), 403, "unauthorized", "new-authz"},
		{"a url with a slash too many", header(func(s *scene) members { return members{"url": s.client.Directory.NewOrder + "/"} }), 403, "unauthorized", "new-order"},
		{"the url of another host", set("url", "https://evil.example/acme/new-order"), 403, "unauthorized", "evil.example"},
		{"a url with other capitals", header(func(s *scene) members { return members{"url": strings.ToUpper(s.client.Directory.NewOrder)} }), 403, "unauthorized", "NEW-ORDER"},
		{"the kid of nobody", header(func(s *scene) members { return members{"kid": withOtherID(s.client.AccountURL)} }), 400, "accountDoesNotExist", "newAccount"},
		{"a kid of another CA", set("kid", "https://evil.example/acme/account/1"), 400, "accountDoesNotExist", "evil.example"},
		{"a kid without a host", header(func(s *scene) members { return members{"kid": idOf(s.client.AccountURL)} }), 400, "accountDoesNotExist", "no account URL"},
		{"a kid with a query", header(func(s *scene) members { return members{"kid": s.client.AccountURL + "?x"} }), 400, "accountDoesNotExist", "no account URL"},
		{"the kid of an order", header(func(s *scene) members { return members{"kid": s.ready.URL} }), 400, "accountDoesNotExist", "no account URL"},
		{"the kid of another account", header(func(s *scene) members { return members{"kid": s.other.AccountURL} }), 403, "unauthorized", "signature"},
		{"the kid of a deactivated account", header(func(s *scene) members { return members{"kid": s.closed.AccountURL} }), 401, "unauthorized", "deactivated"},
	}
	for _, alg := range []string{"none", "HS256", "HS512", "RS512", "PS256", "ES256K", "es256", ""} {
		list = append(list, bad{"alg " + alg, set("alg", alg), 400, "badSignatureAlgorithm", "ES256"})
	}
	for _, alg := range []string{"ES384", "RS256", "EdDSA"} {
		list = append(list, bad{"alg of another kind of key, " + alg, set("alg", alg), 400, "badSignatureAlgorithm", "does not fit"})
	}
	return list
}

// usedNonce spends a nonce on a request that fails, and sends it again: a
// nonce is burnt by whatever carries it (RFC 8555 §6.5).
func usedNonce(s *scene) *acmetest.Response {
	nonce, err := s.client.Nonce(s.t.Context())
	check(s.t, err)
	refused(s.t, header(func(*scene) members { return members{"nonce": nonce, "alg": "none"} })(s), 400, "badSignatureAlgorithm", "none")
	return set("nonce", nonce)(s)
}

// badKeys are requests of newAccount whose key is refused.
func badKeys() []bad {
	jwk := func(text string) func(*scene) *acmetest.Response {
		return func(s *scene) *acmetest.Response {
			client := s.ca.NewClient()
			resp, err := client.PostRaw(s.t.Context(), client.Directory.NewAccount, []byte("{}"), members{"jwk": raw([]byte(text))})
			check(s.t, err)
			return resp
		}
	}
	signedBy := func(key func(*scene) crypto.Signer) func(*scene) *acmetest.Response {
		return func(s *scene) *acmetest.Response {
			client := s.ca.NewClient()
			client.Key = key(s)
			return post(s.t, client, client.Directory.NewAccount, members{})
		}
	}
	x, y := strings.Repeat("A", 43), strings.Repeat("A", 42)+"E"
	const k = "badPublicKey"
	return []bad{
		{"a jwk that is null", jwk("null"), 400, "malformed", "jwk"},
		{"a jwk that is a string", jwk(`"x"`), 400, "malformed", "jwk"},
		{"a jwk without kty", jwk(`{}`), 400, "malformed", "kty"},
		{"a symmetric jwk", jwk(`{"kty":"oct","k":"AAAA"}`), 400, k, "disclosed"},
		{"a jwk of unknown kind", jwk(`{"kty":"AKP","pub":"AAAA"}`), 400, k, "AKP"},
		{"a private jwk", jwk(`{"kty":"EC","crv":"P-256","x":"` + x + `","y":"` + y + `","d":"` + x + `"}`), 400, k, "private"},
		{"a point off the curve", jwk(`{"kty":"EC","crv":"P-256","x":"` + x + `","y":"` + y + `"}`), 400, k, "not on P-256"},
		{"a curve nobody uses", jwk(`{"kty":"EC","crv":"secp256k1","x":"` + x + `","y":"` + y + `"}`), 400, k, "secp256k1"},
		{"coordinates without zeros in front", jwk(`{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}`), 400, k, ""},
		{"an Ed25519 key that is short", jwk(`{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`), 400, k, ""},
		{"an Ed448 key", jwk(`{"kty":"OKP","crv":"Ed448","x":"AAAA"}`), 400, k, "Ed448"},
		{"an RSA key without n", jwk(`{"kty":"RSA","e":"AQAB"}`), 400, "malformed", "n"},
		{"an RSA key with exponent 1", jwk(`{"kty":"RSA","e":"AQ","n":"` + strings.Repeat("_", 341) + `w"}`), 400, k, "exponent"},
		{"an RSA key of 1024 bits", signedBy(func(s *scene) crypto.Signer { return weakRSA(s.t) }), 400, k, "1024"},
		{"a key that did not sign", func(s *scene) *acmetest.Response {
			return jwk(string(acmetest.JWK(newKey(s.t).Public())))(s)
		}, 403, "unauthorized", "signature"},
		{"newAccount by kid", func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.client.Directory.NewAccount, members{})
		}, 400, "malformed", "jwk"},
		{"newAccount by a deactivated account's key", func(s *scene) *acmetest.Response {
			client := s.ca.NewClient()
			client.Key = s.closed.Key
			return post(s.t, client, client.Directory.NewAccount, members{})
		}, 401, "unauthorized", "deactivated"},
		{"an unknown key that must exist", func(s *scene) *acmetest.Response {
			client := s.ca.NewClient()
			return post(s.t, client, client.Directory.NewAccount, members{"onlyReturnExisting": true})
		}, 400, "accountDoesNotExist", "key"},
		{"a content type that is JSON", func(s *scene) *acmetest.Response {
			resp, err := s.client.Do(s.t.Context(), http.MethodPost, s.client.Directory.NewOrder, "application/json", []byte("{}"))
			check(s.t, err)
			return resp
		}, 415, "malformed", "jose+json"},
		{"a resource that is not there", func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.ca.BaseURL+"/acme/nothing", members{})
		}, 404, "malformed", "directory"},
	}
}

// curveKey is a key on a curve.
func curveKey(s *scene, curve elliptic.Curve) crypto.Signer {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	check(s.t, err)
	return key
}
