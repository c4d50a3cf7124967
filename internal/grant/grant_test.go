package grant_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"chancery/internal/grant"
	"chancery/internal/store"
)

// records is a store that counts what is read.
type records struct {
	accounts map[string]store.Account
	bindings map[string]store.Binding
	reads    int
	failure  error
}

func (r *records) Account(_ context.Context, id string) (store.Account, error) {
	r.reads++
	return find(r.accounts, id, r.failure)
}

func (r *records) Binding(_ context.Context, id string) (store.Binding, error) {
	r.reads++
	return find(r.bindings, id, r.failure)
}

func find[T any](in map[string]T, id string, failure error) (T, error) {
	found, ok := in[id]
	if !ok && failure == nil {
		failure = store.ErrNotFound
	}
	return found, failure
}

func TestBook(t *testing.T) {
	from := &records{
		accounts: map[string]store.Account{"alice": {BindingID: "a"}, "bob": {}, "carol": {BindingID: "plain"}},
		bindings: map[string]store.Binding{"a": {ID: "a", Name: "team-a", Grant: store.Grant{Allow: []string{"*.a.corp"}}}, "plain": {ID: "plain"}},
	}
	book, ctx := grant.NewBook(from), t.Context()
	for range 2 {
		for account, name := range map[string]string{"alice": "team-a", "bob": "", "carol": ""} {
			got, err := book.GrantOf(ctx, account)
			if err != nil || (got == nil) != (name == "") || got != nil && got.Name != name {
				t.Errorf("%s: %+v, %v", account, got, err)
			}
		}
	}
	if from.reads != 5 {
		t.Errorf("%d reads, want one for each record", from.reads)
	}
	book.ForgetAll()
	if got, err := book.GrantOf(ctx, "alice"); got == nil || err != nil || from.reads != 6 {
		t.Errorf("after all was forgotten: %v, %v, %d reads", got, err, from.reads)
	}
	for _, id := range []string{"nobody", "none"} {
		if got, err := book.GrantOf(ctx, id); got != nil || err != nil {
			t.Errorf("%s: %v, %v", id, got, err)
		}
	}

	revoked := from.bindings["a"]
	revoked.Revoked = time.Unix(1, 0)
	from.bindings["a"] = revoked
	book.Forget("a")
	if got, err := book.GrantOf(ctx, "alice"); err != nil || got.Revoked.IsZero() {
		t.Errorf("after the change: %+v, %v", got, err)
	}
	from.failure = errors.New("broken")
	if _, err := book.GrantOf(ctx, "dave"); err == nil {
		t.Error("a broken store is no grant")
	}
}

func TestBadGrants(t *testing.T) {
	for _, g := range []store.Grant{{Allow: []string{"a..b"}}, {MaxRate: "often"}} {
		if _, err := grant.Compile(&store.Binding{Grant: g}); err == nil {
			t.Errorf("%+v is taken", g)
		}
	}
}
