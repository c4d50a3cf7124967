package admin

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/store"
)

const (
	pageSize = 500
	maxPage  = 5000
)

// limit reads the page size a request asks for.
func limit(r *http.Request) (int, error) {
	text := r.FormValue("limit")
	if text == "" {
		return pageSize, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, failure.New(failure.Malformed, "the limit %.20q is no number above 0", text)
	}
	return min(n, maxPage), nil
}

func (a *api) listCertificates(r *http.Request) (any, error) {
	query, err := a.certificateQuery(r)
	if err != nil {
		return nil, err
	}
	found, err := a.Store.ListCertificates(r.Context(), query)
	if err != nil {
		return nil, failure.Wrap("list certificates", err)
	}
	list := page[Certificate]{Items: make([]Certificate, len(found))}
	for i := range found {
		list.Items[i] = viewCertificate(&found[i], query.Now)
	}
	if len(found) == query.Limit {
		last := found[len(found)-1].CertificateKey
		list.Next = last.IssuerID + ":" + last.Serial.String()
	}
	return list, nil
}

func (a *api) certificateQuery(r *http.Request) (query store.CertificateQuery, err error) {
	query = store.CertificateQuery{
		AccountID: r.FormValue("account"), Profile: r.FormValue("profile"),
		Status: store.CertificateStatus(r.FormValue("status")), Now: a.Now(),
	}
	if query.Limit, err = limit(r); err != nil {
		return query, err
	}
	switch query.Status {
	case "", store.CertificateGood, store.CertificateExpired, store.CertificateRevoked, store.CertificateAbandoned:
	default:
		return query, failure.New(failure.Malformed, "there is no status %.40q; use valid, expired, revoked or abandoned", query.Status)
	}
	if name := r.FormValue("name"); name != "" {
		id, err := identifier.Guess(name)
		if err != nil {
			return query, failure.New(failure.Malformed, "the name %.80q is not well formed: %v", name, err)
		}
		query.Name = id.Value
	}
	if text := r.FormValue("expires_before"); text != "" {
		if query.ExpiresBefore, err = time.Parse(time.RFC3339, text); err != nil {
			return query, failure.New(failure.Malformed, "expires_before is no RFC 3339 time: %.40q", text)
		}
	}
	if after := r.FormValue("after"); after != "" {
		if query.Before, err = parseCertificateKey(after); err != nil {
			return query, err
		}
	}
	return query, nil
}

func parseCertificateKey(text string) (*store.CertificateKey, error) {
	issuer, number, _ := strings.Cut(text, ":")
	parsed, err := serial.Parse(number)
	if err != nil {
		return nil, failure.New(failure.Malformed, "%.80q is no ISSUER:SERIAL", text)
	}
	return &store.CertificateKey{IssuerID: issuer, Serial: parsed}, nil
}

// certificate finds the certificate a request names, by serial or SHA-256
// fingerprint.
func (a *api) certificate(r *http.Request) (store.Certificate, error) {
	text := r.PathValue("serial")
	query := store.CertificateQuery{Limit: 2, Now: a.Now()}
	if fingerprint, err := hex.DecodeString(strings.ReplaceAll(text, ":", "")); err == nil && len(fingerprint) == 32 {
		query.Fingerprint = (*[32]byte)(fingerprint)
	} else {
		number, err := serial.Parse(text)
		if err != nil {
			return store.Certificate{}, failure.New(failure.Malformed, "%v", err)
		}
		query.Serial = &number
	}
	found, err := a.Store.ListCertificates(r.Context(), query)
	switch {
	case err != nil:
		return store.Certificate{}, failure.Wrap("look up certificate", err)
	case len(found) == 0:
		return store.Certificate{}, hinted(failure.New(failure.NotFound, "there is no certificate %s", text),
			"\"chancery certs list\" shows those there are")
	case len(found) > 1:
		return store.Certificate{}, failure.New(failure.Conflict,
			"several issuers have a certificate with the serial %s; give its SHA-256 fingerprint instead", text)
	}
	return found[0], nil
}

func (a *api) showCertificate(r *http.Request) (any, error) {
	found, err := a.certificate(r)
	if err != nil {
		return nil, err
	}
	return viewCertificateWhole(&found, a.Now()), nil
}

type revocation struct {
	Reason string `json:"reason"`
}

func (a *api) revokeCertificate(r *http.Request) (any, error) {
	var wish revocation
	if err := decode(r, &wish); err != nil {
		return nil, err
	}
	reason, err := ParseReason(wish.Reason)
	if err != nil {
		return nil, failure.New(failure.BadReason, "%v", err)
	}
	found, err := a.certificate(r)
	if err != nil {
		return nil, err
	}
	revoked := store.Revocation{At: a.Now().UTC(), Reason: reason}
	err = a.Store.Revoke(r.Context(), found.CertificateKey, revoked)
	switch {
	case errors.Is(err, store.ErrRevoked):
		return nil, failure.New(failure.AlreadyRevoked, "the certificate %s is already revoked", found.Serial)
	case err != nil:
		return nil, failure.Wrap("revoke certificate", err)
	}
	a.Auditor.Audit(r.Context(), "certificate.revoked", who(r), slog.String("serial", found.Serial.String()),
		slog.String("issuer", found.IssuerID), slog.String("reason", reasonName(reason)), slog.String("on_behalf_of", found.Requester))
	found.Revocation = &revoked
	return viewCertificate(&found, a.Now()), nil
}
