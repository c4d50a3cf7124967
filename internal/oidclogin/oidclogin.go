// Package oidclogin gets an ID token from an OpenID provider for the person at
// the terminal: by their browser, or by a code that they type in on another
// device. It is a public client (RFC 8252): it has no secret that it could
// keep, and uses PKCE.
//
// It checks that a token is the answer to its own question and comes from the
// right provider, but not the signature: the token comes straight from the
// provider over TLS (OpenID Connect Core §3.1.3.7), and the server that gets it
// checks everything. It keeps no tokens.
package oidclogin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Config says which provider is asked, and how.
type Config struct {
	Issuer   string // URL; a slash at its end makes no difference
	ClientID string
	Secret   string   // for providers that give one to native clients, too; "" for none
	Scopes   []string // besides openid; nil for email and profile

	Out    io.Writer                                  // where the person is told what to do
	Client *http.Client                               // nil for one of 30 seconds a request that trusts what the system trusts
	Open   func(ctx context.Context, _ string) error  // shows a URL in a browser; nil for the system's way
	Listen string                                     // where Browser is answered; "" for a free port of 127.0.0.1
	Wait   func(context.Context, time.Duration) error // nil for waiting by the clock
	Rand   io.Reader                                  // nil for crypto/rand
}

// ErrRefused is wrapped by the errors that say that the person, or the
// provider, has refused.
var ErrRefused = errors.New("the login was refused")

// errUnreachable is wrapped by errors that may be gone the next time.
var errUnreachable = errors.New("it can't be reached just now")

const (
	largestAnswer = 1 << 20 // octets
	requestTime   = 30 * time.Second
)

// login is one attempt to get a token.
type login struct {
	Config
	provider provider
}

// provider is what a provider publishes about itself (OpenID Connect Discovery
// §3 and RFC 8628 §4).
type provider struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Device        string `json:"device_authorization_endpoint"`
	TakesClaims   bool   `json:"claims_parameter_supported"`
}

// tenantPlace is what the issuer of an organization's account at Microsoft has
// in the place of the tenant, while it is not known which that is.
const tenantPlace = "{tenantid}"

// start fills in what is left out and asks the provider where its endpoints
// are.
func start(ctx context.Context, config Config) (*login, error) {
	l := &login{Config: config}
	if l.Issuer == "" || l.ClientID == "" {
		return nil, errors.New("couldn't log in: issuer and client ID must be known")
	}
	if l.Scopes == nil {
		l.Scopes = []string{"email", "profile"}
	}
	if !slices.Contains(l.Scopes, "openid") {
		l.Scopes = append([]string{"openid"}, l.Scopes...)
	}
	client := http.Client{Timeout: requestTime}
	if l.Client != nil {
		client = *l.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // secrets go to the published URLs only
	l.Client = &client
	if l.Rand == nil {
		l.Rand = rand.Reader
	}
	if l.Out == nil {
		l.Out = io.Discard
	}
	address := strings.ReplaceAll(strings.TrimSuffix(l.Issuer, "/"), tenantPlace, "organizations") + "/.well-known/openid-configuration"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("couldn't ask the provider: %w", err)
	}
	if err := l.send(request, &l.provider); err != nil {
		return nil, err
	}
	if !sameIssuer(l.provider.Issuer, l.Issuer) {
		return nil, fmt.Errorf("couldn't use %s: it is about the issuer %q", address, plain(l.provider.Issuer))
	}
	return l, l.checkEndpoints()
}

// checkEndpoints wants all that is sent to go through TLS, or not to leave the
// machine.
func (l *login) checkEndpoints() error {
	for name, address := range map[string]string{
		"issuer": l.Issuer, "authorization_endpoint": l.provider.Authorization,
		"token_endpoint": l.provider.Token, "device_authorization_endpoint": l.provider.Device,
	} {
		if address != "" && !isSafe(address) {
			return fmt.Errorf("couldn't use the provider: its %s is %q; an https URL is needed", name, plain(address))
		}
	}
	if l.provider.Token == "" {
		return errors.New("couldn't use the provider: it publishes no token_endpoint")
	}
	return nil
}

func isSafe(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return false
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (ip.IsLoopback() || u.Hostname() == "localhost")
}

func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

