package main

import (
	"context"
	"os"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	f := newFakeKMS(t, "P-256", "EC_SIGN_P256_SHA256")
	file := func(change func(map[string]string)) map[string]string {
		return map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": f.accountFile(t, change)}
	}
	set := func(name, value string) map[string]string {
		return file(func(account map[string]string) { account[name] = value })
	}
	host := strings.TrimPrefix(f.URL, "http://")
	for _, test := range []struct {
		name      string
		variables map[string]string
		problem   string
	}{
		{"a service account", file(nil), ""},
		{"the machine", map[string]string{"GCE_METADATA_HOST": host}, ""},
		{"no metadata server", map[string]string{"GCE_METADATA_HOST": host + "/none"}, "is no metadata server"},
		{"no machine", map[string]string{"GCE_METADATA_HOST": "127.0.0.1:1"}, "GOOGLE_APPLICATION_CREDENTIALS is not set, and there is no metadata server"},
		{"no host", map[string]string{"GCE_METADATA_HOST": "%zz"}, "is no host"},
		{"no file", map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "/none"}, "no such file"},
		{"no JSON", map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": os.DevNull}, "not the JSON of a service account"},
		{"a user", set("type", "authorized_user"), `of the type "authorized_user"`},
		{"no key", set("private_key", ""), "no client_email with a private_key"},
		{"a bad key", set("private_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "can't be read"},
		{"in clear", set("token_uri", "http://oauth2.corp/token"), "not https"},
		{"another account", set("client_email", "other@corp"), "invalid_grant"},
		{"an unknown key", set("private_key_id", "key-2"), "invalid_grant"},
		{"nobody answers", set("token_uri", "http://127.0.0.1:1/token"), "there is no access token: couldn't reach 127.0.0.1:1"},
	} {
		found, err := findToken(withVariables(test.variables))
		token := ""
		if err == nil {
			token, _, err = found(context.Background())
		}
		if test.problem == "" && (err != nil || token == "") || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%s: %q, %v", test.name, token, err)
		}
		if err != nil && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: the error tells the key", test.name)
		}
	}
}

// A service account that got another key is taken up when a token is needed.
func TestAccountIsReplaced(t *testing.T) {
	f := newFakeKMS(t, "P-256", "EC_SIGN_P256_SHA256")
	path := f.accountFile(t, nil)
	k, err := findKey("gcpkms:"+testName+"?endpoint="+f.URL, withVariables(map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": path}))
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"{}": "a service_account with a key is needed", strings.Replace(string(good), "key-1", "key-2", 1): "invalid_grant",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := k.Check(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A token that the service takes no longer is renewed.
func TestTokenIsRenewed(t *testing.T) {
	f := newFakeKMS(t, "P-256", "EC_SIGN_P256_SHA256")
	k := f.open(t)
	f.set(func() { f.tokens++ })
	if err := k.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzAccount(f *testing.F) {
	f.Add([]byte(`{"type":"service_account","client_email":"a@b","private_key_id":"1","private_key":"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n","token_uri":"https://oauth2.googleapis.com/token"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if a, err := parseAccount(content); err == nil && (a.key == nil || a.endpoint == "") {
			t.Error("an incomplete account is taken")
		}
	})
}
