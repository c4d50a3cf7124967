package token

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"chancery/internal/ca"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/profile"
	"chancery/internal/provisioner"
	"chancery/internal/store"
)

// RenewRequest asks for a successor of the connection's certificate.
type RenewRequest struct {
	CSR      string    `json:"csr" doc:"The certificate signing request, by the same key or another. It has the certificate's names, or none."`
	NotAfter time.Time `json:"not_after,omitzero"`
}

// renew serves a certificate like the one the client shows. Only certificates
// of this door are renewed: at others, names are proven again each time.
func (d *Door) renew(_ http.ResponseWriter, r *http.Request) (any, error) {
	ctx := r.Context()
	old, err := d.deps.ClientCertificate(r)
	if err != nil {
		return nil, err
	}
	var wanted RenewRequest
	if err := decode(r, &wanted); err != nil {
		return nil, err
	}
	by, subject, err := d.renewer(&old)
	if err != nil {
		return nil, err
	}
	request, err := d.parseCSR(wanted.CSR)
	if err != nil {
		return nil, err
	}
	names := identifier.Normalize(slices.Clone(old.Identifiers))
	if err := checkNames(request, names, "the certificate has"); err != nil {
		return nil, err
	}
	_, err = d.deps.Store.ReplacedBy(ctx, old.CertificateKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, failure.Wrap("look for a successor", err)
	}
	first := err != nil // only the first renewal is free of limits
	return d.issue(ctx, ca.Request{
		Identifiers: names, Profile: old.Profile, Replaces: &old.CertificateKey,
		Wishes: profile.Wishes{NotAfter: wanted.NotAfter},
	}, by, subject, request, first)
}

// renewer is the provisioner that a certificate was issued for, and who asked
// it.
func (d *Door) renewer(old *store.Certificate) (by *provisioner.Provisioner, subject string, err error) {
	name, subject, ok := requesterOf(old)
	if !ok {
		return nil, "", newProblem(unauthorized, "the certificate was not issued by a token, so it can't be renewed here; ask where it came from")
	}
	by = d.config.Load().Provisioners.Get(name)
	switch {
	case by == nil || !by.Issued(old.Issued):
		return nil, "", newProblem(unauthorized, fmt.Sprintf("the provisioner %s that the certificate was issued for is no more; get a token from another", name))
	case by.Spec.NoRenewal:
		return nil, "", newProblem(unauthorized, fmt.Sprintf("certificates of the provisioner %s are not renewed by themselves; get a new token", name))
	case len(by.Spec.Profiles) > 0 && !slices.Contains(by.Spec.Profiles, old.Profile):
		return nil, "", newProblem(invalidProfile, fmt.Sprintf("the provisioner %s no longer gives certificates of the profile %s", name, old.Profile))
	}
	return by, subject, nil
}

// requesterOf parts the provisioner from the one who asked it; ok is false for
// certificates of other doors.
func requesterOf(c *store.Certificate) (name, subject string, ok bool) {
	text, ok := strings.CutPrefix(c.Requester, Name+":")
	name, subject, found := strings.Cut(text, "/")
	return name, subject, ok && found
}
