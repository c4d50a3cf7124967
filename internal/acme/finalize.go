package acme

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"chancery/internal/ca"
	"chancery/internal/csr"
	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/limits"
	"chancery/internal/profile"
	"chancery/internal/store"
	"chancery/internal/validation"
)

// finalize serves RFC 8555 §7.4: it takes key and names from the CSR and hands
// the order to the road. A CSR that is refused leaves the order ready; once it
// is accepted, the order is never ready again.
func (d *Door) finalize(ctx context.Context, r *request) (*response, error) {
	order, err := d.ownOrder(ctx, r)
	if err != nil {
		return nil, err
	}
	d.annotate(ctx, "order", order.ID)
	var wanted struct {
		CSR string `json:"csr"`
	}
	if err := r.decode(&wanted); err != nil {
		return nil, err
	}
	if status := order.Status(d.deps.Now()); status != store.OrderReady {
		return nil, newProblem(orderNotReady, "the order is %s; only a ready order can be finalized", status)
	}
	request, err := d.parseCSR(wanted.CSR)
	if err != nil {
		return nil, err
	}
	if err := d.checkCSR(request, order, r.account); err != nil {
		return nil, err
	}
	if err := d.checkCAA(ctx, r, order); err != nil {
		return nil, err
	}
	taken, err := d.deps.Limits.Certificate(ctx, order.Identifiers, order.Replaces != nil)
	if err != nil {
		return nil, err
	}
	return d.issue(ctx, r, order, request, taken)
}

// issue walks the road and waits a moment for the certificate. What was taken
// of the limits is given back when there will be none.
func (d *Door) issue(ctx context.Context, r *request, order *store.Order, request *x509.CertificateRequest, taken *limits.Taken) (*response, error) {
	type outcome struct {
		certificate store.Certificate
		err         error
	}
	done := make(chan outcome, 1)
	d.work.Go(func() {
		certificate, err := d.deps.Authority.Issue(context.WithoutCancel(ctx), requestFor(order, request, r.account))
		if err != nil && failure.KindOf(err) != failure.Unavailable { // else it goes on by itself
			taken.Refund(ctx)
		}
		done <- outcome{certificate, err}
	})
	wait := time.NewTimer(r.FinalizeWait)
	defer wait.Stop()
	var result outcome
	select {
	case result = <-done:
	case <-wait.C:
		result.err = failure.New(failure.Unavailable, "the certificate takes longer than usual")
	}
	if result.err == nil {
		d.annotate(ctx, "serial", result.certificate.Serial.String())
		d.issued.add(&result.certificate)
		order.Finalized, order.Certificate = result.certificate.Issued, &result.certificate.CertificateKey
		return d.showOrder(ctx, r, order)
	}
	if failure.KindOf(result.err) == failure.BadKey {
		return nil, newProblem(badCSR, "%s", failure.ReportOf(result.err).Text).because(result.err)
	}
	if failure.KindOf(result.err) != failure.Unavailable {
		return nil, result.err
	}
	current, err := d.deps.Store.Order(ctx, order.ID)
	if err != nil || current.Finalized.IsZero() {
		return nil, result.err // not accepted yet: the client may repeat it
	}
	return d.showOrder(ctx, r, &current)
}

func requestFor(order *store.Order, request *x509.CertificateRequest, by *account) ca.Request {
	return ca.Request{
		Door: "acme", AccountID: order.AccountID,
		Owner:       store.Owner{Kind: store.OwnerOrder, ID: order.ID},
		Identifiers: order.Identifiers,
		PublicKey:   request.RawSubjectPublicKeyInfo,
		CSR:         request.Raw,
		Profile:     order.Profile,
		Facts:       expr.Facts{Account: &expr.Account{ID: by.ID, Contact: by.Contact}},
		Replaces:    order.Replaces,

		Preauthorized: preauthorized(order),
		Wishes: profile.Wishes{
			CommonName: strings.ToLower(request.Subject.CommonName),
			NotBefore:  order.NotBefore, NotAfter: order.NotAfter, Asked: order.Created,
		},
	}
}

// parseCSR reads a CSR and checks that its sender has the private key. Some
// clients pad its base64url, which is accepted here and nowhere else.
func (d *Door) parseCSR(text string) (*x509.CertificateRequest, error) {
	der, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(der) == 0 || strings.ContainsAny(text, "\r\n") {
		return nil, newProblem(badCSR, "\"csr\" is not base64url of a DER CSR; leave out PEM headers and line breaks")
	}
	return csr.Parse(der, d.deps.CheckKey)
}

// checkCSR compares the CSR's names with the order's and its key with the
// account's.
func (d *Door) checkCSR(request *x509.CertificateRequest, order *store.Order, by *account) error {
	names, err := namesOf(request)
	if err != nil {
		return err
	}
	ordered := identifier.Normalize(slices.Clone(order.Identifiers))
	if !slices.Equal(names, ordered) {
		return newProblem(badCSR, "the CSR has the names %v, the order %v; they must be the same", names, ordered)
	}
	if keys.Equal(request.PublicKey, by.key.Public) { // of a known type: parseCSR has checked it
		return newProblem(badCSR, "the CSR has the account's own key; make another for the certificate")
	}
	return nil
}

// namesOf returns the names in subject and SAN, in their normal form.
func namesOf(request *x509.CertificateRequest) ([]identifier.Identifier, error) {
	return csr.Names(request, identifier.DNS, identifier.IP)
}

// checkCAA looks again at issuance (RFC 8659 §3): a proof may be hours old.
func (d *Door) checkCAA(ctx context.Context, r *request, order *store.Order) error {
	if !r.CAA {
		return nil
	}
	for _, name := range order.Identifiers {
		_, failed := r.validator.CheckCAA(ctx, validation.CAARequest{
			Identifier: name.Base(), Wildcard: name.IsWildcard(),
			Method: validation.Method(methodFor(order, name)), AccountURL: r.accountURL(),
		})
		switch {
		case failed == nil:
		case failed.Kind == failure.DNS: // a passing fault must not end the order
			return unavailable(r.RetryInterval, "%s", failed.Public).because(failed)
		default:
			return failed
		}
	}
	return nil
}

// methodFor is how the name was proven: by itself, or by one above it.
func methodFor(order *store.Order, name identifier.Identifier) string {
	for i := range order.Authorizations {
		authz := &order.Authorizations[i]
		if authz.Name() == name || authz.Subdomains && isAbove(authz.Identifier.Value, name) {
			return authz.Method
		}
	}
	return ""
}
