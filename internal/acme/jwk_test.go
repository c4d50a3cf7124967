package acme

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// The modulus and the thumbprint of RFC 7638 §3.1.
const (
	jwkSampleModulus    = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	jwkSampleThumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
)

func TestThumbprintOfTheRFC(t *testing.T) {
	key, err := ParseJWK([]byte(`{"kty":"RSA","n":"` + jwkSampleModulus + `","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`))
	if err != nil {
		t.Fatal(err)
	}
	if key.Thumbprint != jwkSampleThumbprint {
		t.Errorf("thumbprint %s, want %s", key.Thumbprint, jwkSampleThumbprint)
	}
	if want := `{"e":"AQAB","kty":"RSA","n":"` + jwkSampleModulus + `"}`; string(key.JSON) != want {
		t.Errorf("canonical form is %s", key.JSON)
	}
}

func TestParseJWKAgreesWithJose(t *testing.T) {
	for _, key := range jwsTestKeys() {
		jwkCompare(t, key.Public())
	}
	// Small scalars whose points have a coordinate with leading zeros.
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		zeroX, zeroY := false, false
		for scalar := uint16(1); !zeroX || !zeroY; scalar++ {
			public := &jwsTestECKey(curve, scalar).PublicKey
			point, err := public.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			x, y := point[1:len(point)/2+1], point[len(point)/2+1:]
			if x[0] == 0 && !zeroX || y[0] == 0 && !zeroY {
				jwkCompare(t, public)
			}
			zeroX, zeroY = zeroX || x[0] == 0, zeroY || y[0] == 0
		}
	}
}

// jwkCompare reads public as go-jose prints it, and what is printed again.
func jwkCompare(t *testing.T, public crypto.PublicKey) {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	raw := jwsTestJWK(public)
	for range 2 {
		key, err := ParseJWK(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if key.Thumbprint != jwkText(sum) {
			t.Errorf("%s: thumbprint %s, want %s", raw, key.Thumbprint, jwkText(sum))
		}
		if !public.(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public) {
			t.Errorf("%s is read as another key", raw)
		}
		raw = key.JSON
	}
}

func TestParseJWKRefuses(t *testing.T) {
	malformed, refused := ErrMalformedJWS, ErrBadPublicKey
	for _, test := range append(jwkBadEC(), jwkBadRSAAndOKP()...) {
		if _, err := ParseJWK([]byte(test.body)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	for body, want := range map[string]error{
		``:                         malformed,
		`null`:                     malformed,
		`[]`:                       malformed,
		`{}`:                       malformed,
		`{"kty":1}`:                malformed,
		`{"kty":"EC","kty":"EC"}`:  malformed,
		`{"kty":"EC"} x`:           malformed,
		`{"Kty":"EC"}`:             malformed,
		`{"kty":"ec"}`:             refused,
		`{"kty":"oct","k":"AAAA"}`: refused,
		`{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}`: refused,
		`{"kty":""}`: refused,
	} {
		if _, err := ParseJWK([]byte(body)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", body, err, want)
		}
	}
}

func jwkBadEC() []jwsBad {
	malformed, refused := ErrMalformedJWS, ErrBadPublicKey
	good := string(jwsTestJWK(&jwsTestECKey(elliptic.P256(), 7).PublicKey))
	point, _ := (&jwsTestECKey(elliptic.P256(), 7).PublicKey).Bytes()
	x, y := jwkText(point[1:33]), jwkText(point[33:])
	edit := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	bad := []jwsBad{
		{name: "no curve", body: edit(`"crv":"P-256",`, ""), want: malformed},
		{name: "no x", body: edit(`"x"`, `"X"`), want: malformed},
		{name: "no y", body: edit(`"y"`, `"Y"`), want: malformed},
		{name: "x is a number", body: edit(`"`+x+`"`, `5`), want: malformed},
		{name: "x is null", body: edit(`"`+x+`"`, `null`), want: malformed},
		{name: "x is padded", body: edit(x, x+"="), want: malformed},
		{name: "x has a line break", body: edit(x, x+`\n`), want: malformed},
		{name: "x twice", body: edit("{", `{"x":"AAAA",`), want: malformed},
		{name: "x is empty", body: edit(x, ""), want: refused},
		{name: "x has an octet more", body: edit(x, jwkText(append([]byte{0}, point[1:33]...))), want: refused},
		{name: "x has an octet less", body: edit(x, jwkText(point[2:33])), want: refused},
		{name: "not on the curve", body: edit(y, x), want: refused},
		{name: "of another curve", body: edit("P-256", "P-384"), want: refused},
		{name: "at zero", body: edit(x, strings.Repeat("A", 43)), want: refused},
		{name: "beyond the field", body: edit(x, strings.Repeat("_", 42)+"8"), want: refused},
		{name: "P-224", body: edit("P-256", "P-224"), want: refused},
		{name: "secp256k1", body: edit("P-256", "secp256k1"), want: refused},
		{name: "curve in lower case", body: edit("P-256", "p-256"), want: refused},
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		bad = append(bad, jwsBad{name: "with " + private, body: edit("{", fmt.Sprintf(`{%q:"AAAA",`, private)), want: refused})
	}
	return bad
}

func jwkBadRSAAndOKP() []jwsBad {
	malformed, refused := ErrMalformedJWS, ErrBadPublicKey
	rsa := func(bits int, last byte, e string) string {
		n := bytes.Repeat([]byte{0xff}, bits/8)
		n[len(n)-1] = last
		return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q}`, jwkText(n), e)
	}
	okp := func(crv string, x []byte) string {
		return fmt.Sprintf(`{"kty":"OKP","crv":%q,"x":%q}`, crv, jwkText(x))
	}
	good := rsa(2048, 0xff, "AQAB")
	return []jwsBad{
		{name: "no n", body: `{"kty":"RSA","e":"AQAB"}`, want: malformed},
		{name: "no e", body: strings.Replace(good, `"e"`, `"E"`, 1), want: malformed},
		{name: "e is a number", body: strings.Replace(good, `"AQAB"`, `65537`, 1), want: malformed},
		{name: "n is empty", body: `{"kty":"RSA","n":"","e":"AQAB"}`, want: refused},
		{name: "n has a leading zero", body: strings.Replace(good, `"n":"`, `"n":"AAAA`, 1), want: refused},
		{name: "n is even", body: rsa(2048, 0xfe, "AQAB"), want: refused},
		{name: "n is small", body: rsa(2040, 0xff, "AQAB"), want: refused},
		{name: "n is large", body: rsa(8200, 0xff, "AQAB"), want: refused},
		{name: "n is huge", body: rsa(1<<20, 0xff, "AQAB"), want: refused},
		{name: "e is empty", body: rsa(2048, 0xff, ""), want: refused},
		{name: "e is 0", body: rsa(2048, 0xff, "AA"), want: refused},
		{name: "e is 1", body: rsa(2048, 0xff, "AQ"), want: refused},
		{name: "e is 3", body: rsa(2048, 0xff, "Aw"), want: refused},
		{name: "e is 65535", body: rsa(2048, 0xff, "__8"), want: refused},
		{name: "e is 65538", body: rsa(2048, 0xff, "AQAC"), want: refused},
		{name: "e has a leading zero", body: rsa(2048, 0xff, "AAEAAQ"), want: refused},
		{name: "e has 32 bits", body: rsa(2048, 0xff, "gAAAAQ"), want: refused},
		{name: "e has 72 bits", body: rsa(2048, 0xff, "AQAAAAAAAAAB"), want: refused},
		{name: "OKP without curve", body: `{"kty":"OKP","x":"AAAA"}`, want: malformed},
		{name: "OKP without x", body: `{"kty":"OKP","crv":"Ed25519"}`, want: malformed},
		{name: "X25519", body: okp("X25519", make([]byte, 32)), want: refused},
		{name: "Ed448", body: okp("Ed448", make([]byte, 57)), want: refused},
		{name: "Ed25519 with an octet less", body: okp("Ed25519", bytes.Repeat([]byte{5}, 31)), want: refused},
		{name: "Ed25519 with an octet more", body: okp("Ed25519", bytes.Repeat([]byte{5}, 33)), want: refused},
	}
}

func TestParseJWKAcceptsTheBounds(t *testing.T) {
	for _, bits := range []int{2048, 8192} {
		for _, e := range []string{"AQAB", "f____w"} {
			n := bytes.Repeat([]byte{0xff}, bits/8)
			raw := fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q,"use":"sig","x":{}}`, jwkText(n), e)
			if _, err := ParseJWK([]byte(raw)); err != nil {
				t.Errorf("%d bits, exponent %s: %v", bits, e, err)
			}
		}
	}
}

