package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/cloudkms"
	"chancery/internal/keyhelper/wire"
)

func TestSigns(t *testing.T) {
	message := []byte("message")
	short, long := sha256.Sum256(message), sha512.Sum384(message)
	for _, test := range []struct {
		typ, algorithm string
		digest         []byte
		hash           crypto.Hash
	}{
		{"P-256", "EC_SIGN_P256_SHA256", short[:], crypto.SHA256},
		{"P-384", "EC_SIGN_P384_SHA384", long[:], crypto.SHA384},
		{"RSA-2048", "RSA_SIGN_PKCS1_2048_SHA256", short[:], crypto.SHA256},
	} {
		t.Run(test.typ, func(t *testing.T) {
			f := newFakeKMS(t, test.typ, test.algorithm)
			k := f.open(t)
			signature, err := k.Sign(t.Context(), test.hash, test.digest)
			if err != nil {
				t.Fatal(err)
			}
			switch public := f.signer.Public().(type) {
			case *ecdsa.PublicKey:
				if !ecdsa.VerifyASN1(public, test.digest, signature) {
					t.Error("the signature is bad")
				}
			case *rsa.PublicKey:
				if err := rsa.VerifyPKCS1v15(public, test.hash, test.digest, signature); err != nil {
					t.Error(err)
				}
			}
			if err := k.Check(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := k.Sign(t.Context(), crypto.SHA512, make([]byte, 64)); err == nil || !strings.Contains(err.Error(), "not SHA-512") {
				t.Errorf("SHA-512: %v", err)
			}
			if f.tokens != 1 {
				t.Errorf("%d tokens were asked for", f.tokens)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault fault
		times int
		code  string // "" for success
		says  string
		asked int
	}{
		{"throttled once", fault{code: 429, status: "RESOURCE_EXHAUSTED"}, 1, "", "", 2},
		{"throttled", fault{code: 429, status: "RESOURCE_EXHAUSTED"}, 9, wire.Unavailable, "RESOURCE_EXHAUSTED (HTTP 429): because", 3},
		{"down", fault{code: 503, status: "UNAVAILABLE"}, 9, wire.Unavailable, "UNAVAILABLE", 3},
		{"internal", fault{code: 500, status: "INTERNAL"}, 9, wire.Unavailable, "INTERNAL", 3},
		{"late", fault{code: 504, status: "DEADLINE_EXCEEDED"}, 9, wire.Unavailable, "DEADLINE_EXCEEDED", 3},
		{"a proxy", fault{code: 502, body: "<html>bad gateway"}, 9, wire.Unavailable, "HTTP 502", 3},
		{"access denied", fault{code: 403, status: "PERMISSION_DENIED"}, 9, wire.Refused, "PERMISSION_DENIED", 1},
		{"disabled", fault{code: 400, status: "FAILED_PRECONDITION"}, 9, wire.Refused, "FAILED_PRECONDITION", 1},
		{"not found", fault{code: 404, status: "NOT_FOUND"}, 9, wire.Refused, "NOT_FOUND", 1},
		{"expired once", fault{code: 401, status: "UNAUTHENTICATED"}, 1, "", "", 2},
		{"expired", fault{code: 401, status: "UNAUTHENTICATED"}, 9, wire.Refused, "UNAUTHENTICATED", 2},
		{"no JSON", fault{code: 200, body: "OK"}, 9, wire.Unavailable, "no answer that can be read", 3},
		{"nothing", fault{code: 200, body: "{}"}, 9, wire.Unavailable, "damaged", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeKMS(t, "P-256", "EC_SIGN_P256_SHA256")
			k := f.open(t)
			f.set(func() { f.asked, f.faults = 0, slices.Repeat([]fault{test.fault}, test.times) })
			_, err := k.Sign(t.Context(), crypto.SHA256, make([]byte, 32))
			told, _ := errors.AsType[*wire.Error](err)
			if (err == nil) != (test.code == "") || err != nil && (told == nil || told.Code != test.code || !strings.Contains(told.Message, test.says)) {
				t.Errorf("%#v", err)
			}
			if f.asked != test.asked {
				t.Errorf("asked %d times, want %d", f.asked, test.asked)
			}
		})
	}
}

// TestDamaged changes what the service answers.
func TestDamaged(t *testing.T) {
	f := newFakeKMS(t, "P-256", "EC_SIGN_P256_SHA256")
	k := f.open(t)
	for name, change := range map[string]func(map[string]any){
		"the signature":        func(a map[string]any) { a["signature"] = []byte("other") },
		"its checksum":         func(a map[string]any) { a["signatureCrc32c"] = "1" },
		"no checksum":          func(a map[string]any) { delete(a, "signatureCrc32c") },
		"an unverified digest": func(a map[string]any) { a["verifiedDigestCrc32c"] = false },
		"another key":          func(a map[string]any) { a["name"] = testName + "1" },
	} {
		f.set(func() { f.change = change })
		_, err := k.Sign(t.Context(), crypto.SHA256, make([]byte, 32))
		if told, _ := errors.AsType[*wire.Error](err); told == nil || told.Code != wire.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, test := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"the key":           {func(a map[string]any) { a["pem"] = a["pem"].(string) + "\n" }, "damaged"},
		"no PEM":            {func(a map[string]any) { a["pem"], a["pemCrc32c"] = "x", sumOf([]byte("x")) }, "no public key"},
		"another algorithm": {func(a map[string]any) { a["algorithm"] = "RSA_SIGN_PSS_2048_SHA256" }, `is for "RSA_SIGN_PSS_2048_SHA256"`},
	} {
		f.set(func() { f.change = test.change })
		if _, err := k.Public(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAway(t *testing.T) {
	f := newFakeKMS(t, "P-256", "EC_SIGN_P256_SHA256")
	k := f.open(t)
	f.Close()
	told, _ := errors.AsType[*wire.Error](k.Check(t.Context()))
	if told == nil || told.Code != wire.Unavailable || !strings.Contains(told.Message, "connection refused") {
		t.Errorf("%v", told)
	}
}

func TestURIs(t *testing.T) {
	for uri, problem := range map[string]string{
		"gcpkms:" + testName: "",
		"gcpkms:" + testName + "?endpoint=https://cloudkms-corp.p.googleapis.com": "",
		"gcpkms:projects/example.com:ca/" + testName[len("projects/corp-ca/"):]:   "",
		"gcpkms:" + strings.TrimSuffix(testName, "/cryptoKeyVersions/1"):          "no version of a key",
		"gcpkms:" + testName + "/../../x":                                         "no version of a key",
		"gcpkms:" + testName + "?endpoint=http://cloudkms.corp":                   "not https",
		"gcpkms:" + testName + "?credentials=x":                                   "not supported",
		"awskms:" + testName:                                                      "is not one like gcpkms:NAME",
	} {
		_, err := findKey(uri, withVariables(nil))
		if (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", uri, err, problem)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"name":"` + testName + `","pem":"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n","pemCrc32c":"1","algorithm":"EC_SIGN_P256_SHA256"}`,
		`{"name":"` + testName + `","signature":"MEUC","signatureCrc32c":"42","verifiedDigestCrc32c":true}`,
		`{"error":{"code":403,"status":"PERMISSION_DENIED","message":"no"}}`,
		`{"access_token":"a","expires_in":3599,"token_type":"Bearer"}`, `{"error":"invalid_grant","error_description":"no"}`, "<html>",
	} {
		f.Add(200, []byte(seed))
		f.Add(401, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		answer := cloudkms.Answer{Status: status, Header: http.Header{}, Body: body}
		k := &key{name: testName}
		_, _, badPublic := k.readPublic(answer)
		signature, badSignature := k.readSignature(answer)
		if badSignature == nil && len(signature) == 0 {
			t.Error("no signature is taken for one")
		}
		now := time.Unix(0, 0)
		token, ends, badToken := parseToken(answer, now)
		if badToken == nil && (token == "" || !ends.After(now)) {
			t.Errorf("the token %q ends at %s", token, ends)
		}
		for _, err := range []error{badPublic, badSignature, badToken} {
			told, ok := errors.AsType[*wire.Error](err)
			if err == nil {
				continue
			}
			if !ok {
				t.Fatalf("%#v", err)
			}
			if err := wire.Write(new(bytes.Buffer), wire.Response{Error: told}); err != nil {
				t.Errorf("the error can't be told: %v", err)
			}
		}
	})
}
