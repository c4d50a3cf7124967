package form

import (
	"time"

	"chancery/internal/store"
)

// pageSize is how many records a listing returns that says no limit.
const pageSize = 100

// PageSize is the limit of a query.
func PageSize(limit int) int {
	if limit <= 0 {
		return pageSize
	}
	return limit
}

// The times by which certificates are listed, named as their columns are.
const (
	ByRevocation = "revoked"
	ByExpiry     = "not_after"
	ByIssuance   = "issued"
)

// Order is the time by which a query's answer is ordered before it is by
// serial numbers; "" for none.
func Order(query *store.CertificateQuery) string {
	switch bounded := func(after, before time.Time) bool { return !after.IsZero() || !before.IsZero() }; {
	case query.Status == store.CertificateRevoked, query.Status == store.CertificateAbandoned, bounded(query.RevokedAfter, query.RevokedBefore):
		return ByRevocation
	case query.Status == store.CertificateExpired, bounded(query.ExpiresAfter, query.ExpiresBefore):
		return ByExpiry
	case bounded(query.IssuedAfter, query.IssuedBefore):
		return ByIssuance
	default:
		return ""
	}
}

// TimeIn is where a certificate is in an order.
func TimeIn(order string, certificate *store.Certificate) time.Time {
	switch {
	case order == ByIssuance:
		return certificate.Issued
	case order == ByRevocation && certificate.Revocation != nil:
		return certificate.Revocation.At
	default:
		return certificate.NotAfter
	}
}

// Requesters are the requesters that a query selects: those at from or above it
// and below to, or exactly from when to is "".
func Requesters(requester string) (from, to string) {
	if n := len(requester); n > 0 {
		if last := requester[n-1]; last == ':' || last == '/' {
			return requester, requester[:n-1] + string(last+1)
		}
	}
	return requester, ""
}
