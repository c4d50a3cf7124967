package oidclogin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// callback is where the provider sends the browser back to.
const callback = "/callback"

// Browser shows the provider's page in the person's browser and waits until
// they have logged in there, or ctx ends: the authorization code flow with PKCE
// (RFC 7636), the answer coming to a port of this machine (RFC 8252 §7.3). The
// error wraps ErrRefused when they, or the provider, have refused.
func Browser(ctx context.Context, config Config) (idToken string, err error) {
	l, err := start(ctx, config)
	if err != nil {
		return "", err
	}
	if l.provider.Authorization == "" {
		return "", errors.New("couldn't log in: the provider has no login by browser")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cmp.Or(l.Listen, "127.0.0.1:0"))
	if err != nil {
		return "", fmt.Errorf("couldn't listen for the browser: %w", err)
	}
	a, err := l.newAttempt("http://" + listener.Addr().String() + callback)
	if err != nil {
		return "", errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: a, ReadHeaderTimeout: requestTime, MaxHeaderBytes: 64 << 10}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // it ends when it is told to
	a.show(ctx)
	idToken, err = a.wait(ctx)

	// The browser still gets its page; a connection that it only holds open is
	// not waited for.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(ending) != nil {
		_ = server.Close()
	}
	serving.Wait()
	return idToken, err
}

// attempt is one login by browser.
type attempt struct {
	*login
	redirect, state, nonce, verifier string
	answered                         atomic.Bool  // a second answer is none, for codes can be used once
	outcomes                         chan outcome // has room for the one
}

type outcome struct {
	idToken string
	err     error
}

func (l *login) newAttempt(redirect string) (*attempt, error) {
	a := &attempt{login: l, redirect: redirect, outcomes: make(chan outcome, 1)}
	for _, secret := range []*string{&a.state, &a.nonce, &a.verifier} {
		var err error
		if *secret, err = l.secret(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// url is where the person logs in (OpenID Connect Core §3.1.2.1).
func (a *attempt) url() string {
	challenge := sha256.Sum256([]byte(a.verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {a.ClientID}, "redirect_uri": {a.redirect},
		"scope": {strings.Join(a.Scopes, " ")}, "state": {a.state}, "nonce": {a.nonce},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	if a.provider.TakesClaims { // else some tell the address only to who asks for it at another endpoint (§5.4, §5.5)
		query.Set("claims", `{"id_token":{"email":null,"email_verified":null}}`)
	}
	separator := "?"
	if strings.Contains(a.provider.Authorization, "?") {
		separator = "&"
	}
	return a.provider.Authorization + separator + query.Encode()
}

// show opens the page. Where there is no browser, the person reads the URL.
func (a *attempt) show(ctx context.Context) {
	address := a.url()
	fmt.Fprintf(a.Out, "Log in with your browser. If it doesn't open by itself, open this URL on this machine:\n\n  %s\n\n", address)
	open := a.Open
	if open == nil {
		open = openBrowser
	}
	if err := open(ctx, address); err != nil {
		fmt.Fprintf(a.Out, "No browser could be opened (%v).\n", err)
	}
}

func (a *attempt) wait(ctx context.Context) (string, error) {
	select {
	case outcome := <-a.outcomes:
		return outcome.idToken, outcome.err
	case <-ctx.Done():
		return "", fmt.Errorf("couldn't log in: nobody has done so in the browser: %w", context.Cause(ctx))
	}
}

// ServeHTTP takes what the provider sends by way of the browser (RFC 6749
// §4.1.2). Whoever doesn't know the state is told nothing, and changes nothing.
func (a *attempt) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != callback || !equal(query.Get("state"), a.state) || a.answered.Swap(true) {
		http.NotFound(w, r)
		return
	}
	idToken, err := a.finish(r.Context(), query)
	a.outcomes <- outcome{idToken, err}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("Connection", "close")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, page, "Not logged in", "The terminal says why. You can close this window.")
		return
	}
	fmt.Fprintf(w, page, "Logged in", "You can close this window and go on in the terminal.")
}

const page = `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>%[1]s</title>` +
	`<style>body{font-family:sans-serif;margin:20vh auto;max-width:30em;text-align:center}</style><h1>%[1]s</h1><p>%[2]s</p></html>`

func (a *attempt) finish(ctx context.Context, query url.Values) (string, error) {
	if code := query.Get("error"); code != "" {
		failed := &oauthError{code, query.Get("error_description")}
		return "", fmt.Errorf("couldn't log in: %w", failed)
	}
	if issuer := query.Get("iss"); issuer != "" && !a.isFrom(issuer) { // RFC 9207 §2.4
		return "", fmt.Errorf("couldn't log in: the answer is from %q, not %s", plain(issuer), a.Issuer)
	}
	var answer tokens
	err := a.post(ctx, a.provider.Token, url.Values{
		"grant_type": {"authorization_code"}, "code": {query.Get("code")},
		"redirect_uri": {a.redirect}, "code_verifier": {a.verifier},
	}, &answer)
	if err != nil {
		return "", fmt.Errorf("couldn't log in: %w", err)
	}
	return a.check(answer, a.nonce)
}

// openBrowser starts the system's program for URLs and leaves it to itself, for
// it may be the browser that runs on.
func openBrowser(_ context.Context, address string) error {
	command := []string{"xdg-open", address}
	switch runtime.GOOS {
	case "darwin":
		command[0] = "open"
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler", address}
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // the URL is a checked one and no option; the browser outlives the login
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
