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

	"chancery/internal/cloudkms"
	"chancery/internal/keyhelper/wire"
)

func TestSigns(t *testing.T) {
	message := []byte("message")
	short, long, longest := sha256.Sum256(message), sha512.Sum384(message), sha512.Sum512(message)
	for typ, signed := range map[string]struct {
		digest []byte
		hash   crypto.Hash
	}{
		"P-256": {short[:], crypto.SHA256}, "P-384": {long[:], crypto.SHA384}, "P-521": {longest[:], crypto.SHA512},
		"RSA-2048": {short[:], crypto.SHA256},
	} {
		t.Run(typ, func(t *testing.T) {
			f := newFakeKMS(t, typ)
			k := f.open(t, static())
			signature, err := k.Sign(t.Context(), signed.hash, signed.digest)
			if err != nil {
				t.Fatal(err)
			}
			switch public := f.signer.Public().(type) {
			case *ecdsa.PublicKey:
				if !ecdsa.VerifyASN1(public, signed.digest, signature) {
					t.Error("the signature is bad")
				}
			case *rsa.PublicKey:
				if err := rsa.VerifyPKCS1v15(public, signed.hash, signed.digest, signature); err != nil {
					t.Error(err)
				}
			}
			if err := k.Check(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := k.Sign(t.Context(), crypto.SHA1, signed.digest); err == nil {
				t.Error("SHA-1 was taken")
			}
		})
	}
}

// An alias that is moved does not change the key of a helper at work.
func TestKeepsToTheKey(t *testing.T) {
	k := newFakeKMS(t, "P-256").open(t, static())
	if id := k.(*key).id; id != testARN {
		t.Errorf("the key is asked for as %s", id)
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
		{"throttled once", fault{status: 400, kind: "ThrottlingException"}, 1, "", "", 2},
		{"throttled", fault{status: 400, kind: "com.amazonaws.kms#ThrottlingException"}, 9, wire.Unavailable, "ThrottlingException (HTTP 400): because", 3},
		{"internal", fault{status: 500, kind: "KMSInternalException"}, 9, wire.Unavailable, "KMSInternalException", 3},
		{"dependency", fault{status: 503, kind: "DependencyTimeoutException"}, 9, wire.Unavailable, "DependencyTimeoutException", 3},
		{"key unavailable", fault{status: 500, kind: "KeyUnavailableException"}, 9, wire.Unavailable, "KeyUnavailableException", 3},
		{"a proxy", fault{status: 502, body: "<html>bad gateway"}, 9, wire.Unavailable, "HTTP 502", 3},
		{"access denied", fault{status: 400, kind: "AccessDeniedException"}, 9, wire.Refused, "AccessDeniedException", 1},
		{"in the header", fault{status: 400, header: "AccessDeniedException:http://internal.amazon.com/", body: `{"Message":"no"}`}, 9, wire.Refused, "AccessDeniedException (HTTP 400): no", 1},
		{"disabled", fault{status: 400, kind: "DisabledException"}, 9, wire.Refused, "DisabledException", 1},
		{"pending deletion", fault{status: 400, kind: "KMSInvalidStateException"}, 9, wire.Refused, "KMSInvalidStateException", 1},
		{"not found", fault{status: 400, kind: "NotFoundException"}, 9, wire.Refused, "NotFoundException", 1},
		{"bad signature", fault{status: 400, kind: "InvalidSignatureException"}, 9, wire.Refused, "InvalidSignatureException", 1},
		{"expired once", fault{status: 400, kind: "ExpiredTokenException"}, 1, "", "", 2},
		{"expired", fault{status: 400, kind: "ExpiredTokenException"}, 9, wire.Refused, "ExpiredTokenException", 2},
		{"no JSON", fault{status: 200, body: "OK"}, 9, wire.Unavailable, "no answer of Sign that can be read", 3},
		{"no signature", fault{status: 200, body: "{}"}, 9, wire.Unavailable, "gives no signature", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeKMS(t, "P-256")
			k := f.open(t, static())
			f.set(func() { f.asked, f.faults = nil, slices.Repeat([]fault{test.fault}, test.times) })
			_, err := k.Sign(t.Context(), crypto.SHA256, make([]byte, 32))
			told, _ := errors.AsType[*wire.Error](err)
			if (err == nil) != (test.code == "") || err != nil && (told == nil || told.Code != test.code || !strings.Contains(told.Message, test.says)) {
				t.Errorf("%#v", err)
			}
			f.set(func() {
				if len(f.asked) != test.asked {
					t.Errorf("asked %d times, want %d", len(f.asked), test.asked)
				}
			})
		})
	}
}

