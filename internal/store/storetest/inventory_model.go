package storetest

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"chancery/internal/identifier"
	"chancery/internal/store"
)

// inventory is what a store must know of certificates: all of them in a list,
// and every question answered by looking at each.
type inventory struct {
	certificates []store.Certificate
	first        map[string]time.Time // when services were first seen
}

// add is for a new certificate.
func (v *inventory) add(c store.Certificate) {
	if id := store.ServiceID(c.Identifiers); id != "" && !c.Abandoned {
		if known, ok := v.service(id); !ok || c.Issued.Before(known.First) {
			v.first[id] = c.Issued
		}
	}
	v.certificates = append(v.certificates, c)
}

func (v *inventory) find(key store.CertificateKey) *store.Certificate {
	i := slices.IndexFunc(v.certificates, func(c store.Certificate) bool { return c.CertificateKey == key })
	if i < 0 {
		return nil
	}
	return &v.certificates[i]
}

// list answers a query, all pages at once.
func (v *inventory) list(query *store.CertificateQuery) (keys []store.CertificateKey) {
	var found []store.Certificate
	for i := range v.certificates {
		if selects(query, &v.certificates[i]) {
			found = append(found, v.certificates[i])
		}
	}
	slices.SortFunc(found, func(a, b store.Certificate) int {
		return -cmp.Or(orderTime(query, &a).Compare(orderTime(query, &b)), compareKeys(a.CertificateKey, b.CertificateKey))
	})
	for i := range found {
		keys = append(keys, found[i].CertificateKey)
	}
	return keys
}

func compareKeys(a, b store.CertificateKey) int {
	return cmp.Or(slices.Compare(a.Serial[:], b.Serial[:]), cmp.Compare(a.IssuerID, b.IssuerID))
}

// orderTime is the time by which the answer to a query is ordered.
func orderTime(q *store.CertificateQuery, c *store.Certificate) time.Time {
	switch {
	case q.Status == store.CertificateRevoked, q.Status == store.CertificateAbandoned, !q.RevokedAfter.IsZero(), !q.RevokedBefore.IsZero():
		return c.Revocation.At
	case q.Status == store.CertificateExpired, !q.ExpiresAfter.IsZero(), !q.ExpiresBefore.IsZero():
		return c.NotAfter
	case !q.IssuedAfter.IsZero(), !q.IssuedBefore.IsZero():
		return c.Issued
	default:
		return time.Time{}
	}
}

func selects(q *store.CertificateQuery, c *store.Certificate) bool {
	return selectsNames(c.Identifiers, q.Name, q.NamePart, q.NamePattern) && selectsKeys(q, c) && selectsTimes(q, c) &&
		(q.ServiceID == "" || q.ServiceID == store.ServiceID(c.Identifiers)) &&
		(q.AccountID == "" || q.AccountID == c.AccountID) &&
		(q.Requester == "" || q.Requester == c.Requester || strings.ContainsAny(q.Requester[len(q.Requester)-1:], ":/") && strings.HasPrefix(c.Requester, q.Requester)) &&
		(q.Subject == "" || q.Subject == c.Subject) &&
		(q.Profile == "" || q.Profile == c.Profile) &&
		(q.IssuerID == "" || q.IssuerID == c.IssuerID) &&
		(q.Status == "" || q.Status == c.Status(q.Now))
}

func selectsKeys(q *store.CertificateQuery, c *store.Certificate) bool {
	return (q.Serial == nil || *q.Serial == c.Serial) &&
		(q.Fingerprint == nil || *q.Fingerprint == c.Fingerprint) &&
		(q.KeyHash == nil || *q.KeyHash == c.KeyHash && *q.KeyHash != [32]byte{}) &&
		(q.Replaces == nil || c.Replaces != nil && *q.Replaces == *c.Replaces)
}

