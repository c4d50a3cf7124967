package acmeclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"chancery/internal/renewal"
)

// Due is when a certificate is to be renewed: when the window that the server
// suggests opens (RFC 9773 §4.2), or at about two thirds of the certificate's
// lifetime when the server suggests none.
func (c *Client) Due(ctx context.Context, certificate *x509.Certificate) (time.Time, error) {
	window, err := c.window(ctx, certificate)
	return dueIn(ctx, window, err, certificate, c.Report)
}

// dueIn is when a window opens. Where there is none it says so, and takes that
// of a server that says nothing.
func dueIn(ctx context.Context, window renewal.Window, err error, certificate *x509.Certificate, report func(Event)) (time.Time, error) {
	switch {
	case err == nil:
		return window.Start, nil
	case ctx.Err() != nil:
		return time.Time{}, explain("ask when to renew", err)
	}
	if !errors.Is(err, errNoWindow) {
		report(Event{State: Warning, Text: "couldn't ask when to renew: " + plain(err) + "; taking two thirds of the lifetime"})
	}
	return renewal.Default(certificate).Start, nil
}

// errNoWindow is wrapped when a server suggests no windows.
var errNoWindow = errors.New("the server suggests no windows")

// window asks when to renew (RFC 9773).
func (c *Client) window(ctx context.Context, certificate *x509.Certificate) (renewal.Window, error) {
	directory, err := c.directory(ctx)
	if err != nil {
		return renewal.Window{}, err
	}
	id := renewal.CertID(certificate)
	if directory.RenewalInfo == "" || id == "" {
		return renewal.Window{}, errNoWindow
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, directory.RenewalInfo+"/"+id, nil)
	if err != nil {
		return renewal.Window{}, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return renewal.Window{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	switch answer.StatusCode {
	case http.StatusOK:
		return renewal.Parse(answer.Header, answer.Body, time.Now())
	case http.StatusNotFound:
		return renewal.Window{}, errors.New("the server does not know the certificate")
	default:
		return renewal.Window{}, fmt.Errorf("the server answers %s", answer.Status)
	}
}
