package admin

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/inventory"
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

// onlyParameters refuses parameters that are not known: a mistyped one would
// select more than was meant.
func onlyParameters(r *http.Request, known ...string) error {
	for name := range r.URL.Query() {
		if !slices.Contains(known, name) {
			return failure.New(failure.Malformed, "there is no parameter %.40q", name)
		}
	}
	return nil
}

func (a *api) listCertificates(r *http.Request) (any, error) {
	query, err := a.certificateQuery(r, "limit", "after")
	if err != nil {
		return nil, err
	}
	if query.Limit, err = limit(r); err != nil {
		return nil, err
	}
	if after := r.FormValue("after"); after != "" {
		if query.Before, err = inventory.ParseKey(after); err != nil {
			return nil, err
		}
	}
	found, err := a.Store.ListCertificates(r.Context(), query)
	if err != nil {
		return nil, failure.Wrap("list certificates", err)
	}
	return pageOfCertificates(found, query), nil
}

func pageOfCertificates(found []store.Certificate, query store.CertificateQuery) page[Certificate] {
	list := page[Certificate]{Items: make([]Certificate, len(found))}
	for i := range found {
		list.Items[i] = viewCertificate(&found[i], query.Now)
	}
	if len(found) == query.Limit {
		list.Next = inventory.FormatKey(found[len(found)-1].CertificateKey)
	}
	return list
}

// certificateQuery reads a query from the URL, which may also have the other
// parameters named.
func (a *api) certificateQuery(r *http.Request, others ...string) (store.CertificateQuery, error) {
	query, err := inventory.Parse(r.URL.Query(), a.Now(), others...)
	if err != nil {
		return store.CertificateQuery{}, err
	}
	if err := a.findIssuer(r.Context(), &query); err != nil {
		return store.CertificateQuery{}, err
	}
	return query.Select(a.Now())
}

// findIssuer puts the id of an issuer in the place of its name: one of the
// configuration, or that in its certificate. A name that several have is
// refused, for a rotated issuer must not be taken for its successor.
func (a *api) findIssuer(ctx context.Context, query *inventory.Query) error {
	if query.Issuer == "" {
		return nil
	}
	issuers, err := a.Store.Issuers(ctx)
	if err != nil {
		return failure.Wrap("list issuers", err)
	}
	var ids []string
	for _, generation := range a.Generations() {
		if generation.Name == query.Issuer {
			ids = append(ids, generation.ID)
		}
	}
	for i := range issuers {
		certificate, err := x509.ParseCertificate(issuers[i].Chain[0])
		if strings.EqualFold(issuers[i].ID, query.Issuer) {
			query.Issuer = issuers[i].ID
			return nil
		}
		if err == nil && certificate.Subject.CommonName == query.Issuer {
			ids = append(ids, issuers[i].ID)
		}
	}
	slices.Sort(ids)
	switch ids = slices.Compact(ids); len(ids) {
	case 0:
		return hinted(failure.New(failure.NotFound, "there is no issuer %.60q", query.Issuer), "\"chancery issuer list\" shows those there are")
	case 1:
		query.Issuer = ids[0]
		return nil
	}
	return failure.New(failure.Conflict, "%d issuers are called %q; give one of %s", len(ids), query.Issuer, strings.Join(ids, ", "))
}

// each calls use with every certificate that the query selects, a page at a
// time.
func (a *api) each(ctx context.Context, query store.CertificateQuery, use func([]store.Certificate) error) error {
	query.Limit = batchSize
	for {
		found, err := a.Store.ListCertificates(ctx, query)
		if err != nil {
			return failure.Wrap("list certificates", err)
		}
		if len(found) > 0 {
			if err := use(found); err != nil {
				return err
			}
			query.Before = &found[len(found)-1].CertificateKey
		}
		if len(found) < query.Limit {
			return nil
		}
	}
}

// batchSize is how many certificates are in memory, or revoked in one
// transaction.
const batchSize = 1000

// CertificateCounts says how many certificates there are of each status.
type CertificateCounts struct {
	Valid     int `json:"valid"`
	Expired   int `json:"expired"`
	Revoked   int `json:"revoked"`
	Abandoned int `json:"abandoned"`
}

// countCertificates is quick for an issuer and a profile; for everything else
// it looks at all that is counted.
func (a *api) countCertificates(r *http.Request) (any, error) {
	query, err := a.certificateQuery(r)
	if err != nil {
		return nil, err
	}
	if query == (store.CertificateQuery{IssuerID: query.IssuerID, Profile: query.Profile, Now: query.Now}) {
		counts, err := a.Store.CountCertificates(r.Context(), query.IssuerID, query.Profile, query.Now)
		return CertificateCounts(counts), failure.Wrap("count certificates", err)
	}
	var counts CertificateCounts
	by := map[store.CertificateStatus]*int{
		store.CertificateGood: &counts.Valid, store.CertificateExpired: &counts.Expired,
		store.CertificateRevoked: &counts.Revoked, store.CertificateAbandoned: &counts.Abandoned,
	}
	err = a.each(r.Context(), query, func(found []store.Certificate) error {
		for i := range found {
			*by[found[i].Status(query.Now)]++
		}
		return nil
	})
	return counts, err
}

// certificate finds a certificate by serial or SHA-256 fingerprint.
func (a *api) certificate(ctx context.Context, text string) (store.Certificate, error) {
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
	found, err := a.Store.ListCertificates(ctx, query)
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
	found, err := a.certificate(r.Context(), r.PathValue("serial"))
	if err != nil {
		return nil, err
	}
	view := viewCertificateWhole(&found, a.Now())
	return view, a.addLineage(r.Context(), &found, &view)
}

// addLineage says what the certificate came after, and what after it.
func (a *api) addLineage(ctx context.Context, c *store.Certificate, view *Certificate) error {
	later, err := a.Store.ReplacedBy(ctx, c.CertificateKey)
	switch {
	case err == nil:
		view.ReplacedBy = later.Serial.String()
	case !errors.Is(err, store.ErrNotFound):
		return failure.Wrap("read what replaces the certificate", err)
	}
	if c.Replaces != nil || view.Service == "" {
		return nil
	}
	const abandonedAtMost = 5 // attempts that a signature may have taken
	earlier, err := a.Store.ListCertificates(ctx, store.CertificateQuery{
		ServiceID: view.Service, Before: &c.CertificateKey, Now: a.Now(), Limit: abandonedAtMost,
	})
	if err != nil {
		return failure.Wrap("read what the certificate was renewed from", err)
	}
	if i := slices.IndexFunc(earlier, func(c store.Certificate) bool { return !c.Abandoned }); i >= 0 {
		view.RenewedFrom = earlier[i].Serial.String()
	}
	return nil
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
	found, err := a.certificate(r.Context(), r.PathValue("serial"))
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
	a.auditRevocation(r.Context(), &found, reason)
	found.Revocation = &revoked
	return viewCertificate(&found, a.Now()), nil
}

func (a *api) auditRevocation(ctx context.Context, c *store.Certificate, reason int) {
	a.Auditor.Audit(ctx, "certificate.revoked", Requester(ctx), slog.String("serial", c.Serial.String()),
		slog.String("issuer", c.IssuerID), slog.String("reason", reasonName(reason)), slog.String("on_behalf_of", c.Requester))
}
