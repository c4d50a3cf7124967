package oidclogin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// How often the provider is asked whether the person is done (RFC 8628 §3.5).
const (
	pollEvery   = 5 * time.Second // unless the provider says otherwise
	pollSlower  = 5 * time.Second // more each time that it says slow_down, or can't be reached
	pollLongest = time.Minute
)

// deviceCode is an answer of the device authorization endpoint (RFC 8628 §3.2).
type deviceCode struct {
	Code     string `json:"device_code"`
	UserCode string `json:"user_code"`
	URL      string `json:"verification_uri"`
	Complete string `json:"verification_uri_complete"`
	Expires  int64  `json:"expires_in"`
	Interval int64  `json:"interval"`
}

// Device tells the person a code to type in at the provider's page, on any
// device, and waits until they have done so, the code expires, or ctx ends (RFC
// 8628). The error wraps ErrRefused when they, or the provider, have refused.
func Device(ctx context.Context, config Config) (idToken string, err error) {
	l, err := start(ctx, config)
	if err != nil {
		return "", err
	}
	if l.provider.Device == "" {
		return "", errors.New("couldn't log in: the provider has no login by code; use a browser")
	}
	var code deviceCode
	if err := l.post(ctx, l.provider.Device, url.Values{"scope": {strings.Join(l.Scopes, " ")}}, &code); err != nil {
		return "", fmt.Errorf("couldn't ask for a code: %w", err)
	}
	if code.Code == "" || code.UserCode == "" || !isSafe(code.URL) || code.Expires <= 0 {
		return "", errors.New("couldn't ask for a code: the provider's answer lacks one, or where to type it in")
	}
	fmt.Fprintf(l.Out, "On any device, open %s and type in the code\n\n  %s\n\n", plain(code.URL), plain(code.UserCode))
	if isSafe(code.Complete) {
		fmt.Fprintf(l.Out, "or open %s and compare the code.\n", plain(code.Complete))
	}
	const longest = 24 * time.Hour
	ctx, cancel := context.WithTimeoutCause(ctx, min(time.Duration(min(code.Expires, 1<<20))*time.Second, longest), errExpired)
	defer cancel()
	return l.poll(ctx, code)
}

var errExpired = errors.New("the code has expired")

// poll asks for the token until there is one, or a reason why there will be
// none.
func (l *login) poll(ctx context.Context, code deviceCode) (string, error) {
	interval := pollEvery
	if code.Interval > 0 {
		interval = min(time.Duration(min(code.Interval, 3600))*time.Second, pollLongest)
	}
	wait := l.Wait
	if wait == nil {
		wait = sleep
	}
	for {
		if err := wait(ctx, interval); err != nil {
			return "", fmt.Errorf("couldn't log in: nobody has typed in the code: %w", context.Cause(ctx))
		}
		var answer tokens
		err := l.post(ctx, l.provider.Token, url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code.Code},
		}, &answer)
		failed, named := errors.AsType[*oauthError](err)
		switch {
		case err == nil:
			return l.check(answer, "")
		case named && failed.Code == "authorization_pending":
		case named && failed.Code == "slow_down", errors.Is(err, errUnreachable):
			interval = min(interval+pollSlower, pollLongest)
		case named && failed.Code == "expired_token":
			return "", fmt.Errorf("couldn't log in: %w; start again", errExpired)
		default:
			return "", fmt.Errorf("couldn't log in: %w", err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