func TestStates(t *testing.T) {
	f := newFakeKMS(t, "P-256")
	k := f.open(t, static())
	for state, code := range map[string]string{
		"Enabled": "", "Disabled": wire.Refused, "PendingDeletion": wire.Refused, "Updating": wire.Unavailable, "": wire.Refused,
	} {
		f.set(func() { f.state = state })
		told, _ := errors.AsType[*wire.Error](k.Check(t.Context()))
		if (told == nil) != (code == "") || told != nil && (told.Code != code || !strings.Contains(told.Message, state)) {
			t.Errorf("%s: %v", state, told)
		}
	}
	f.set(func() { f.usage = "ENCRYPT_DECRYPT" })
	if _, err := k.Public(t.Context()); err == nil || !strings.Contains(err.Error(), "ENCRYPT_DECRYPT") {
		t.Errorf("a key for encryption: %v", err)
	}
}

func TestAway(t *testing.T) {
	f := newFakeKMS(t, "P-256")
	k := f.open(t, static())
	f.Close()
	told, _ := errors.AsType[*wire.Error](k.Check(t.Context()))
	if told == nil || told.Code != wire.Unavailable || !strings.Contains(told.Message, "connection refused") {
		t.Errorf("%v", told)
	}
}

func TestURIs(t *testing.T) {
	for _, test := range []struct{ uri, endpoint, problem string }{
		{"awskms:" + testARN, "https://kms.eu-central-1.amazonaws.com/", ""},
		{"awskms:alias/issuing?region=us-gov-west-1", "https://kms.us-gov-west-1.amazonaws.com/", ""},
		{"awskms:1234abcd-12ab-34cd-56ef-1234567890ab?region=cn-north-1", "https://kms.cn-north-1.amazonaws.com.cn/", ""},
		{"awskms:mrk-1234abcd12ab34cd56ef1234567890ab?region=eu-west-1&endpoint=https://vpce-1.kms.eu-west-1.vpce.amazonaws.com", "https://vpce-1.kms.eu-west-1.vpce.amazonaws.com/", ""},
		{"awskms:arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/a", "https://kms.us-gov-west-1.amazonaws.com/", ""},
		{"awskms:alias/issuing", "", "in which region"},
		{"awskms:?region=eu-west-1", "", "no ARN, identifier or alias"},
		{"awskms:arn:aws:s3:::bucket", "", "no ARN, identifier or alias"},
		{"awskms:" + testARN + "?region=us-east-1", "", "the key's ARN says eu-central-1"},
		{"awskms:alias/a?region=evil.example/", "", "no region"},
		{"awskms:alias/a?secret=x", "", "not supported"},
		{"awskms:alias/a?region=eu-west-1&endpoint=http://kms.corp", "", "not https"},
	} {
		found, err := findKey(test.uri, static())
		switch {
		case test.problem == "" && (err != nil || found.(*key).endpoint != test.endpoint):
			t.Errorf("%s: %+v, %v", test.uri, found, err)
		case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
			t.Errorf("%s: %v, want %s", test.uri, err, test.problem)
		}
	}
	env := withVariables(map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-3"})
	if found, err := findKey("awskms:alias/a", env); err != nil || found.(*key).endpoint != "https://kms.eu-west-3.amazonaws.com/" {
		t.Errorf("the region of the environment: %+v, %v", found, err)
	}
}

func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"KeyId":"` + testARN + `","PublicKey":"MFkw","KeyUsage":"SIGN_VERIFY","SigningAlgorithms":["ECDSA_SHA_256"]}`,
		`{"KeyMetadata":{"KeyState":"Enabled"}}`, `{"Signature":"MEUC"}`,
		`{"__type":"com.amazonaws.kms#NotFoundException","message":"no such key"}`, "<html>",
	} {
		f.Add(200, "", []byte(seed))
		f.Add(400, "DisabledException:http://x/", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		answer := cloudkms.Answer{Status: status, Header: http.Header{"X-Amzn-Errortype": {kind}}, Body: body}
		for _, out := range []any{new(publicKey), new(described), new(signed)} {
			err := accept("Sign", answer, out)
			if err == nil {
				continue
			}
			told, ok := errors.AsType[*wire.Error](err)
			if !ok || told.Code != wire.Refused && told.Code != wire.Unavailable {
				t.Fatalf("%#v", err)
			}
			if err := wire.Write(new(bytes.Buffer), wire.Response{Error: told}); err != nil {
				t.Errorf("the error can't be told: %v", err)
			}
		}
	})
}
