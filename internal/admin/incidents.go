package admin

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"chancery/internal/failure"
	"chancery/internal/incident"
	"chancery/internal/inventory"
	"chancery/internal/store"
)

// NewIncident is the wish that the clients of certificates renew them early
// (RFC 9773).
type NewIncident struct {
	Query       inventory.Query `json:"query"`
	Explanation string          `json:"explanation,omitempty"` // URL of a page for people
	RenewBy     time.Time       `json:"renew_by,omitzero"`     // in 24 hours when left out
}

// Incident is what is wrong with certificates, and how far their renewal is.
type Incident struct {
	ID          string          `json:"id"`
	Query       inventory.Query `json:"query"`
	Explanation string          `json:"explanation,omitempty"`
	Opened      time.Time       `json:"opened"`
	RenewBy     time.Time       `json:"renew_by"`
	Closed      *time.Time      `json:"closed,omitempty"`
	Progress    *Progress       `json:"progress,omitempty"` // when shown, not when listed
}

// Progress counts the certificates that an incident concerns. Renewed ones are
// those in whose place there is a newer one that is good, and Ended those that
// have expired or were revoked without.
type Progress struct {
	Affected  int `json:"affected"`
	Renewed   int `json:"renewed"`
	Ended     int `json:"ended"`
	Remaining int `json:"remaining"`
}

const defaultRenewBy = 24 * time.Hour

func viewIncident(i *store.Incident) Incident {
	view := Incident{ID: i.ID, Explanation: i.Explanation, Opened: i.Opened, RenewBy: i.RenewBy, Closed: optional(i.Closed)}
	_ = json.Unmarshal(i.Query, &view.Query) // of another version: as much as there is
	return view
}

func (a *api) openIncident(r *http.Request) (any, error) {
	var wish NewIncident
	if err := decode(r, &wish); err != nil {
		return nil, err
	}
	made, err := a.newIncident(r.Context(), wish)
	if err != nil {
		return nil, err
	}
	if err := a.Store.CreateIncident(r.Context(), made); err != nil {
		return nil, failure.Wrap("open incident", err)
	}
	a.IncidentsChanged()
	a.Auditor.Audit(r.Context(), "incident.opened", who(r), slog.String("incident", made.ID),
		slog.String("query", string(made.Query)), slog.Time("renew_by", made.RenewBy), slog.String("explanation", made.Explanation))
	return viewIncident(&made), nil
}

func (a *api) newIncident(ctx context.Context, wish NewIncident) (made store.Incident, err error) {
	now := a.Now().UTC()
	if wish.RenewBy.IsZero() {
		wish.RenewBy = now.Add(defaultRenewBy)
	}
	if wish.Query.Status == string(store.CertificateGood) {
		wish.Query.Status = "" // an incident is about nothing else
	}
	switch {
	case wish.Query.Status != "":
		return made, failure.New(failure.Malformed, "only valid certificates are renewed, not ones with the status %q", wish.Query.Status)
	case wish.Query.IsZero():
		return made, failure.New(failure.Malformed, "the query selects everything; say which certificates are to be renewed")
	case !wish.RenewBy.After(now):
		return made, failure.New(failure.Malformed, "the certificates can't be renewed by %s, which is past", wish.RenewBy.Format(time.RFC3339))
	}
	if u, err := url.Parse(wish.Explanation); wish.Explanation != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
		return made, failure.New(failure.Malformed, "%.100q is no URL of a page; write it like https://wiki.corp.example/incident", wish.Explanation)
	}
	if err := a.findIssuer(ctx, &wish.Query); err != nil {
		return made, err
	}
	if _, err := wish.Query.Compile(now); err != nil {
		return made, err
	}
	if err := a.roomForIncident(ctx); err != nil {
		return made, err
	}
	made = store.Incident{Explanation: wish.Explanation, Opened: now, RenewBy: wish.RenewBy.UTC()}
	if made.Query, err = json.Marshal(wish.Query); err == nil {
		made.ID, err = store.NewID(now, a.Rand)
	}
	return made, failure.Wrap("open incident", err)
}

func (a *api) roomForIncident(ctx context.Context) error {
	list, err := a.Store.ListIncidents(ctx)
	if err != nil {
		return failure.Wrap("list incidents", err)
	}
	open := 0
	for i := range list {
		if list[i].Closed.IsZero() {
			open++
		}
	}
	if open >= incident.MaxOpen {
		return failure.New(failure.Conflict, "%d incidents are open, and there can't be more; close some first", open)
	}
	return nil
}

func (a *api) listIncidents(r *http.Request) (any, error) {
	found, err := a.Store.ListIncidents(r.Context())
	if err != nil {
		return nil, failure.Wrap("list incidents", err)
	}
	list := page[Incident]{Items: make([]Incident, len(found))}
	for i := range found {
		list.Items[i] = viewIncident(&found[i])
	}
	return list, nil
}

// incident finds the one that a request names.
func (a *api) incident(r *http.Request) (*store.Incident, error) {
	list, err := a.Store.ListIncidents(r.Context())
	if err != nil {
		return nil, failure.Wrap("list incidents", err)
	}
	for i := range list {
		if list[i].ID == r.PathValue("id") {
			return &list[i], nil
		}
	}
	return nil, noIncident(r.PathValue("id"))
}

func noIncident(id string) error {
	return hinted(failure.New(failure.NotFound, "there is no incident %.60q", id), "\"chancery incident list\" shows those there are")
}

