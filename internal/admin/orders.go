package admin

import (
	"errors"
	"log/slog"
	"net/http"

	"chancery/internal/failure"
	"chancery/internal/store"
)

func (a *api) listOrders(r *http.Request) (any, error) {
	if err := onlyParameters(r, "account", "limit", "after"); err != nil {
		return nil, err
	}
	size, err := limit(r)
	if err != nil {
		return nil, err
	}
	found, err := a.Store.ListOrders(r.Context(), store.OrderQuery{
		AccountID: r.FormValue("account"), Before: r.FormValue("after"), Limit: size,
	})
	if err != nil {
		return nil, failure.Wrap("list orders", err)
	}
	list, now := page[Order]{Items: make([]Order, len(found))}, a.Now()
	for i := range found {
		list.Items[i] = viewOrder(&found[i], now)
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

func (a *api) listAccounts(r *http.Request) (any, error) {
	if err := onlyParameters(r, "eab", "limit", "after"); err != nil {
		return nil, err
	}
	size, err := limit(r)
	if err != nil {
		return nil, err
	}
	found, err := a.Store.ListAccounts(r.Context(), store.AccountQuery{
		BindingID: r.FormValue("eab"), Before: r.FormValue("after"), Limit: size,
	})
	if err != nil {
		return nil, failure.Wrap("list accounts", err)
	}
	list := page[Account]{Items: make([]Account, len(found))}
	for i := range found {
		list.Items[i] = viewAccount(&found[i])
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
