package store

import (
	"crypto/rand"
	"testing"
	"time"

	"chancery/internal/failure"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func authz(state AuthorizationStatus, expires time.Duration) Authorization {
	return Authorization{State: state, Expires: epoch.Add(expires)}
}

func TestOrderStatusIsDerived(t *testing.T) {
	valid, pending := authz(AuthorizationValid, time.Hour), authz(AuthorizationPending, time.Hour)
	open := epoch.Add(time.Hour)
	for name, test := range map[string]struct {
		order Order
		want  OrderStatus
	}{
		"some pending":                {Order{Expires: open, Authorizations: []Authorization{valid, pending}}, OrderPending},
		"all valid":                   {Order{Expires: open, Authorizations: []Authorization{valid, valid}}, OrderReady},
		"one failed, one pending":     {Order{Expires: open, Authorizations: []Authorization{pending, authz(AuthorizationInvalid, time.Hour)}}, OrderInvalid},
		"one deactivated":             {Order{Expires: open, Authorizations: []Authorization{authz(AuthorizationDeactivated, time.Hour)}}, OrderInvalid},
		"a proof ran out":             {Order{Expires: open, Authorizations: []Authorization{authz(AuthorizationValid, 0)}}, OrderInvalid},
		"expired":                     {Order{Expires: epoch, Authorizations: []Authorization{valid}}, OrderInvalid},
		"expired while processing":    {Order{Expires: epoch, Finalized: epoch, Authorizations: []Authorization{valid}}, OrderProcessing},
		"failed while processing":     {Order{Expires: open, Finalized: epoch, Failure: &failure.Report{}}, OrderInvalid},
		"issued, long expired":        {Order{Expires: epoch.Add(-time.Hour), Finalized: epoch, Certificate: &CertificateKey{}}, OrderValid},
		"issued, then a proof is off": {Order{Expires: open, Finalized: epoch, Certificate: &CertificateKey{}, Authorizations: []Authorization{authz(AuthorizationDeactivated, time.Hour)}}, OrderValid},
	} {
		if got := test.order.Status(epoch); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestAuthorizationStatusLooksAtTheClock(t *testing.T) {
	for _, test := range []struct {
		authz Authorization
		want  AuthorizationStatus
	}{
		{authz(AuthorizationPending, time.Second), AuthorizationPending},
		{authz(AuthorizationPending, 0), AuthorizationInvalid},
		{authz(AuthorizationValid, time.Second), AuthorizationValid},
		{authz(AuthorizationValid, 0), AuthorizationExpired},
		{authz(AuthorizationInvalid, 0), AuthorizationInvalid},
		{authz(AuthorizationDeactivated, 0), AuthorizationDeactivated},
	} {
		if got := test.authz.Status(epoch); got != test.want {
			t.Errorf("%s that expires %v: %s, want %s", test.authz.State, test.authz.Expires, got, test.want)
		}
	}
}

func TestCertificateStatus(t *testing.T) {
	revoked := &Revocation{At: epoch}
	for _, test := range []struct {
		certificate Certificate
		want        CertificateStatus
	}{
		{Certificate{NotAfter: epoch}, CertificateGood},
		{Certificate{NotAfter: epoch.Add(-time.Second)}, CertificateExpired},
		{Certificate{NotAfter: epoch.Add(-time.Second), Revocation: revoked}, CertificateRevoked},
		{Certificate{NotAfter: epoch, Revocation: revoked, Abandoned: true}, CertificateAbandoned},
	} {
		if got := test.certificate.Status(epoch); got != test.want {
			t.Errorf("%+v: %s, want %s", test.certificate, got, test.want)
		}
	}
}

func TestIDsSortByTime(t *testing.T) {
	last := ""
	for i := range 100 {
		id, err := NewID(epoch.Add(time.Duration(i)*time.Hour), rand.Reader)
		if err != nil || len(id) != 32 || id <= last {
			t.Fatalf("id %q after %q: %v", id, last, err)
		}
		last = id
	}
}
