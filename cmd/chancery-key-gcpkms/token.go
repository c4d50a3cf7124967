package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"chancery/internal/cloudkms"
	"chancery/internal/keyhelper/wire"
)

// scope is what access tokens are asked for.
const scope = "https://www.googleapis.com/auth/cloudkms"

// source gets an access token and when it ends.
type source func(ctx context.Context) (string, time.Time, error)

// findToken chooses where access tokens come from: the service account in the
// file that GOOGLE_APPLICATION_CREDENTIALS names, or that of the machine.
func findToken(env environment) (source, error) {
	path := env.get("GOOGLE_APPLICATION_CREDENTIALS")
	if path == "" {
		return fromMachine(env), nil
	}
	if _, err := readAccount(path); err != nil {
		return nil, err
	}
	client := cloudkms.NewClient(false)
	return func(ctx context.Context) (token string, ends time.Time, err error) {
		account, err := readAccount(path) // which may have got another key
		if err != nil {
			return "", ends, wire.Errorf(wire.Refused, "%v", err)
		}
		return account.token(ctx, client, env.now())
	}, nil
}

func readAccount(path string) (*account, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read GOOGLE_APPLICATION_CREDENTIALS: %w", err)
	}
	found, err := parseAccount(content)
	if err != nil {
		return nil, fmt.Errorf("couldn't use %s, which GOOGLE_APPLICATION_CREDENTIALS names: %w", path, err)
	}
	return found, nil
}

// fromMachine asks the metadata server of the virtual machine or the cluster.
func fromMachine(env environment) source {
	host := env.get("GCE_METADATA_HOST")
	if host == "" {
		host = "metadata.google.internal"
	}
	address := "http://" + host + "/computeMetadata/v1/instance/service-accounts/default/token"
	client := cloudkms.NewClient(true)
	return func(ctx context.Context) (token string, ends time.Time, err error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return "", ends, wire.Errorf(wire.Refused, "GCE_METADATA_HOST is no host: %.100q", host)
		}
		request.Header.Set("Metadata-Flavor", "Google")
		answer, err := cloudkms.Exchange(client, request)
		if err != nil {
			return "", ends, cloudkms.Explain("GOOGLE_APPLICATION_CREDENTIALS is not set, and there is no metadata server", err)
		}
		if answer.Header.Get("Metadata-Flavor") != "Google" {
			return "", ends, wire.Errorf(wire.Refused, "%s is no metadata server; set GOOGLE_APPLICATION_CREDENTIALS", host)
		}
		return parseToken(answer, env.now())
	}
}

// account is a service account with its key, as Google's tools write it.
type account struct {
	Type       string `json:"type"`
	Email      string `json:"client_email"`
	KeyID      string `json:"private_key_id"`
	PrivateKey string `json:"private_key"`
	TokenURI   string `json:"token_uri"`
	key        *rsa.PrivateKey
	endpoint   string
}

// parseAccount reads the file of a service account.
func parseAccount(content []byte) (*account, error) {
	a := new(account)
	if err := json.Unmarshal(content, a); err != nil {
		return nil, errors.New("it is not the JSON of a service account")
	}
	if a.Type != "service_account" {
		return nil, fmt.Errorf("it is of the type %.40q; a service_account with a key is needed", a.Type)
	}
	block, _ := pem.Decode([]byte(a.PrivateKey))
	if block == nil || a.Email == "" {
		return nil, errors.New("it has no client_email with a private_key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("its private_key can't be read")
	}
	var isRSA bool
	if a.key, isRSA = parsed.(*rsa.PrivateKey); !isRSA {
		return nil, errors.New("its private_key is no RSA key")
	}
	u, err := url.Parse(a.TokenURI)
	if err != nil {
		return nil, errors.New("its token_uri is no URL")
	}
	base, err := cloudkms.ParseEndpoint(u.Scheme + "://" + u.Host)
	if err != nil {
		return nil, fmt.Errorf("its token_uri can't be used: %w", err)
	}
	a.endpoint = base.String() + u.EscapedPath()
	return a, nil
}

// token exchanges an assertion for an access token (RFC 7523 §2.1).
func (a *account) token(ctx context.Context, client *http.Client, now time.Time) (token string, ends time.Time, err error) {
	assertion, err := a.assertion(now)
	if err != nil {
		return "", ends, wire.Errorf(wire.Refused, "couldn't sign with the service account's key: %v", err)
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", ends, wire.Errorf(wire.Refused, "couldn't ask for an access token: %v", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := cloudkms.Exchange(client, request)
	if err != nil {
		return "", ends, cloudkms.Explain("there is no access token", err)
	}
	return parseToken(answer, now)
}

// assertionLife is the longest that Google takes.
const assertionLife = time.Hour

// assertion says who asks, signed (RFC 7523 §3, RS256).
func (a *account) assertion(now time.Time) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": a.KeyID})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": a.Email, "scope": scope, "aud": a.TokenURI, "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := a.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// maxTokenLife bounds what an answer says.
const maxTokenLife = 24 * time.Hour

// parseToken reads an access token, or why there is none (RFC 6749 §5). Of what
// the answer says only the error is passed on.
func parseToken(answer cloudkms.Answer, now time.Time) (token string, ends time.Time, err error) {
	var body struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		TokenType   string `json:"token_type"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	unread := json.Unmarshal(answer.Body, &body)
	life := time.Duration(min(body.ExpiresIn, int64(maxTokenLife/time.Second))) * time.Second
	switch {
	case answer.Status != http.StatusOK:
		return "", ends, wire.Errorf(cloudkms.Code(answer.Status), "there is no access token: HTTP %d %s: %s",
			answer.Status, cloudkms.Say(body.Error), cloudkms.Say(body.Description))
	case unread != nil || body.AccessToken == "" || strings.ContainsAny(body.AccessToken, "\r\n") || life <= 0 || !strings.EqualFold(body.TokenType, "Bearer"):
		return "", ends, wire.Errorf(wire.Unavailable, "couldn't read the answer to a request for an access token")
	}
	return body.AccessToken, now.Add(life), nil
}
