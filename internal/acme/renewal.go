package acme

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/renewal"
	"chancery/internal/store"
)

// parseCertID takes apart a certificate identifier of RFC 9773 §4.1.
func parseCertID(text string) (key store.CertificateKey, ok bool) {
	keyID, number, ok := renewal.ParseCertID(text)
	return store.CertificateKey{IssuerID: store.IssuerID(keyID), Serial: number}, ok
}

// findByCertID returns the certificate an identifier names: nil when this CA
// has none such.
func (d *Door) findByCertID(ctx context.Context, text string) (*store.Certificate, error) {
	key, ok := parseCertID(text)
	if !ok {
		return nil, newProblem(malformed, "%.200q is no certificate identifier; RFC 9773 section 4.1 says how it is made", text)
	}
	found, err := d.deps.Store.Certificate(ctx, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && found.Abandoned {
		return nil, nil
	}
	if err != nil {
		return nil, failure.Wrap("read certificate", err)
	}
	if certID, err := d.certIDOf(ctx, key); err != nil || certID != text {
		return nil, err
	}
	return &found, nil
}

// renewalInfo serves RFC 9773 §4.2.
func (d *Door) renewalInfo(ctx context.Context, r *request) (*response, error) {
	found, err := d.findByCertID(ctx, r.PathValue("certid"))
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, notFound("there is no such certificate")
	}
	start, end, explanation := d.deps.Windows.Window(ctx, found, d.deps.Now())
	info := map[string]any{"suggestedWindow": map[string]string{"start": rfc3339(start), "end": rfc3339(end)}}
	if explanation != "" {
		info["explanationURL"] = explanation
	}
	resp := &response{header: http.Header{}, body: info}
	return resp.set("Retry-After", seconds(d.jittered(d.settings.Load().RenewalPoll))), nil
}

// jittered makes a delay up to a thirty-sixth longer: ten minutes in six hours,
// so that clients that began together don't come back together.
func (d *Door) jittered(delay time.Duration) time.Duration {
	var random [4]byte
	if _, err := io.ReadFull(d.deps.Rand, random[:]); err != nil {
		return delay
	}
	share := float64(binary.BigEndian.Uint32(random[:])) / (1 << 32)
	return delay + time.Duration(share*float64(delay/36))
}

// replaced checks the "replaces" of a new order (RFC 9773 §5). Whether another
// order has it already is the store's to say.
func (d *Door) replaced(ctx context.Context, r *request, certID string, names []identifier.Identifier) (*store.CertificateKey, error) {
	if certID == "" {
		return nil, nil
	}
	found, err := d.findByCertID(ctx, certID)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, newProblem(malformed, "there is no certificate %.200q to replace; order without \"replaces\"", certID)
	case found.AccountID != r.account.ID:
		return nil, newProblem(unauthorized, "the certificate in \"replaces\" is another account's")
	case !shareOne(found.Identifiers, names):
		return nil, newProblem(malformed, "the certificate in \"replaces\" has no identifier in common with the order")
	}
	return &found.CertificateKey, nil
}

func shareOne(a, b []identifier.Identifier) bool {
	known := make(map[identifier.Identifier]bool, len(a))
	for _, id := range a {
		known[id] = true
	}
	for _, id := range b {
		if known[id] {
			return true
		}
	}
	return false
}
