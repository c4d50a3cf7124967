package admin

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/inventory"
	"chancery/internal/store"
)

// Service is all the certificates of the same names, one after the other.
type Service struct {
	ID           string     `json:"id"`
	Names        []string   `json:"names"`
	Healthy      bool       `json:"healthy"`               // one of them is good now
	ValidUntil   *time.Time `json:"valid_until,omitempty"` // the latest end of those that are not revoked
	First        time.Time  `json:"first_issued"`
	Last         time.Time  `json:"last_issued"`
	Newest       string     `json:"newest"` // serial
	Issuer       string     `json:"issuer"` // of the newest
	Certificates int        `json:"certificates"`
}

func viewService(s *store.Service, now time.Time) Service {
	return Service{
		ID: s.ID, Names: names(s.Identifiers), Healthy: s.Healthy(now), ValidUntil: optional(s.ValidUntil),
		First: s.First, Last: s.Last, Newest: s.Newest.Serial.String(), Issuer: s.Newest.IssuerID, Certificates: s.Certificates,
	}
}

func (a *api) listServices(r *http.Request) (any, error) {
	asked, err := inventory.ParseServices(r.URL.Query(), a.Now(), "limit", "after")
	if err != nil {
		return nil, err
	}
	query, err := asked.Select(a.Now())
	if err != nil {
		return nil, err
	}
	query.Before = r.FormValue("after")
	if query.Limit, err = limit(r); err != nil {
		return nil, err
	}
	found, err := a.Store.ListServices(r.Context(), query)
	if err != nil {
		return nil, failure.Wrap("list services", err)
	}
	list := page[Service]{Items: make([]Service, len(found))}
	for i := range found {
		list.Items[i] = viewService(&found[i], query.Now)
	}
	if len(found) == query.Limit {
		list.Next = found[len(found)-1].ID
	}
	return list, nil
}

// showService finds a service by its id or by a name that only it has.
func (a *api) showService(r *http.Request) (any, error) {
	text := r.PathValue("id")
	found, err := a.Store.Service(r.Context(), text)
	if errors.Is(err, store.ErrNotFound) {
		found, err = a.serviceNamed(r.Context(), text)
	}
	if err != nil {
		return nil, failure.Wrap("read service", err)
	}
	return viewService(&found, a.Now()), nil
}

func (a *api) serviceNamed(ctx context.Context, text string) (store.Service, error) {
	name, err := identifier.ParseText(text)
	if err != nil {
		return store.Service{}, hinted(failure.New(failure.NotFound, "there is no service %.80q", text), listServicesHint)
	}
	const shown = 5
	found, err := a.Store.ListServices(ctx, store.ServiceQuery{Name: name.Value, Now: a.Now(), Limit: shown})
	switch {
	case err != nil:
		return store.Service{}, err
	case len(found) == 0:
		return store.Service{}, hinted(failure.New(failure.NotFound, "there is no service with the name %.80q", text), listServicesHint)
	case len(found) == 1:
		return found[0], nil
	}
	var several []string
	for i := range found {
		several = append(several, found[i].ID+" ("+strings.Join(names(found[i].Identifiers), " ")+")")
	}
	return store.Service{}, failure.New(failure.Conflict, "several services have the name %q; give the id of one: %s", text, strings.Join(several, ", "))
}

const listServicesHint = "\"chancery services list\" shows those there are"

// Services lists services, at most max of them if max is not 0.
func (c *Client) Services(ctx context.Context, query inventory.ServiceQuery, max int) iter.Seq2[Service, error] {
	return pages[Service](ctx, c, "/services", query.Values(), max)
}

// Service returns one service, by its id or by a name that only it has.
func (c *Client) Service(ctx context.Context, id string) (Service, error) {
	return call[Service](ctx, c, http.MethodGet, "/services/"+url.PathEscape(id), nil)
}
