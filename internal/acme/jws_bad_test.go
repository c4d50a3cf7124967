package acme

import (
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var jwsTestCurve = elliptic.P256()

// jwsTestHeader is a correct protected header with more in front.
func jwsTestHeader(more string) string {
	return fmt.Sprintf(`{%s"alg":"ES256","nonce":%q,"url":%q,"kid":%q}`, more, jwsTestNonce, jwsTestURL, jwsTestKeyID)
}

// jwsBad is a message that must be refused. twin says that go-jose accepts it:
// those are the places where the gate is stricter.
type jwsBad struct {
	name string
	body string
	want error
	twin bool
}

// jwsTestParts is a good message and what it consists of.
type jwsTestParts struct{ good, protected, payload, signature string }

func newJWSTestParts() jwsTestParts {
	good := jwsTestSign(jwsTestKeys()["ES256"], jwsTestHeader(""), "{}", "")
	var parts struct{ Protected, Payload, Signature string }
	if err := json.Unmarshal(good, &parts); err != nil {
		panic(err)
	}
	return jwsTestParts{string(good), parts.Protected, parts.Payload, parts.Signature}
}

// edit returns the good message with one replacement.
func (p jwsTestParts) edit(old, new string) string { return strings.Replace(p.good, old, new, 1) }

func jwsBadBodies() []jwsBad {
	return slices.Concat(jwsBadStructure(), jwsBadJSON(), jwsBadBase64())
}

// jwsBadStructure has messages that are JSON, but not a flattened JWS.
func jwsBadStructure() []jwsBad {
	p := newJWSTestParts()
	edit, protected, payload, signature := p.edit, p.protected, p.payload, p.signature
	general := fmt.Sprintf(`{"payload":"%s","signatures":[{"protected":"%s","signature":"%s"}]}`, payload, protected, signature)
	inner := fmt.Sprintf(`"signatures":[{"protected":"%s","signature":"%s"}],`, protected, signature)
	m := ErrMalformedJWS
	return []jwsBad{
		{"null", "null", m, false},
		{"a number", "1", m, false},
		{"a string", `"` + protected + `"`, m, false},
		{"an array", "[" + p.good + "]", m, false},
		{"an empty object", "{}", m, false},
		{"compact serialization", protected + "." + payload + "." + signature, m, false},
		{"general serialization", general, m, true},
		{"general beside flattened", edit("{", "{"+inner), m, true},
		{"empty signatures", edit("{", `{"signatures":[],`), m, true},
		{"null signatures", edit("{", `{"signatures":null,`), m, true},
		{"an unprotected header", edit("{", `{"header":{"x":1},`), m, true},
		{"an empty unprotected header", edit("{", `{"header":{},`), m, true},
		{"a null unprotected header", edit("{", `{"header":null,`), m, true},
		{"a nonce in the unprotected header", edit("{", `{"header":{"nonce":"AAAA"},`), m, false},
		{"an escaped name of a forbidden member", edit("{", `{"he\u0061der":{},`), m, true},
		{"no protected header", edit(`"protected"`, `"Protected"`), m, false},
		{"no payload", edit(`"payload"`, `"PAYLOAD"`), m, false},
		{"no signature", edit(`"signature"`, `"x"`), m, false},
		{"a null payload", edit(`"payload":"`+payload+`"`, `"payload":null`), m, false},
		{"a payload that is an object", edit(`"payload":"`+payload+`"`, `"payload":{}`), m, false},
		{"a signature that is a number", edit(`"signature":"`+signature+`"`, `"signature":1`), m, false},
		{"an empty signature", edit(signature, ""), m, false},
		{"an empty protected header", edit(protected, ""), m, false},
	}
}

// jwsBadJSON has messages that are not JSON, or JSON the gate doesn't read.
func jwsBadJSON() []jwsBad {
	p := newJWSTestParts()
	edit, good, m := p.edit, p.good, ErrMalformedJWS
	return []jwsBad{
		{"nothing", "", m, false},
		{"white space", " \n", m, false},
		{"not JSON", "hello", m, false},
		{"payload twice", edit("{", `{"payload":"AAAA",`), m, false},
		{"payload twice, once escaped", edit("{", `{"p\u0061yload":"AAAA",`), m, false},
		{"an unknown member twice", edit("{", `{"x":1,"x":1,`), m, false},
		{"a member twice in an unknown member", edit("{", `{"x":{"y":1,"y":1},`), m, true},
		{"something behind the object", good + "x", m, false},
		{"another object behind it", good + good, m, false},
		{"a NUL behind it", good + "\x00", m, false},
		{"a NUL before it", "\x00" + good, m, false},
		{"a byte order mark", "\ufeff" + good, m, false},
		{"cut off", good[:len(good)-1], m, false},
		{"cut off in a string", good[:len(good)-4], m, false},
		{"cut off in an escape", `{"x":"\`, m, false},
		{"cut off in an escaped name", `{"x\`, m, false},
		{"cut off in a Unicode escape", `{"x":"\u00`, m, false},
		{"cut off in a list", `{"x":[1`, m, false},
		{"a comma at the end", edit(`"}`, `",}`), m, false},
		{"a comma too many", edit(`,"signature"`, `,,"signature"`), m, false},
		{"no colon", edit(`"payload":`, `"payload" `), m, false},
		{"a name without quotes", edit(`"payload"`, `payload`), m, false},
		{"single quotes", strings.ReplaceAll(good, `"`, `'`), m, false},
		{"a comment", edit("{", "{/* hi */"), m, false},
		{"not UTF-8", edit("{", "{\"x\":\"\xff\","), m, true},
		{"a bad escape", edit("{", `{"x":"\q",`), m, false},
		{"a bad Unicode escape", edit("{", `{"x":"\u12g4",`), m, false},
		{"a control character in a string", edit("{", "{\"x\":\"a\tb\","), m, false},
		{"a number with a leading zero", edit("{", `{"x":01,`), m, false},
		{"NaN", edit("{", `{"x":NaN,`), m, false},
		{"a misspelt literal", edit("{", `{"x":nul,`), m, false},
		{"nested too deep", edit("{", `{"x":`+strings.Repeat("[", 9)+strings.Repeat("]", 9)+","), m, true},
		{"nested far too deep", edit("{", `{"x":`+strings.Repeat("[", 200_000)), m, false},
		{"too many members", edit("{", "{"+jwsManyMembers(40)), m, true},
		{"too long", edit("{", `{"x":"`+strings.Repeat("x", jwsMaxSize)+`",`), m, true},
	}
}

// jwsBadBase64 has messages whose parts are not strict base64url.
func jwsBadBase64() []jwsBad {
	p := newJWSTestParts()
	edit, protected, payload, signature, m := p.edit, p.protected, p.payload, p.signature, ErrMalformedJWS
	return []jwsBad{
		{"padding in the protected header", edit(protected, protected+"="), m, false},
		{"padding in the payload", edit(payload, payload+"="), m, false},
		{"padding in the signature", edit(signature, signature+"=="), m, false},
		{"white space in the payload", edit(payload, payload+" "), m, false},
		{"a line break in the payload", edit(payload, payload+`\n`), m, true},
		{"a line break in the signature", edit(signature, signature[:9]+`\r\n`+signature[9:]), m, true},
		{"standard base64 in the payload", edit(payload, "++//"), m, false},
		{"bits behind the payload's last octet", edit(payload, "e31"), m, true},
		{"bits behind the signature's last octet", edit(signature, signature[:len(signature)-1]+jwsNextLetter(signature)), m, true},
		{"one letter of base64", edit(payload, "A"), m, false},
		{"a dot in the payload", edit(payload, payload+"."), m, false},
	}
}

// jwsNextLetter is the last letter of a 64-octet signature with a bit set that
// belongs to no octet.
func jwsNextLetter(signature string) string {
	last := signature[len(signature)-1] // one of A, Q, g, w
	return string(last + 1)
}

func jwsManyMembers(count int) string {
	var members strings.Builder
	for i := range count {
		fmt.Fprintf(&members, `"x%d":1,`, i)
	}
	return members.String()
}

// jwsBadHeaders has messages that carry a correct signature over a header with
// one fault.
func jwsBadHeaders() []jwsBad {
	m, key := ErrMalformedJWS, jwsTestKeys()["ES256"]
	header := func(name, protected string, want error, twin bool) jwsBad {
		return jwsBad{name, string(jwsTestSign(key, protected, "{}", "")), want, twin}
	}
	edit := func(old, new string) string { return strings.Replace(jwsTestHeader(""), old, new, 1) }
	kid := `"kid":"` + jwsTestKeyID + `"`
	jwk := `"jwk":` + string(jwsTestJWK(key.Public()))
	return []jwsBad{
		header("the header is no JSON", "hello", m, false),
		header("the header is an array", "[]", m, false),
		header("the header is null", "null", m, false),
		header("something behind the header", jwsTestHeader("")+"{}", m, false),
		header("the header is not UTF-8", jwsTestHeader("\"x\":\"\xff\","), m, true),
		header("alg twice", jwsTestHeader(`"alg":"ES256",`), m, false),
		header("alg twice, once escaped", jwsTestHeader(`"\u0061lg":"ES256",`), m, false),
		header("nonce twice", jwsTestHeader(`"nonce":"AAAA",`), m, false),
		header("an unknown member twice", jwsTestHeader(`"x":1,"x":2,`), m, false),
		header("a member twice inside", jwsTestHeader(`"x":[{"y":1,"y":2}],`), m, false),
		header("no alg", edit(`"alg"`, `"Alg"`), m, false),
		header("alg is null", edit(`"ES256"`, "null"), m, false),
		header("alg is a list", edit(`"ES256"`, `["ES256"]`), m, false),
		header("alg is none", edit("ES256", "none"), ErrBadSignatureAlgorithm, false),
		header("alg is HS256", edit("ES256", "HS256"), ErrBadSignatureAlgorithm, false),
		header("alg is HS512", edit("ES256", "HS512"), ErrBadSignatureAlgorithm, false),
		header("alg is PS256", edit("ES256", "PS256"), ErrBadSignatureAlgorithm, false),
		header("alg is RS512", edit("ES256", "RS512"), ErrBadSignatureAlgorithm, false),
		header("alg is ES256K", edit("ES256", "ES256K"), ErrBadSignatureAlgorithm, false),
		header("alg in lower case", edit("ES256", "es256"), ErrBadSignatureAlgorithm, false),
		header("alg is empty", edit("ES256", ""), ErrBadSignatureAlgorithm, false),
		header("no url", edit(`"url"`, `"URL"`), m, true),
		header("url is empty", edit(jwsTestURL, ""), m, true),
		header("url is no string", edit(`"`+jwsTestURL+`"`, "{}"), m, true),
		header("nonce is empty", edit(jwsTestNonce, ""), m, true),
		header("nonce is padded", edit(jwsTestNonce, "AA=="), m, true),
		header("nonce is standard base64", edit(jwsTestNonce, "++//"), m, true),
		header("nonce has bits behind the last octet", edit(jwsTestNonce, "AB"), m, true),
		header("nonce has a line break", edit(jwsTestNonce, `AAAA\n`), m, true),
		header("nonce has a space", edit(jwsTestNonce, "AA AA"), m, true),
		header("nonce is null", edit(`"`+jwsTestNonce+`"`, "null"), m, true),
		header("nonce is a number", edit(`"`+jwsTestNonce+`"`, "17"), m, false),
		header("neither kid nor jwk", edit(","+kid, ""), m, true),
		header("kid and jwk", jwsTestHeader(jwk+","), m, true),
		header("kid and a null jwk", jwsTestHeader(`"jwk":null,`), m, true),
		header("kid is empty", edit(jwsTestKeyID, ""), m, true),
		header("kid is null", edit(kid, `"kid":null`), m, true),
		header("kid is a number", edit(kid, `"kid":1`), m, false),
		header("jwk is null", edit(kid, `"jwk":null`), m, true),
		header("jwk is a string", edit(kid, `"jwk":"AAAA"`), m, false),
		header("jwk is an array", edit(kid, `"jwk":[]`), m, false),
		header("jwk is empty", edit(kid, `"jwk":{}`), m, false),
		header("jwk is symmetric", edit(kid, `"jwk":{"kty":"oct"}`), ErrBadPublicKey, false),
		header("crit with b64", jwsTestHeader(`"crit":["b64"],"b64":false,`), m, false),
		header("crit with url", jwsTestHeader(`"crit":["url"],`), m, false),
		header("crit is empty", jwsTestHeader(`"crit":[],`), m, true),
		header("crit is null", jwsTestHeader(`"crit":null,`), m, true),
		header("b64 is true", jwsTestHeader(`"b64":true,`), m, true),
		header("b64 is false without crit", jwsTestHeader(`"b64":false,`), m, false),
	}
}

func TestParseJWSRefuses(t *testing.T) {
	public := jwsTestKeys()["ES256"].Public()
	bad := append(jwsBadBodies(), jwsBadHeaders()...)
	if len(bad) < 60 {
		t.Errorf("only %d bad messages", len(bad))
	}
	for _, test := range bad {
		_, err := ParseJWS(slices.Clip([]byte(test.body))) // no room for reading too far
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		} else if len(err.Error()) > 400 {
			t.Errorf("%s: a message of %d characters", test.name, len(err.Error()))
		}
		if _, _, err := jwsTestTwin([]byte(test.body), public); (err == nil) != test.twin {
			t.Errorf("%s: go-jose says %v", test.name, err)
		}
	}
}

// TestVerifyRefusesOtherSignatureForms has signatures that are right but for
// their form: RFC 7518 §3.4 wants two numbers of fixed length.
func TestVerifyRefusesOtherSignatureForms(t *testing.T) {
	key := jwsTestECKey(jwsTestCurve, 7)
	body := string(jwsTestSign(key, jwsTestHeader(""), "{}", ""))
	_, rest, _ := strings.Cut(body, `"signature":"`)
	text, _, _ := strings.Cut(rest, `"`)
	raw := string(jwsTestDecode(t, text))
	zeros := strings.Repeat("\x00", 32)
	der := "\x30\x46\x02\x21\x00" + raw[:32] + "\x02\x21\x00" + raw[32:]
	for name, form := range map[string]string{
		"DER":                 der,
		"an octet more":       raw + "\x00",
		"an octet less":       raw[:63],
		"one octet":           "\x01",
		"padded numbers":      "\x00" + raw[:32] + "\x00" + raw[32:],
		"r is zero":           zeros + raw[32:],
		"s is zero":           raw[:32] + zeros,
		"both are zero":       zeros + zeros,
		"all bits set":        strings.Repeat("\xff", 64),
		"numbers swapped":     raw[32:] + raw[:32],
		"96 octets, as P-384": raw + raw[32:],
	} {
		jws, err := ParseJWS([]byte(strings.Replace(body, text, jwkText([]byte(form)), 1)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := jws.Verify(key.Public()); !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
