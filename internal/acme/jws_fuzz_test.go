package acme

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// jwsTwinReadsMore finds members that the gate ignores, as RFC 7515 §4 says,
// and go-jose reads and so may refuse: certificates, the other members of a
// key, and numbers, which may not fit a float64.
var jwsTwinReadsMore = regexp.MustCompile(`x5|use|kid|alg|pub|[0-9]{3}|[eE][+-]?[0-9]|\\`)

func FuzzParseJWS(f *testing.F) {
	for _, algorithm := range SignatureAlgorithms() {
		f.Add(jwsTestJose(f, algorithm, true, []byte(`{"a":"b"}`)))
	}
	f.Add(jwsTestSign(jwsTestEdKey(), `{"alg":"EdDSA","url":"u","kid":"k"}`, "", ""))
	for _, test := range jwsBadBodies() {
		if len(test.body) < 4096 {
			f.Add([]byte(test.body))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) { jwsCompare(t, body) })
}

// FuzzSignedHeader makes up headers and other members, and signs them, so that
// what gets as far as the signature passes.
func FuzzSignedHeader(f *testing.F) {
	jwk := string(jwsTestJWK(jwsTestEdKey().Public()))
	f.Add(`{"alg":"EdDSA","nonce":"AAAA","url":"u","kid":"k"}`, "{}", "")
	f.Add(`{"alg":"EdDSA","nonce":"AAAA","url":"u","jwk":`+jwk+`}`, "", `"x":[1],`)
	f.Add(`{"typ":"x","x":{"y":[null]},"\u0061lg":"EdDSA","url":"\u00e4","kid":"k"}`, "{}", `"x":{"y":{}},`)
	for _, test := range jwsBadHeaders() {
		_, rest, _ := strings.Cut(test.body, `"protected":"`)
		protected, _, _ := strings.Cut(rest, `"`)
		header := strings.Replace(string(jwsTestDecode(f, protected)), "ES256", "EdDSA", 1)
		f.Add(header, "{}", "")
	}
	f.Fuzz(func(t *testing.T, protected, payload, more string) {
		jwsCompare(t, jwsTestSign(jwsTestEdKey(), protected, payload, more))
	})
}

// jwsCompare checks that go-jose accepts all that the gate accepts and
// verifies, and reads the same in it.
func jwsCompare(t *testing.T, body []byte) {
	jws, err := ParseJWS(body)
	if err != nil {
		if jws.URL != "" || jws.JWK != nil || jws.Payload != nil {
			t.Errorf("refused, yet it returns %+v", jws)
		}
		return
	}
	key := jwsTestEdKey().Public()
	if jws.JWK != nil {
		key = jws.JWK.Public
	}
	if jws.Verify(key) != nil {
		return
	}
	payload, header, err := jwsTestTwin(body, key)
	if err != nil {
		if !jwsIgnoresSomething(body) {
			t.Fatalf("go-jose refuses: %v", err)
		}
		return
	}
	if !bytes.Equal(payload, jws.Payload) || jws.EmptyPayload != (len(payload) == 0) {
		t.Errorf("payload %q, go-jose has %q", jws.Payload, payload)
	}
	url, _ := header.ExtraHeaders["url"].(string)
	if header.Algorithm != jws.Algorithm || header.Nonce != jws.Nonce || header.KeyID != jws.KeyID || url != jws.URL {
		t.Errorf("read %+v, go-jose has %+v", jws, header)
	}
	if (header.JSONWebKey == nil) != (jws.JWK == nil) {
		t.Errorf("key %v, go-jose has %v", jws.JWK, header.JSONWebKey)
	}
}

// jwsIgnoresSomething tells whether the gate has ignored a member of body for
// which go-jose may have refused it.
func jwsIgnoresSomething(body []byte) bool {
	message, err := jwsOpen(body)
	if err != nil {
		return false
	}
	for _, member := range message.header.members {
		switch name := string(member.name); name {
		case "alg", "nonce", "url", "kid":
		case "jwk":
			if jwsTwinReadsMore.Match(jwkUnknownMembers(member.value)) {
				return true
			}
		default:
			if jwsTwinReadsMore.Match(member.value) || jwsTwinReadsMore.Match(member.name) {
				return true
			}
		}
	}
	return false
}

