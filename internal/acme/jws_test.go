package acme

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseJWSReadsWhatClientsSign(t *testing.T) {
	payloads := []string{"", "{}", `{"identifiers":[{"type":"dns","value":"a.example"}]}`, "\x00\xff no JSON"}
	for _, algorithm := range SignatureAlgorithms() {
		public := jwsTestKeys()[algorithm].Public()
		for _, embed := range []bool{false, true} {
			for _, payload := range payloads {
				body := jwsTestJose(t, algorithm, embed, []byte(payload))
				jws, err := ParseJWS(body)
				if err != nil {
					t.Fatalf("%s: %v\n%s", algorithm, err, body)
				}
				jwsCheckGood(t, jws, algorithm, embed, payload, public)
			}
		}
	}
}

func jwsCheckGood(t *testing.T, jws *JWS, algorithm string, embed bool, payload string, public crypto.PublicKey) {
	t.Helper()
	if jws.Algorithm != algorithm || jws.Nonce != jwsTestNonce || jws.URL != jwsTestURL {
		t.Errorf("%s: read %+v", algorithm, jws)
	}
	if (jws.JWK != nil) != embed || (jws.KeyID == jwsTestKeyID) == embed {
		t.Errorf("%s: kid %q and jwk %v, embedded is %v", algorithm, jws.KeyID, jws.JWK, embed)
	}
	if string(jws.Payload) != payload || jws.EmptyPayload != (payload == "") {
		t.Errorf("%s: payload %q (empty: %v), want %q", algorithm, jws.Payload, jws.EmptyPayload, payload)
	}
	if embed && !jws.JWK.Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
		t.Errorf("%s: the embedded key is read as another", algorithm)
	}
	if err := jws.Verify(public); err != nil {
		t.Errorf("%s: %v", algorithm, err)
	}
}

func TestParseJWSReadsUnusualButCorrectMessages(t *testing.T) {
	key := jwsTestKeys()["ES256"]
	kid := `"kid":"` + jwsTestKeyID + `"`
	long := strings.Repeat("x", 300<<10)
	for name, body := range map[string][]byte{
		"white space":               bytes.ReplaceAll(jwsTestSign(key, " { \"alg\" :\t\"ES256\",\r\n\"url\":\"u\","+kid+"}\n", "{}", " \n"), []byte(","), []byte(" ,\t")),
		"unknown outer members":     jwsTestSign(key, `{"alg":"ES256","url":"u",`+kid+`}`, "{}", `"x":[1,-2.5e+3,null,{"a":[]}],"Header":{},`),
		"unknown protected members": jwsTestSign(key, `{"typ":"jose+json","x":{"y":[true,false]},"alg":"ES256","url":"u",`+kid+`}`, "{}", ""),
		"escaped characters":        jwsTestSign(key, `{"\u0061lg":"\u0045S256","url":"\u0075",`+kid+`}`, "{}", `"\ud83d\ude00":"\"\\\/\b\f\n\r\t",`),
		"no nonce":                  jwsTestSign(key, `{"alg":"ES256","url":"u",`+kid+`}`, "{}", ""),
		"a long payload":            jwsTestSign(key, `{"alg":"ES256","url":"u",`+kid+`}`, long, ""),
	} {
		jws, err := ParseJWS(body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := jws.Verify(key.Public()); err != nil || jws.URL != "u" || jws.KeyID != jwsTestKeyID || jws.Nonce != "" {
			t.Errorf("%s: %v, read %.200v", name, err, jws)
		}
	}
}

func TestVerifyWantsTheRightKey(t *testing.T) {
	for _, algorithm := range SignatureAlgorithms() {
		jws, err := ParseJWS(jwsTestJose(t, algorithm, false, []byte("{}")))
		if err != nil {
			t.Fatal(err)
		}
		for other, key := range jwsTestKeys() {
			err := jws.Verify(key.Public())
			if other != algorithm && !errors.Is(err, ErrBadSignatureAlgorithm) {
				t.Errorf("%s by the key of %s: %v", algorithm, other, err)
			}
		}
	}
	jws, err := ParseJWS(jwsTestSign(jwsTestKeys()["ES256"], jwsTestHeader(""), "{}", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := jws.Verify(jwsTestECKey(jwsTestCurve, 8).Public()); !errors.Is(err, ErrBadSignature) {
		t.Errorf("another P-256 key: %v", err)
	}
	if err := jws.Verify([]byte("a secret")); !errors.Is(err, ErrBadPublicKey) {
		t.Errorf("a key of no kind: %v", err)
	}
}

// TestVerifyCoversEveryCharacter changes a signed message in each place where
// the change still parses.
func TestVerifyCoversEveryCharacter(t *testing.T) {
	for _, algorithm := range SignatureAlgorithms() {
		body := jwsTestJose(t, algorithm, false, []byte(`{"a":"b"}`))
		var parts struct{ Payload, Protected, Signature string }
		if err := json.Unmarshal(body, &parts); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{parts.Payload, parts.Protected, parts.Signature} {
			for i := 0; i < len(part); i += 7 {
				changed := []byte(part)
				changed[i] = jwsTestOtherLetter(changed[i])
				jws, err := ParseJWS(bytes.Replace(body, []byte(part), changed, 1))
				if err == nil && jws.Verify(jwsTestKeys()[algorithm].Public()) == nil {
					t.Errorf("%s: character %d of %q can be changed", algorithm, i, part)
				}
			}
		}
	}
}

func TestParseJWSReturnsTheNonceOfWhatItRefuses(t *testing.T) {
	for _, header := range []string{
		`{"nonce":"` + jwsTestNonce + `","alg":"HS256","url":"u","kid":"k"}`,
		`{"nonce":"` + jwsTestNonce + `","alg":"ES256","url":"u"}`,
		`{"nonce":"` + jwsTestNonce + `","alg":"ES256","url":"u","jwk":{"kty":"oct","k":"AAAA"}}`,
	} {
		jws, err := ParseJWS(jwsTestSign(jwsTestEdKey(), header, "{}", ""))
		if err == nil || jws == nil || jws.Nonce != jwsTestNonce || jws.URL != "" || jws.KeyID != "" || jws.Payload != nil {
			t.Errorf("%s: %v with %+v", header, err, jws)
		}
	}
}
