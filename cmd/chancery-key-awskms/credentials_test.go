package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/cloudkms"
	"chancery/internal/keyhelper/wire"
)

// write makes a file of a test.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// roleServer has a role: as an instance, as a container's agent, and as STS.
func roleServer(t *testing.T) *httptest.Server {
	t.Helper()
	role, err := json.Marshal(map[string]any{
		"Code": "Success", "AccessKeyId": "ASIAROLE", "SecretAccessKey": testSecret, "Token": "session", "Expiration": "2026-11-23T18:00:00Z",
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, "imds-token")
	})
	guarded := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-aws-ec2-metadata-token") != "imds-token" {
				w.WriteHeader(http.StatusUnauthorized)
			}
			_, _ = io.WriteString(w, answer)
		}
	}
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/{$}", guarded("ca-role\n"))
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/ca-role", guarded(string(role)))
	mux.HandleFunc("GET /container", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "agent-token" {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = w.Write(role)
	})
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != "kubernetes-token" || r.FormValue("Version") != "2011-06-15" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>`)
			return
		}
		_, _ = io.WriteString(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>`+
			`<Credentials><SessionToken>session</SessionToken><SecretAccessKey>`+testSecret+`</SecretAccessKey><Expiration>2026-11-23T18:00:00Z</Expiration>`+
			`<AccessKeyId>ASIAROLE</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func TestCredentials(t *testing.T) {
	server := roleServer(t)
	file := write(t, "# ours\n[default]\naws_access_key_id=AKIDFILE\naws_secret_access_key = "+testSecret+"\n[ca]\naws_access_key_id = AKIDCA\naws_secret_access_key = "+testSecret+"\naws_session_token = session\n[sso]\nsso_session = x\n")
	token := write(t, "kubernetes-token\n")
	role := credentials{"ASIAROLE", testSecret, "session"}
	for _, test := range []struct {
		name      string
		variables map[string]string
		want      credentials
		problem   string
	}{
		{"environment", map[string]string{"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_SESSION_TOKEN": "C", "AWS_SHARED_CREDENTIALS_FILE": file}, credentials{"A", "B", "C"}, ""},
		{"half of the environment", map[string]string{"AWS_ACCESS_KEY_ID": "A"}, credentials{}, "AWS_SECRET_ACCESS_KEY is not"},
		{"file", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}, credentials{"AKIDFILE", testSecret, ""}, ""},
		{"profile", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "ca"}, credentials{"AKIDCA", testSecret, "session"}, ""},
		{"no such profile", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "none"}, credentials{}, "there is no profile [none]"},
		{"another kind of profile", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "sso"}, credentials{}, "other kinds of profiles"},
		{"no file", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file + ".none", "AWS_PROFILE": "ca"}, credentials{}, "there is no file"},
		{"web identity", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/ca", "AWS_ENDPOINT_URL_STS": server.URL}, role, ""},
		{"web identity refused", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": "arn:aws:iam::1:role/ca", "AWS_ENDPOINT_URL_STS": server.URL}, credentials{}, "AccessDenied (HTTP 403): Not authorized"},
		{"web identity of no role", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token}, credentials{}, "AWS_ROLE_ARN is not"},
		{"container", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.URL + "/container", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "agent-token"}, role, ""},
		{"container refuses", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.URL + "/container"}, credentials{}, "HTTP 403"},
		{"container elsewhere", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.7/x"}, credentials{}, "neither https nor"},
		{"instance", map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.URL}, role, ""},
		{"instance without a role", map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.URL + "/none"}, credentials{}, "is there a role?"},
		{"nothing", map[string]string{"AWS_EC2_METADATA_DISABLED": "true"}, credentials{}, "there are no AWS credentials"},
	} {
		found, err := findCredentials(withVariables(test.variables), testRegion)
		var got credentials
		if err == nil {
			var ends time.Time
			got, ends, err = found(t.Context())
			if err == nil && got == role && !ends.Equal(time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)) {
				t.Errorf("%s: they end at %s", test.name, ends)
			}
		}
		if test.problem == "" && (err != nil || got != test.want) || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil && strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: the error tells the secret", test.name)
		}
	}
}

// Credentials that were replaced in the file are taken up when the service
// refuses the old ones.
func TestCredentialsAreReplaced(t *testing.T) {
	f := newFakeKMS(t, "P-256")
	profile := func(id string) string {
		return "[default]\naws_access_key_id=" + id + "\naws_secret_access_key=" + testSecret + "\n"
	}
	file := write(t, profile(testID))
	k := f.open(t, withVariables(map[string]string{"AWS_SHARED_CREDENTIALS_FILE": file}))
	f.set(func() { f.ids = []string{"AKIDNEW"} })
	told, _ := errors.AsType[*wire.Error](k.Check(t.Context()))
	if told == nil || told.Code != wire.Refused || !strings.Contains(told.Message, "UnrecognizedClientException") {
		t.Errorf("with the old ones: %v", told)
	}
	if err := os.WriteFile(file, []byte(profile("AKIDNEW")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Check(t.Context()); err != nil {
		t.Errorf("with the new ones: %v", err)
	}
}

// The session token goes with the request, signed.
func TestSessionToken(t *testing.T) {
	f := newFakeKMS(t, "P-256")
	server := roleServer(t)
	f.set(func() { f.ids = []string{"ASIAROLE"} })
	if err := f.open(t, withVariables(map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.URL})).Check(context.Background()); err != nil {
		t.Error(err)
	}
}

func FuzzCredentials(f *testing.F) {
	for _, seed := range []string{
		"[default]\naws_access_key_id=A\naws_secret_access_key=B\n",
		`{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"B","Token":"C","Expiration":"2026-11-23T18:00:00Z"}`,
		`<R><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>B</SecretAccessKey></Credentials></AssumeRoleWithWebIdentityResult></R>`,
		`<R><Error><Code>AccessDenied</Code></Error></R>`,
	} {
		f.Add(200, []byte(seed))
		f.Add(403, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		complete := func(c credentials, err error) {
			if err == nil && (c.id == "" || c.secret == "") {
				t.Error("incomplete credentials are taken")
			}
		}
		c, err := parseProfile(body, "default")
		complete(c, err)
		c, _, err = parseRole(body)
		complete(c, err)
		c, _, err = parseAssumed(cloudkms.Answer{Status: status, Body: body})
		complete(c, err)
	})
}