func (a *api) showIncident(r *http.Request) (any, error) {
	found, err := a.incident(r)
	if err != nil {
		return nil, err
	}
	view := viewIncident(found)
	view.Progress, err = a.progress(r.Context(), found)
	return view, err
}

// progress looks at all the certificates that the incident concerns.
func (a *api) progress(ctx context.Context, i *store.Incident) (*Progress, error) {
	opened, query, err := a.affected(i)
	if err != nil {
		return nil, err
	}
	var p Progress
	return &p, a.each(ctx, query, func(found []store.Certificate) error {
		for i := range found {
			if !opened.Affects(&found[i]) {
				continue
			}
			p.Affected++
			renewed, err := a.renewed(ctx, opened, &found[i])
			switch {
			case err != nil:
				return err
			case renewed:
				p.Renewed++
			case found[i].Status(query.Now) != store.CertificateGood:
				p.Ended++
			default:
				p.Remaining++
			}
		}
		return nil
	})
}

func (a *api) affected(i *store.Incident) (*incident.Open, store.CertificateQuery, error) {
	opened, err := incident.Compile(*i)
	if err != nil {
		return nil, store.CertificateQuery{}, failure.Wrap("read incident", err)
	}
	query, err := opened.Affected().Select(a.Now())
	return opened, query, err
}

// renewed reports whether a good certificate, issued since the incident was
// opened, stands in the place of c: one of the same names, or one that says so.
func (a *api) renewed(ctx context.Context, opened *incident.Open, c *store.Certificate) (bool, error) {
	if service := viewCertificate(c, a.Now()).Service; service != "" {
		newer, err := a.Store.ListCertificates(ctx, store.CertificateQuery{
			ServiceID: service, IssuedAfter: opened.Opened, Status: store.CertificateGood, Now: a.Now(), Limit: 1,
		})
		if err != nil || len(newer) > 0 {
			return len(newer) > 0, failure.Wrap("look for a newer certificate", err)
		}
	}
	key, err := a.Store.ReplacedBy(ctx, c.CertificateKey)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, failure.Wrap("look for a newer certificate", err)
	}
	newer, err := a.Store.Certificate(ctx, key)
	return err == nil && newer.Status(a.Now()) == store.CertificateGood && !newer.Issued.Before(opened.Opened),
		failure.Wrap("look for a newer certificate", err)
}

// listRemaining lists a page of what the incident concerns, less what has been
// renewed; so a page can be empty and yet have a next.
func (a *api) listRemaining(r *http.Request) (any, error) {
	if err := onlyParameters(r, "limit", "after"); err != nil {
		return nil, err
	}
	found, err := a.incident(r)
	if err != nil {
		return nil, err
	}
	opened, query, err := a.affected(found)
	if err != nil {
		return nil, err
	}
	query.Status = store.CertificateGood
	if query.Limit, err = limit(r); err != nil {
		return nil, err
	}
	if after := r.FormValue("after"); after != "" {
		if query.Before, err = inventory.ParseKey(after); err != nil {
			return nil, err
		}
	}
	listed, err := a.Store.ListCertificates(r.Context(), query)
	if err != nil {
		return nil, failure.Wrap("list certificates", err)
	}
	whole := pageOfCertificates(listed, query)
	list := page[Certificate]{Items: []Certificate{}, Next: whole.Next}
	for i := range listed {
		if !opened.Affects(&listed[i]) {
			continue
		}
		renewed, err := a.renewed(r.Context(), opened, &listed[i])
		if err != nil {
			return nil, err
		}
		if !renewed {
			list.Items = append(list.Items, whole.Items[i])
		}
	}
	return list, nil
}

func (a *api) closeIncident(r *http.Request) (any, error) {
	id := r.PathValue("id")
	err := a.Store.CloseIncident(r.Context(), id, a.Now().UTC())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, noIncident(id)
	case errors.Is(err, store.ErrNotValid):
		return nil, failure.New(failure.Conflict, "the incident %s is already closed", id)
	case err != nil:
		return nil, failure.Wrap("close incident", err)
	}
	a.IncidentsChanged()
	a.Auditor.Audit(r.Context(), "incident.closed", who(r), slog.String("incident", id))
	return a.showIncident(r)
}

// OpenIncident has the clients of certificates renew them early.
func (c *Client) OpenIncident(ctx context.Context, wish NewIncident) (Incident, error) {
	return call[Incident](ctx, c, http.MethodPost, "/incidents", wish)
}

// Incidents lists incidents, newest first, without their progress.
func (c *Client) Incidents(ctx context.Context) iter.Seq2[Incident, error] {
	return pages[Incident](ctx, c, "/incidents", url.Values{}, 0)
}

// Incident returns one incident with its progress.
func (c *Client) Incident(ctx context.Context, id string) (Incident, error) {
	return call[Incident](ctx, c, http.MethodGet, "/incidents/"+url.PathEscape(id), nil)
}

// Remaining lists the certificates of an incident that have not been renewed.
func (c *Client) Remaining(ctx context.Context, id string, max int) iter.Seq2[Certificate, error] {
	return pages[Certificate](ctx, c, "/incidents/"+url.PathEscape(id)+"/remaining", url.Values{}, max)
}

// CloseIncident ends an incident.
func (c *Client) CloseIncident(ctx context.Context, id string) (Incident, error) {
	return call[Incident](ctx, c, http.MethodPost, "/incidents/"+url.PathEscape(id)+"/close", nil)
}