// jwkUnknownMembers is what a key has beside what the gate reads.
func jwkUnknownMembers(raw []byte) (unknown []byte) {
	key, _ := jwsParseObject("key", raw)
	for _, member := range key.members {
		if !slices.Contains([]string{"kty", "crv", "x", "y", "n", "e"}, string(member.name)) {
			unknown = append(append(unknown, member.name...), member.value...)
		}
	}
	return unknown
}

func FuzzParseJWK(f *testing.F) {
	for _, key := range jwsTestKeys() {
		f.Add(jwsTestJWK(key.Public()))
	}
	for _, test := range append(jwkBadEC(), jwkBadRSAAndOKP()...) {
		if len(test.body) < 4096 {
			f.Add([]byte(test.body))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		key, err := ParseJWK(raw)
		if err != nil {
			return
		}
		jwkCompare(t, key.Public)
		again, err := ParseJWK(key.JSON)
		if err != nil || again.Thumbprint != key.Thumbprint || !bytes.Equal(again.JSON, key.JSON) {
			t.Errorf("%s is printed as %s and read as %v, %v", raw, key.JSON, again, err)
		}
		if jwkAlgorithm(key.Public) == "" {
			t.Errorf("%s has no algorithm", raw)
		}
	})
}

func FuzzParseEAB(f *testing.F) {
	account, _ := ParseJWK(jwsTestJWK(jwsTestEdKey().Public()))
	f.Add(`{"alg":"HS256","kid":"kid-1","url":"u"}`, string(account.JSON))
	f.Add(`{"alg":"HS256","kid":"kid-1","url":"u","nonce":"AAAA"}`, string(account.JSON))
	f.Fuzz(func(t *testing.T, protected, payload string) {
		raw := eabTestSign(protected, payload)
		eab, err := ParseEAB(raw)
		if err != nil || eab.Verify(eabTestKey, account, eab.url) != nil {
			return
		}
		if eab.Verify(eabTestKey, account, eab.url+"x") == nil || eab.Verify(eabTestKey[1:], account, eab.url) == nil {
			t.Error("it binds nothing")
		}
		parsed, err := jose.ParseSignedJSON(string(raw), []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512})
		if err != nil {
			if !jwsIgnoresSomething(raw) {
				t.Errorf("go-jose refuses: %v", err)
			}
			return
		}
		if _, err := parsed.Verify(eabTestKey); err != nil || parsed.Signatures[0].Protected.KeyID != eab.KeyID {
			t.Errorf("go-jose has kid %q, %v; read %q", parsed.Signatures[0].Protected.KeyID, err, eab.KeyID)
		}
	})
}

// jwsStricter are the reasons for refusing what encoding/json takes.
var jwsStricter = regexp.MustCompile("is not UTF-8|is there twice|nested more than|has more than|is not a JSON object")

// FuzzObject checks the scanner against encoding/json: what it accepts has the
// members and values that encoding/json finds, and it accepts all but what it
// has reasons of its own to refuse.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":"b","c":[1,{"d":null}],"e":{"f":-0.5E+7}}`, " {\"\\ud83d\\ude00\"\t:\r\n\"\\u00e4\"} ",
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":[[[[[[[[]]]]]]]]}`, `{"a":tru}`, `{"a":"` + "\xff" + `"}`, `{"a":1}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		object, err := jwsParseObject("it", text)
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(text, &want)
		if err != nil {
			if wantErr == nil && !jwsStricter.MatchString(err.Error()) {
				t.Errorf("encoding/json accepts this, but %v", err)
			}
			return
		}
		if wantErr != nil || len(want) != len(object.members) {
			t.Fatalf("accepted; encoding/json finds %d members: %v", len(want), wantErr)
		}
		for name, value := range want {
			got, found := object.find(name)
			if !found || !bytes.Equal(got, value) {
				t.Errorf("%q is %q, encoding/json has %q", name, got, value)
			}
			var content string
			text, found, err := object.optionalText(name)
			if isText := json.Unmarshal(value, &content) == nil && value[0] == '"'; !found || (err == nil) != isText || string(text) != content {
				t.Errorf("%q holds %q, %v; encoding/json has %q", name, text, err, content)
			}
		}
	})
}
