// Package grant keeps the grants in force at hand: what the keys for external
// account binding carry, compiled, found by key or by account. A key without
// policy is no grant. It must be told when a key has changed, so that a change
// acts at once.
package grant

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"chancery/internal/limits"
	"chancery/internal/policy"
	"chancery/internal/store"
)

// Store is what a Book reads.
type Store interface {
	Account(ctx context.Context, id string) (store.Account, error)
	Binding(ctx context.Context, id string) (store.Binding, error)
}

// maxKept bounds each of a Book's caches.
const maxKept = 20_000

// Book finds grants. Its methods may be called by any number of goroutines.
type Book struct {
	store Store

	mu       sync.Mutex
	grants   map[string]*policy.Grant // guarded by mu; by key, nil for one without policy
	bindings map[string]string        // guarded by mu; by account, which never changes its key
	changes  uint64                   // guarded by mu; counts calls of Forget
}

var _ policy.Grants = (*Book)(nil)

// NewBook returns a book that has read nothing.
func NewBook(from Store) *Book {
	return &Book{store: from, grants: map[string]*policy.Grant{}, bindings: map[string]string{}}
}

// GrantOf returns the grant that an ACME account was made with; nil when it
// was made without.
func (b *Book) GrantOf(ctx context.Context, accountID string) (*policy.Grant, error) {
	b.mu.Lock()
	id, found := b.bindings[accountID]
	b.mu.Unlock()
	if !found {
		account, err := b.store.Account(ctx, accountID)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil //nolint:nilnil // no account has no grant
		}
		if err != nil {
			return nil, fmt.Errorf("couldn't read the account of a grant: %w", err)
		}
		id = account.BindingID
		b.mu.Lock()
		put(b.bindings, accountID, id)
		b.mu.Unlock()
	}
	if id == "" {
		return nil, nil //nolint:nilnil // as documented
	}
	return b.Grant(ctx, id)
}

// Grant returns the grant that a key carries, in force or not; nil when it
// carries none, or there is no such key.
func (b *Book) Grant(ctx context.Context, id string) (*policy.Grant, error) {
	b.mu.Lock()
	found, known := b.grants[id]
	changes := b.changes
	b.mu.Unlock()
	if known {
		return found, nil
	}
	binding, err := b.store.Binding(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // as documented
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the grant %s: %w", id, err)
	}
	compiled, err := Compile(&binding)
	if err != nil {
		return nil, fmt.Errorf("couldn't use the grant %s: %w", id, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if changes == b.changes { // else what was read may be of before the change
		put(b.grants, id, compiled)
	}
	return compiled, nil
}

// Forget drops a key that was changed or revoked.
func (b *Book) Forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.grants, id)
	b.changes++
}

// ForgetAll drops all keys: other nodes have changed some.
func (b *Book) ForgetAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.grants)
	b.changes++
}

// put drops any one entry of a map that is full.
func put[V any](kept map[string]V, id string, value V) {
	for other := range kept {
		if len(kept) < maxKept {
			break
		}
		delete(kept, other)
	}
	kept[id] = value
}

// Compile makes the policy that a key carries ready; nil when it carries none.
// The error joins *policy.SpecErrors, whose fields are named as in store.Grant.
func Compile(binding *store.Binding) (*policy.Grant, error) {
	g := &binding.Grant
	if g.IsZero() {
		return nil, nil //nolint:nilnil // as documented
	}
	rate, err := limits.ParseRate(g.MaxRate)
	if err != nil {
		return nil, &policy.SpecError{Field: "max_rate", Problem: err.Error()}
	}
	return policy.CompileGrant(policy.GrantSpec{
		ID: binding.ID, Name: binding.Name, Allow: g.Allow, Deny: g.Deny, Preauthorize: g.Preauthorize,
		Profiles: g.Profiles, Labels: g.Labels, MaxRate: rate, Revoked: binding.Revoked, Expires: binding.Expires,
	})
}
