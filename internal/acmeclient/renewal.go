package acmeclient

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// maxRenewalInfo is the size in octets that no renewal information exceeds.
const maxRenewalInfo = 64 << 10

// Due is when a certificate is to be renewed: when the window that the server
// suggests opens (RFC 9773 §4.2), or after two thirds of the certificate's
// lifetime when the server suggests none.
func (c *Client) Due(ctx context.Context, certificate *x509.Certificate) (time.Time, error) {
	directory, err := c.directory(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if directory.RenewalInfo != "" {
		due, err := c.suggested(ctx, directory.RenewalInfo, certificate)
		if err == nil || ctx.Err() != nil {
			return due, explain("ask when to renew", err)
		}
		c.Report(Event{State: Warning, Text: "couldn't ask when to renew: " + plain(err) + "; taking two thirds of the lifetime"})
	}
	return fallbackDue(certificate), nil
}

func fallbackDue(certificate *x509.Certificate) time.Time {
	lifetime := certificate.NotAfter.Sub(certificate.NotBefore)
	return certificate.NotBefore.Add(lifetime * 2 / 3)
}

func (c *Client) suggested(ctx context.Context, base string, certificate *x509.Certificate) (time.Time, error) {
	id, err := acme.ARIUniqueIdentifier(certificate)
	if err != nil {
		return time.Time{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/"+id, nil)
	if err != nil {
		return time.Time{}, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode == http.StatusNotFound {
		return time.Time{}, errors.New("the server does not know the certificate")
	}
	if answer.StatusCode != http.StatusOK {
		return time.Time{}, fmt.Errorf("the server answers %s", answer.Status)
	}
	var info struct {
		Window struct{ Start, End time.Time } `json:"suggestedWindow"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxRenewalInfo)).Decode(&info); err != nil {
		return time.Time{}, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	if info.Window.Start.IsZero() || !info.Window.End.After(info.Window.Start) {
		return time.Time{}, errors.New("the server's window is no interval")
	}
	return info.Window.Start, nil
}