func selectsTimes(q *store.CertificateQuery, c *store.Certificate) bool {
	if !q.RevokedAfter.IsZero() || !q.RevokedBefore.IsZero() {
		if c.Revocation == nil || c.Abandoned != (q.Status == store.CertificateAbandoned) || !within(c.Revocation.At, q.RevokedAfter, q.RevokedBefore) {
			return false
		}
	}
	return within(c.NotAfter, q.ExpiresAfter, q.ExpiresBefore) && within(c.Issued, q.IssuedAfter, q.IssuedBefore)
}

// within reports whether t is at from or later and before to, unless they are
// zero.
func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}

func selectsNames(ids []identifier.Identifier, name, part, pattern string) bool {
	carries := func(wanted string, matches func(identifier.Identifier) bool) bool {
		return wanted == "" || slices.ContainsFunc(ids, matches)
	}
	return carries(name, func(id identifier.Identifier) bool { return id.Value == name }) &&
		carries(part, func(id identifier.Identifier) bool {
			return utf8.RuneCountInString(part) > 2 && strings.Contains(strings.ToLower(id.Value), part)
		}) &&
		carries(pattern, func(id identifier.Identifier) bool { return patternHolds(pattern, id) })
}

func patternHolds(pattern string, id identifier.Identifier) bool {
	if domain, ok := strings.CutPrefix(pattern, "**"); ok {
		return id.Type == identifier.DNS && strings.HasSuffix(id.Value, domain)
	}
	if domain, ok := strings.CutPrefix(pattern, "*."); ok {
		_, parent, _ := strings.Cut(id.Value, ".")
		return id.Type == identifier.DNS && parent == domain
	}
	return id.Value == pattern
}

func (v *inventory) count(issuerID, profile string, now time.Time) (counts store.CertificateCounts) {
	for i := range v.certificates {
		c := &v.certificates[i]
		if issuerID != "" && c.IssuerID != issuerID || profile != "" && c.Profile != profile {
			continue
		}
		switch c.Status(now) {
		case store.CertificateGood:
			counts.Valid++
		case store.CertificateExpired:
			counts.Expired++
		case store.CertificateRevoked:
			counts.Revoked++
		case store.CertificateAbandoned:
			counts.Abandoned++
		}
	}
	return counts
}

func (v *inventory) unexpired(issuerID string, now time.Time) (count int, last time.Time) {
	for i := range v.certificates {
		if c := &v.certificates[i]; c.IssuerID == issuerID && c.NotAfter.After(now) {
			count++
			if c.NotAfter.After(last) {
				last = c.NotAfter
			}
		}
	}
	return count, last
}

func (v *inventory) replacedBy(key store.CertificateKey) *store.CertificateKey {
	keys := v.list(&store.CertificateQuery{Replaces: &key})
	if len(keys) == 0 {
		return nil
	}
	return &keys[0]
}

// service makes a service of its certificates.
func (v *inventory) service(id string) (s store.Service, ok bool) {
	for i := range v.certificates {
		c := &v.certificates[i]
		if id == "" || c.Abandoned || store.ServiceID(c.Identifiers) != id {
			continue
		}
		if !ok || compareKeys(c.CertificateKey, s.Newest) > 0 {
			s.Newest, s.Last = c.CertificateKey, c.Issued
		}
		if c.Revocation == nil && c.NotAfter.After(s.ValidUntil) {
			s.ValidUntil = c.NotAfter
		}
		s.ID, s.Identifiers, s.First, ok = id, identifier.Normalize(slices.Clone(c.Identifiers)), v.first[id], true
		s.Certificates++
	}
	return s, ok
}

// services answers a query by the services' IDs, in no order.
func (v *inventory) services(q *store.ServiceQuery) map[string]store.Service {
	found := map[string]store.Service{}
	for i := range v.certificates {
		s, ok := v.service(store.ServiceID(v.certificates[i].Identifiers))
		if ok && (q.ID == "" || q.ID == s.ID) && selectsNames(s.Identifiers, q.Name, q.NamePart, q.NamePattern) &&
			(q.Health == "" || s.Healthy(q.Now) == (q.Health == store.ServiceHealthy)) && within(s.ValidUntil, time.Time{}, q.ExpiresBefore) {
			found[s.ID] = s
		}
	}
	return found
}
