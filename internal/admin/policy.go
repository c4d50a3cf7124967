package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/grant"
	"chancery/internal/identifier"
	"chancery/internal/limits"
	"chancery/internal/policy"
	"chancery/internal/store"
)

// PolicyQuestion asks whether names would be issued.
type PolicyQuestion struct {
	Names       []string `json:"names"` // DNS names, addresses, or TYPE:VALUE, as in email:a@example.corp
	Account     string   `json:"account,omitempty"`
	Provisioner string   `json:"provisioner,omitempty"`
	Grant       string   `json:"grant,omitempty"`   // a key's identifier or name
	Profile     string   `json:"profile,omitempty"` // "" for the default one
	Door        string   `json:"door,omitempty"`    // "" for token with a provisioner, and acme without
	KeyType     string   `json:"key_type,omitempty"`
}

// PolicyAnswer says which rule decided.
type PolicyAnswer struct {
	Allowed bool            `json:"allowed"`
	Reason  string          `json:"reason,omitempty"` // what a client is told when it is refused
	Profile string          `json:"profile"`
	Names   []PolicyVerdict `json:"names"`
}

// PolicyVerdict is the answer about one name.
type PolicyVerdict struct {
	Name    string `json:"name"`
	Allowed bool   `json:"allowed"`
	Rule    string `json:"rule"`
	Reason  string `json:"reason,omitempty"`
}

func (a *api) testPolicy(r *http.Request) (any, error) {
	var asked PolicyQuestion
	if err := decode(r, &asked); err != nil {
		return nil, err
	}
	question, err := a.question(r.Context(), asked)
	if err != nil {
		return nil, err
	}
	decision, err := a.Decide(r.Context(), question)
	if err != nil && len(decision.Names) == 0 {
		return nil, failure.Wrap("ask policy", err)
	}
	answer := PolicyAnswer{Allowed: err == nil, Profile: question.Profile, Names: make([]PolicyVerdict, len(decision.Names))}
	if err != nil {
		answer.Reason = failure.ReportOf(err).Text
	}
	for i, verdict := range decision.Names {
		answer.Names[i] = PolicyVerdict{verdict.Identifier.Value, verdict.Allowed, verdict.Rule, verdict.Reason}
	}
	return answer, nil
}

// question is the one that a door would ask.
func (a *api) question(ctx context.Context, asked PolicyQuestion) (q policy.Question, err error) {
	q = policy.Question{Door: cmp.Or(asked.Door, "acme"), AccountID: asked.Account, Provisioner: asked.Provisioner, KeyType: asked.KeyType}
	if asked.Provisioner != "" {
		q.Door = cmp.Or(asked.Door, "token")
	}
	if q.Door == "acme" && q.Provisioner != "" || q.Door == "token" && q.AccountID != "" {
		return q, failure.New(failure.Malformed, "accounts are at the door acme, and provisioners at the door token")
	}
	if !slices.Contains(policy.Doors(), q.Door) {
		return q, failure.New(failure.Malformed, "there is no door %.40q; there is %s", q.Door, strings.Join(policy.Doors(), ", "))
	}
	if q.Profile, err = a.Profile(asked.Profile); err != nil {
		return q, err
	}
	for _, text := range asked.Names {
		name, err := parseName(text)
		if err != nil {
			return q, failure.New(failure.Malformed, "%.100q: %v", text, err)
		}
		q.Identifiers = append(q.Identifiers, name)
	}
	if len(q.Identifiers) == 0 {
		return q, failure.New(failure.Malformed, "there is no name to ask about")
	}
	if asked.Account != "" {
		if _, err := a.Store.Account(ctx, asked.Account); err != nil {
			return q, accountFailure(asked.Account, err)
		}
	}
	if asked.Grant != "" {
		q.GrantID, err = a.grantNamed(ctx, asked.Grant)
	}
	return q, err
}

func accountFailure(id string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return hinted(failure.New(failure.NotFound, "there is no account %.60q", id), "\"chancery accounts list\" shows those there are")
	}
	return failure.Wrap("read account", err)
}

// parseName reads a name as people write it.
func parseName(text string) (identifier.Identifier, error) {
	if principal, found := strings.CutPrefix(text, "ssh:"); found {
		return identifier.Identifier{Type: "ssh", Value: principal}, nil
	}
	return identifier.ParseText(text)
}

// grantNamed finds a key by its identifier or, when no other has it, its name.
func (a *api) grantNamed(ctx context.Context, text string) (string, error) {
	list, err := a.Store.ListBindings(ctx)
	if err != nil {
		return "", failure.Wrap("list EAB keys", err)
	}
	var named []string
	for i := range list {
		switch text {
		case list[i].ID:
			return list[i].ID, nil
		case list[i].Name:
			named = append(named, list[i].ID)
		}
	}
	switch len(named) {
	case 0:
		return "", bindingFailure("find EAB key", text, store.ErrNotFound)
	case 1:
		return named[0], nil
	}
	return "", failure.New(failure.Malformed, "%d EAB keys have the name %q; give one of %s", len(named), text, strings.Join(named, ", "))
}

// Limits are the limits in force.
type Limits struct {
	Limits  []Limit `json:"limits"`
	Counted int     `json:"counted"` // accounts, names, addresses… that have a count now
}

// Limit is a limit, or how much of it is used.
type Limit struct {
	Limit string  `json:"limit"`
	Of    string  `json:"of,omitempty"`
	Rate  string  `json:"rate"`
	Used  int     `json:"used"`
	Wait  float64 `json:"wait"` // seconds until the next is allowed
}

// recentOrders is how many orders of an account are looked at for the names
// that limits may hold for.
const recentOrders = 100

func (a *api) showLimits(r *http.Request) (any, error) {
	if a.Limits == nil {
		return nil, failure.New(failure.NotReady, "no server runs, and limits are counted by one")
	}
	if err := onlyParameters(r, "account"); err != nil {
		return nil, err
	}
	usage := a.Limits.All()
	if id := r.URL.Query().Get("account"); id != "" {
		orders, err := a.countedOrders(r.Context(), id)
		if err != nil {
			return nil, err
		}
		if usage, err = a.Limits.Used(r.Context(), orders); err != nil {
			return nil, err
		}
	}
	view := Limits{Limits: make([]Limit, len(usage)), Counted: a.Limits.Keys()}
	for i, u := range usage {
		view.Limits[i] = Limit{u.Limit, u.Of, u.Rate.String(), u.Used, u.Wait.Seconds()}
	}
	return view, nil
}

// countedOrders are the account's orders as limits see them; of one that has
// none, an order of no names.
func (a *api) countedOrders(ctx context.Context, id string) ([]limits.Order, error) {
	account, err := a.Store.Account(ctx, id)
	if err != nil {
		return nil, accountFailure(id, err)
	}
	all := limits.Order{AccountID: id}
	if account.BindingID != "" {
		binding, err := a.Store.Binding(ctx, account.BindingID)
		if err != nil {
			return nil, failure.Wrap("read EAB key", err)
		}
		if granted, err := grant.Compile(&binding); err == nil && granted != nil {
			all.GrantID, all.MaxRate = granted.ID, granted.MaxRate
		}
	}
	found, err := a.Store.ListOrders(ctx, store.OrderQuery{AccountID: id, Limit: recentOrders})
	if err != nil {
		return nil, failure.Wrap("list orders", err)
	}
	orders := []limits.Order{all}
	for i := range found {
		one := all
		one.Names = found[i].Identifiers
		orders = append(orders, one)
	}
	return orders, nil
}
