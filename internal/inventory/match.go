package inventory

import (
	"slices"
	"strings"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/policy"
	"chancery/internal/store"
)

// Matcher is a query that is asked about certificates at hand, without a store.
type Matcher struct {
	query   store.CertificateQuery
	pattern *policy.Pattern // nil for none
}

// Compile makes the query ready to be asked. Its status is judged at now.
func (q Query) Compile(now time.Time) (*Matcher, error) {
	selected, err := q.Select(now)
	if err != nil {
		return nil, err
	}
	m := &Matcher{query: selected}
	if selected.NamePattern != "" {
		pattern, err := policy.ParsePattern(selected.NamePattern)
		if err != nil {
			return nil, err
		}
		m.pattern = &pattern
	}
	return m, nil
}

// Matches reports whether the query selects the certificate. It costs the same
// however many certificates there are.
func (m *Matcher) Matches(c *store.Certificate) bool {
	q := &m.query
	return m.matchesNames(c) && m.matchesTimes(c) &&
		is(q.AccountID, c.AccountID) && is(q.Profile, c.Profile) && is(q.IssuerID, c.IssuerID) &&
		is(q.Subject, c.Subject) && isRequester(q.Requester, c.Requester) &&
		(q.ServiceID == "" || q.ServiceID == store.ServiceID(slices.Clone(c.Identifiers))) &&
		(q.Serial == nil || *q.Serial == c.Serial) &&
		(q.Fingerprint == nil || *q.Fingerprint == c.Fingerprint) &&
		(q.KeyHash == nil || *q.KeyHash == c.KeyHash) &&
		(q.Replaces == nil || c.Replaces != nil && *q.Replaces == *c.Replaces) &&
		(q.Status == "" || q.Status == c.Status(q.Now))
}

func is(wanted, value string) bool { return wanted == "" || wanted == value }

// isRequester also takes the beginnings that CertificateQuery allows.
func isRequester(wanted, value string) bool {
	beginning := strings.HasSuffix(wanted, ":") || strings.HasSuffix(wanted, "/")
	return is(wanted, value) || beginning && strings.HasPrefix(value, wanted)
}

func (m *Matcher) matchesNames(c *store.Certificate) bool {
	has := func(test func(identifier.Identifier) bool) bool { return slices.ContainsFunc(c.Identifiers, test) }
	q := &m.query
	return (q.Name == "" || has(func(id identifier.Identifier) bool { return id.Value == q.Name })) &&
		(q.NamePart == "" || has(func(id identifier.Identifier) bool { return strings.Contains(strings.ToLower(id.Value), q.NamePart) })) &&
		(m.pattern == nil || has(m.pattern.Matches))
}

func (m *Matcher) matchesTimes(c *store.Certificate) bool {
	q := &m.query
	if !q.RevokedAfter.IsZero() || !q.RevokedBefore.IsZero() {
		if c.Revocation == nil || !within(c.Revocation.At, q.RevokedAfter, q.RevokedBefore) {
			return false
		}
	}
	return within(c.Issued, q.IssuedAfter, q.IssuedBefore) && within(c.NotAfter, q.ExpiresAfter, q.ExpiresBefore)
}

// within reports whether t is at after or later, and before before; zero
// bounds are none.
func within(t, after, before time.Time) bool {
	return (after.IsZero() || !t.Before(after)) && (before.IsZero() || t.Before(before))
}
