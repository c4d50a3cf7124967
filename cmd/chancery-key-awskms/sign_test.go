package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"testing"
	"time"
)

// TestPublishedVectors checks signatures against AWS's Signature Version 4 test
// suite.
func TestPublishedVectors(t *testing.T) {
	now := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	for _, test := range []struct {
		name, method, body string
		header             http.Header
		token, signed      string
		signature          string
	}{
		{
			name: "get-vanilla", method: "GET", signed: "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
		},
		{
			name: "post-vanilla", method: "POST", signed: "host;x-amz-date",
			signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
		},
		{
			name: "post-x-www-form-urlencoded", method: "POST", body: "Param1=value1",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, signed: "content-type;host;x-amz-date",
			signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
		},
		{
			name: "post-header-value-case", method: "POST", header: http.Header{"My-Header1": {"VALUE1"}}, signed: "host;my-header1;x-amz-date",
			signature: "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
		},
		{
			name: "get-header-value-trim", method: "GET", header: http.Header{"My-Header1": {" value1"}, "My-Header2": {` "a   b   c"`}},
			signed: "host;my-header1;my-header2;x-amz-date", signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
		},
		{
			name: "post-sts-header-before", method: "POST", signed: "host;x-amz-date;x-amz-security-token",
			token:     "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
			signature: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
		},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, "https://example.amazonaws.com/", strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range test.header {
			request.Header[name] = values
		}
		key := credentials{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", test.token}
		authorize(request, []byte(test.body), key, "us-east-1", "service", now)
		want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + test.signed + ", Signature=" + test.signature
		if got := request.Header.Get("Authorization"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, want)
		}
	}
}

// verifySignature checks the signature of a request as the service does, on
// what arrived.
func verifySignature(r *http.Request, body []byte, id, secret, region string, now time.Time) error {
	var credential, signed, signature string
	fields := strings.NewReplacer(",", "", "=", " ").Replace(r.Header.Get("Authorization"))
	if n, err := fmt.Sscanf(fields, "AWS4-HMAC-SHA256 Credential %s SignedHeaders %s Signature %s", &credential, &signed, &signature); n != 3 {
		return fmt.Errorf("the Authorization can't be read: %w", err)
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || now.Sub(at).Abs() > 5*time.Minute {
		return fmt.Errorf("the X-Amz-Date is %q", r.Header.Get("X-Amz-Date"))
	}
	day := at.Format("20060102")
	if credential != fmt.Sprintf("%s/%s/%s/kms/aws4_request", id, day, region) {
		return fmt.Errorf("the scope is %s", credential)
	}
	names := strings.Split(signed, ";")
	if !sort.StringsAreSorted(names) {
		return errors.New("the signed headers are not in order")
	}
	canonical := fmt.Sprintf("%s\n%s\n%s\n", r.Method, r.URL.Path, r.URL.RawQuery)
	for _, needed := range []string{"content-type", "host", "x-amz-date", "x-amz-target", "x-amz-security-token"} {
		if (needed == "host" || r.Header.Get(needed) != "") && !strings.Contains(";"+signed+";", ";"+needed+";") {
			return fmt.Errorf("%s is not signed", needed)
		}
	}
	for _, name := range names {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		canonical += fmt.Sprintf("%s:%s\n", name, value)
	}
	canonical += fmt.Sprintf("\n%s\n%x", signed, sha256.Sum256(body))
	text := fmt.Sprintf("AWS4-HMAC-SHA256\n%s\n%s/%s/kms/aws4_request\n%x", at.Format("20060102T150405Z"), day, region, sha256.Sum256([]byte(canonical)))
	keyed := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	key := keyed(keyed(keyed(keyed([]byte("AWS4"+secret), day), region), "kms"), "aws4_request")
	if want := fmt.Sprintf("%x", keyed(key, text)); signature != want {
		return fmt.Errorf("the signature is %s and not %s", signature, want)
	}
	return nil
}
