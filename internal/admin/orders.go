package admin

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// OrderQuery selects orders; the zero value selects all. A page of what it
// selects can be empty and yet have a next.
type OrderQuery struct {
	Account string `json:"account,omitempty"`
	Status  string `json:"status,omitempty"` // as RFC 8555 §7.1.6 has it
	Name    string `json:"name,omitempty"`   // with this name
	Profile string `json:"profile,omitempty"`
}

func (q *OrderQuery) selects(o *Order) bool {
	return (q.Status == "" || q.Status == o.Status) && (q.Name == "" || slices.Contains(o.Names, strings.ToLower(q.Name))) &&
		(q.Profile == "" || q.Profile == o.Profile)
}

func (a *api) listOrders(r *http.Request) (any, error) {
	if err := onlyParameters(r, "account", "status", "name", "profile", "limit", "after"); err != nil {
		return nil, err
	}
	size, err := limit(r)
	if err != nil {
		return nil, err
	}
	query := OrderQuery{Status: r.FormValue("status"), Name: r.FormValue("name"), Profile: r.FormValue("profile")}
	found, err := a.Store.ListOrders(r.Context(), store.OrderQuery{
		AccountID: r.FormValue("account"), Before: r.FormValue("after"), Limit: size,
	})
	if err != nil {
		return nil, failure.Wrap("list orders", err)
	}
	list, now := page[Order]{Items: []Order{}}, a.Now()
	for i := range found {
		if view := viewOrder(&found[i], now); query.selects(&view) {
			list.Items = append(list.Items, view)
		}
	}
	if len(found) == size {
		list.Next = found[len(found)-1].ID
	}
	return list, nil
}

func (a *api) showOrder(r *http.Request) (any, error) {
	order, err := a.Store.Order(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, notFound(err, "order", r.PathValue("id"))
	}
	return viewOrderWhole(&order, a.Now()), nil
}

// AccountQuery selects accounts as OrderQuery does orders.
type AccountQuery struct {
	EAB     string `json:"eab,omitempty"`     // made with this key
	Status  string `json:"status,omitempty"`  // valid, deactivated or revoked
	Contact string `json:"contact,omitempty"` // with this text in a contact
}

func (q *AccountQuery) selects(a *Account) bool {
	return (q.Status == "" || q.Status == a.Status) && (q.Contact == "" || slices.ContainsFunc(a.Contact, func(contact string) bool {
		return strings.Contains(strings.ToLower(contact), strings.ToLower(q.Contact))
	}))
}

func (a *api) listAccounts(r *http.Request) (any, error) {
	if err := onlyParameters(r, "eab", "status", "contact", "limit", "after"); err != nil {
		return nil, err
	}
	size, err := limit(r)
	if err != nil {
		return nil, err
	}
	query := AccountQuery{Status: r.FormValue("status"), Contact: r.FormValue("contact")}
	found, err := a.Store.ListAccounts(r.Context(), store.AccountQuery{
		BindingID: r.FormValue("eab"), Before: r.FormValue("after"), Limit: size,
	})
	if err != nil {
		return nil, failure.Wrap("list accounts", err)
	}
	list := page[Account]{Items: []Account{}}
	for i := range found {
		if view := viewAccount(&found[i]); query.selects(&view) {
			list.Items = append(list.Items, view)
		}
	}
	if len(found) == size {
		list.Next = found[len(found)-1].ID
	}
	return list, nil
}

func (a *api) showAccount(r *http.Request) (any, error) {
	account, err := a.Store.Account(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, notFound(err, "account", r.PathValue("id"))
	}
	return viewAccount(&account), nil
}

// closeAccount ends an account by the operator's will: RFC 8555 §7.1.6 calls
// that revoked, to tell it from deactivation by its holder.
func (a *api) closeAccount(r *http.Request) (any, error) {
	id := r.PathValue("id")
	report := failure.ReportOf(failure.New(failure.Unauthorized, "the account was deactivated by an operator"))
	account, err := a.Store.CloseAccount(r.Context(), id, store.AccountRevoked, report)
	if errors.Is(err, store.ErrNotValid) {
		return nil, failure.New(failure.Conflict, "the account %s is already closed", id)
	}
	if err != nil {
		return nil, notFound(err, "account", id)
	}
	a.AccountClosed(id)
	a.Auditor.Audit(r.Context(), "account.revoked", who(r), slog.String("account", id))
	return viewAccount(&account), nil
}

func notFound(err error, kind, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return hinted(failure.New(failure.NotFound, "there is no %s %.60q", kind, id),
			"\"chancery "+kind+"s list\" shows those there are")
	}
	return failure.Wrap("read "+kind, err)
}