// TestSmallOrder checks each point of small order, in each of its spellings,
// against go-jose, and finds that neighbours of them are let through.
func TestSmallOrder(t *testing.T) {
	ff := strings.Repeat("ff", 30)
	for _, y := range []string{
		strings.Repeat("00", 32), "01" + strings.Repeat("00", 31),
		"ec" + ff + "7f", "ed" + ff + "7f", "ee" + ff + "7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	} {
		x, err := hex.DecodeString(y)
		if err != nil {
			t.Fatal(err)
		}
		for _, sign := range []byte{0, 0x80} {
			x[31] = x[31]&0x7f | sign
			raw := fmt.Appendf(nil, `{"kty":"OKP","crv":"Ed25519","x":%q}`, jwkText(x))
			if _, err := ParseJWK(raw); !errors.Is(err, ErrBadPublicKey) {
				t.Errorf("%x: %v", x, err)
			}
			if new(jose.JSONWebKey).UnmarshalJSON(raw) == nil {
				t.Errorf("go-jose takes %x", x)
			}
		}
		x[1] ^= 0x10
		if _, err := ParseJWK(fmt.Appendf(nil, `{"kty":"OKP","crv":"Ed25519","x":%q}`, jwkText(x))); err != nil {
			t.Errorf("%x: %v", x, err)
		}
	}
}

func TestAlgorithmOfOtherKeys(t *testing.T) {
	p224 := &ecdsa.PublicKey{Curve: elliptic.P224()}
	for _, key := range []crypto.PublicKey{nil, "text", p224, jwsTestEdKey(), jwsTestEdKey()[:5]} {
		if name := jwkAlgorithm(key); name != "" {
			t.Errorf("%T signs with %s", key, name)
		}
	}
}
