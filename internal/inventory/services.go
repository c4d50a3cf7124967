package inventory

import (
	"net/url"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// ServiceQuery selects services; the zero value selects all.
type ServiceQuery struct {
	Name          string    `json:"name,omitempty"`     // as in Query
	Contains      string    `json:"contains,omitempty"` // as in Query
	Health        string    `json:"health,omitempty"`   // healthy or unhealthy
	ExpiresBefore time.Time `json:"expires_before,omitzero"`
}

func (q *ServiceQuery) parameters() []parameter {
	return []parameter{
		{"name", &q.Name, nil}, {"contains", &q.Contains, nil},
		{"health", &q.Health, nil}, {"expires_before", nil, &q.ExpiresBefore},
	}
}

// Values is the query as parameters of a URL.
func (q ServiceQuery) Values() url.Values { return encode(q.parameters()) }

// ParseServices reads a query as Parse does.
func ParseServices(values url.Values, now time.Time, known ...string) (q ServiceQuery, err error) {
	err = decode(values, q.parameters(), now, known)
	return q, err
}

// Select is the query as the store takes it, judged at now.
func (q ServiceQuery) Select(now time.Time) (store.ServiceQuery, error) {
	s := store.ServiceQuery{Health: store.ServiceHealth(q.Health), ExpiresBefore: q.ExpiresBefore, Now: now}
	switch s.Health {
	case "", store.ServiceHealthy, store.ServiceUnhealthy:
	default:
		return s, failure.New(failure.Malformed, "there is no health %.40q; use healthy or unhealthy", q.Health)
	}
	var err error
	if s.Name, s.NamePattern, err = selectName(q.Name); err != nil {
		return s, err
	}
	s.NamePart, err = selectPart(q.Contains)
	return s, err
}