// isFrom reports whether that is the issuer, or that of some tenant where the
// issuer has a place for one: the server decides which tenants may come.
func (l *login) isFrom(issuer string) bool {
	before, after, several := strings.Cut(l.Issuer, tenantPlace)
	if !several {
		return sameIssuer(issuer, l.Issuer)
	}
	rest, isBefore := strings.CutPrefix(issuer, before)
	tenant, isAfter := strings.CutSuffix(rest, after)
	return isBefore && isAfter && tenant != "" && !strings.Contains(tenant, "/")
}

// oauthError is an error of a provider (RFC 6749 §5.2).
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (e *oauthError) Error() string {
	if e.Description == "" {
		return "the provider answered " + plain(e.Code)
	}
	return "the provider answered " + plain(e.Code) + ": " + plain(e.Description)
}

// Is makes access_denied match ErrRefused.
func (e *oauthError) Is(target error) bool { return target == ErrRefused && e.Code == "access_denied" }

// plain takes out of a provider's text what could do more to a terminal than
// be read.
func plain(text string) string {
	const longest = 300
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	return text[:min(len(text), longest)]
}

// post sends a form and reads the JSON that answers it.
func (l *login) post(ctx context.Context, address string, form url.Values, into any) error {
	form.Set("client_id", l.ClientID)
	if l.Secret != "" {
		form.Set("client_secret", l.Secret)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("couldn't ask the provider: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return l.send(request, into)
}

// send sends a request and reads the JSON that answers it. An error that the
// provider names is an *oauthError.
func (l *login) send(request *http.Request, into any) error {
	request.Header.Set("Accept", "application/json")
	answer, err := l.Client.Do(request) //nolint:gosec // to the provider that the person's CA names
	if err != nil {
		return fmt.Errorf("couldn't ask the provider: %w: %w", errUnreachable, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largestAnswer+1))
	if err == nil && len(body) > largestAnswer {
		err = fmt.Errorf("it has more than %d octets", largestAnswer)
	}
	if err != nil {
		return fmt.Errorf("couldn't read the provider's answer: %w", err)
	}
	if answer.StatusCode >= 500 {
		return fmt.Errorf("couldn't ask the provider: %w: %s answered %d", errUnreachable, request.URL, answer.StatusCode)
	}
	if answer.StatusCode != http.StatusOK {
		failed := &oauthError{}
		if json.Unmarshal(body, failed) != nil || failed.Code == "" {
			return fmt.Errorf("couldn't ask the provider: %s answered %d", request.URL, answer.StatusCode)
		}
		return failed
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("couldn't read the answer of %s: %w", request.URL, err)
	}
	return nil
}

// tokens is a successful answer of the token endpoint (OpenID Connect Core
// §3.1.3.3).
type tokens struct {
	IDToken string `json:"id_token"`
}

// check wants an ID token of the provider for this client, made for this login
// if nonce is not "".
func (l *login) check(answer tokens, nonce string) (idToken string, err error) {
	if answer.IDToken == "" {
		return "", errors.New("couldn't log in: the provider gave no ID token; does the client have the scope openid?")
	}
	var claims struct {
		Issuer   string          `json:"iss"`
		Audience json.RawMessage `json:"aud"`
		Nonce    string          `json:"nonce"`
	}
	parts := strings.Split(answer.IDToken, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	switch {
	case err != nil || len(parts) != 3:
		return "", errors.New("couldn't log in: what the provider gave as ID token is no JWT")
	case !l.isFrom(claims.Issuer):
		return "", fmt.Errorf("couldn't log in: the ID token is from %q, not %s", plain(claims.Issuer), l.Issuer)
	case !slices.Contains(texts(claims.Audience), l.ClientID):
		return "", fmt.Errorf("couldn't log in: the ID token is not for the client %s", l.ClientID)
	case nonce != "" && !equal(claims.Nonce, nonce):
		return "", errors.New("couldn't log in: the ID token was made for another login")
	}
	return answer.IDToken, nil
}

// texts reads a text or a list of them.
func texts(value json.RawMessage) []string {
	var one string
	var several []string
	if json.Unmarshal(value, &one) == nil {
		return []string{one}
	}
	_ = json.Unmarshal(value, &several) // what is neither names nobody
	return several
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// secret is a text that nobody can guess, of 256 bits.
func (l *login) secret() (string, error) {
	octets := make([]byte, 32)
	if _, err := io.ReadFull(l.Rand, octets); err != nil {
		return "", fmt.Errorf("couldn't read random octets: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(octets), nil
}
