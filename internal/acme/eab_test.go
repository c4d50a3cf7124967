package acme

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

const (
	eabTestURL   = "https://ca.example/acme/new-account"
	eabTestKeyID = "kid-1"
)

var eabTestKey = bytes.Repeat([]byte{7}, 64)

func eabTestAccount(tb testing.TB, algorithm string) *JWK {
	tb.Helper()
	key, err := ParseJWK(jwsTestJWK(jwsTestKeys()[algorithm].Public()))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// eabTestSign binds payload with HS256 and the test key, whatever is in it.
func eabTestSign(protected, payload string) []byte {
	protected, payload = jwkText([]byte(protected)), jwkText([]byte(payload))
	mac := hmac.New(sha256.New, eabTestKey)
	fmt.Fprintf(mac, "%s.%s", protected, payload)
	return fmt.Appendf(nil, `{"protected":%q,"payload":%q,"signature":%q}`, protected, payload, jwkText(mac.Sum(nil)))
}

func TestEABOfEveryAlgorithm(t *testing.T) {
	for _, algorithm := range []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512} {
		for account := range jwsTestKeys() {
			options := new(jose.SignerOptions).WithHeader("url", eabTestURL).WithHeader("kid", eabTestKeyID)
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: eabTestKey}, options)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := signer.Sign(jwsTestJWK(jwsTestKeys()[account].Public()))
			if err != nil {
				t.Fatal(err)
			}
			raw := []byte(signed.FullSerialize())
			eab, err := ParseEAB(raw)
			if err != nil {
				t.Fatalf("%s for %s: %v", algorithm, account, err)
			}
			if eab.KeyID != eabTestKeyID || !bytes.Equal(eab.Raw, raw) {
				t.Errorf("%s for %s: kid %q, raw %s", algorithm, account, eab.KeyID, eab.Raw)
			}
			if err := eab.Verify(eabTestKey, eabTestAccount(t, account), eabTestURL); err != nil {
				t.Errorf("%s for %s: %v", algorithm, account, err)
			}
		}
	}
}

func TestEABBindsKeyAndURL(t *testing.T) {
	account := eabTestAccount(t, "ES256")
	// The key is the same whatever the order and number of its members.
	payload := `{"use":"sig",` + string(account.JSON[1:])
	eab, err := ParseEAB(eabTestSign(`{"alg":"HS256","kid":"kid-1","url":"`+eabTestURL+`"}`, payload))
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(eabTestKey)
	other[63]++
	for _, test := range []struct {
		name    string
		mac     []byte
		account *JWK
		url     string
		want    error
	}{
		{"all is right", eabTestKey, account, eabTestURL, nil},
		{"another MAC key", other, account, eabTestURL, ErrBadSignature},
		{"half the MAC key", eabTestKey[:32], account, eabTestURL, ErrBadSignature},
		{"another account key", eabTestKey, eabTestAccount(t, "ES384"), eabTestURL, ErrMalformedJWS},
		{"another url", eabTestKey, account, eabTestURL + "/", ErrMalformedJWS},
	} {
		if err := eab.Verify(test.mac, test.account, test.url); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if eab.Verify(nil, account, eabTestURL) == nil {
		t.Error("an empty MAC key verifies")
	}
}

func TestParseEABRefuses(t *testing.T) {
	account := string(eabTestAccount(t, "ES256").JSON)
	header := `{"alg":"HS256","kid":"kid-1","url":"` + eabTestURL + `"}`
	edit := func(old, new string) string {
		return string(eabTestSign(strings.Replace(header, old, new, 1), account))
	}
	good := string(eabTestSign(header, account))
	malformed, algorithm, refused := ErrMalformedJWS, ErrBadSignatureAlgorithm, ErrBadPublicKey
	for _, test := range []jwsBad{
		{name: "null", body: "null", want: malformed},
		{name: "text", body: `"abc"`, want: malformed},
		{name: "an unprotected header", body: strings.Replace(good, "{", `{"header":{},`, 1), want: malformed},
		{name: "several signatures", body: strings.Replace(good, "{", `{"signatures":[],`, 1), want: malformed},
		{name: "a MAC with padding", body: strings.Replace(good, `"}`, `="}`, 1), want: malformed},
		{name: "no MAC", body: string(eabTestSign(header, account)[:len(good)-46]) + `"}`, want: malformed},
		{name: "a nonce", body: edit("{", `{"nonce":"AAAA",`), want: malformed},
		{name: "a jwk", body: edit("{", `{"jwk":`+account+`,`), want: malformed},
		{name: "crit", body: edit("{", `{"crit":["exp"],"exp":1,`), want: malformed},
		{name: "b64", body: edit("{", `{"b64":true,`), want: malformed},
		{name: "no kid", body: edit(`"kid"`, `"Kid"`), want: malformed},
		{name: "an empty kid", body: edit("kid-1", ""), want: malformed},
		{name: "a kid that is a number", body: edit(`"kid-1"`, "1"), want: malformed},
		{name: "kid twice", body: edit("{", `{"kid":"kid-2",`), want: malformed},
		{name: "no url", body: edit(`"url"`, `"uri"`), want: malformed},
		{name: "an empty url", body: edit(eabTestURL, ""), want: malformed},
		{name: "no alg", body: edit(`"alg"`, `"algo"`), want: malformed},
		{name: "alg none", body: edit("HS256", "none"), want: algorithm},
		{name: "alg ES256", body: edit("HS256", "ES256"), want: algorithm},
		{name: "alg HS1", body: edit("HS256", "HS1"), want: algorithm},
		{name: "an empty payload", body: string(eabTestSign(header, "")), want: malformed},
		{name: "a payload that is no key", body: string(eabTestSign(header, "{}")), want: malformed},
		{name: "a symmetric key", body: string(eabTestSign(header, `{"kty":"oct","k":"AAAA"}`)), want: refused},
		{name: "a private key", body: string(eabTestSign(header, `{"d":"AAAA",`+account[1:])), want: refused},
	} {
		if _, err := ParseEAB([]byte(test.body)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}
