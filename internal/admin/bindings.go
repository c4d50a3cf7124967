package admin

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"chancery/internal/failure"
	"chancery/internal/grant"
	"chancery/internal/store"
)

// NewBinding is the wish for a key for external account binding.
type NewBinding struct {
	Name      string    `json:"name,omitempty"` // for people
	SingleUse bool      `json:"single_use,omitempty"`
	Expires   time.Time `json:"expires,omitzero"` // zero for never
	Grant
}

// Grant is the policy that a key carries; see docs/policy.md for the patterns.
type Grant struct {
	Allow        []string          `json:"allow,omitempty"`
	Deny         []string          `json:"deny,omitempty"`
	Preauthorize []string          `json:"preauthorize,omitempty"`
	Profiles     []string          `json:"profiles,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	MaxAccounts  int               `json:"max_accounts,omitempty"`
	MaxRate      string            `json:"max_rate,omitempty"`
}

// BindingChange is the wish to change a key; nil fields stay as they are.
type BindingChange struct {
	Name         *string            `json:"name,omitempty"`
	Expires      *time.Time         `json:"expires,omitempty"` // zero for never
	Allow        *[]string          `json:"allow,omitempty"`
	Deny         *[]string          `json:"deny,omitempty"`
	Preauthorize *[]string          `json:"preauthorize,omitempty"`
	Profiles     *[]string          `json:"profiles,omitempty"`
	Labels       *map[string]string `json:"labels,omitempty"`
	MaxAccounts  *int               `json:"max_accounts,omitempty"`
	MaxRate      *string            `json:"max_rate,omitempty"`
}

// secretSize is 32 octets because one client takes MAC keys only in multiples
// of 16, and HS256 wants no less (RFC 7518 §3.2).
const secretSize = 32

func (a *api) createBinding(r *http.Request) (any, error) {
	var wish NewBinding
	if err := decode(r, &wish); err != nil {
		return nil, err
	}
	now := a.Now().UTC()
	if err := checkExpiry(wish.Expires, now); err != nil {
		return nil, err
	}
	id, err := store.NewID(now, a.Rand)
	if err != nil {
		return nil, failure.Wrap("create EAB key", err)
	}
	binding := store.Binding{
		ID: id, Name: wish.Name, SingleUse: wish.SingleUse, Created: now, Expires: wish.Expires,
		Secret: make([]byte, secretSize), Grant: store.Grant(wish.Grant),
	}
	if err := a.checkGrant(&binding); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(a.Rand, binding.Secret); err != nil {
		return nil, failure.Wrap("create EAB key", err)
	}
	// Without its first bit the secret never begins with a dash in base64url, which
	// certbot's command line would take for an option.
	binding.Secret[0] &^= 0x80
	if err := a.Store.CreateBinding(r.Context(), binding); err != nil {
		return nil, failure.Wrap("create EAB key", err)
	}
	a.Auditor.Audit(r.Context(), "eab.created", who(r), slog.String("kid", id),
		slog.String("name", wish.Name), slog.Bool("single_use", wish.SingleUse), slog.Any("grant", wish.Grant))
	return viewBinding(&binding, now), nil
}

func checkExpiry(expires, now time.Time) error {
	if !expires.IsZero() && !expires.After(now) {
		return failure.New(failure.Malformed, "the key would expire at %s, which is past", expires.Format(time.RFC3339))
	}
	return nil
}

// checkGrant refuses a key whose policy cannot be meant.
func (a *api) checkGrant(binding *store.Binding) error {
	if _, err := grant.Compile(binding); err != nil {
		return failure.New(failure.Malformed, "the key cannot carry this policy: %v", err)
	}
	for _, name := range binding.Grant.Profiles {
		if _, err := a.Profile(name); err != nil {
			return err
		}
	}
	if binding.Grant.MaxAccounts < 0 {
		return failure.New(failure.Malformed, "a key cannot have %d accounts; 0 is for any number", binding.Grant.MaxAccounts)
	}
	return nil
}

func (a *api) showBinding(r *http.Request) (any, error) {
	binding, err := a.binding(r)
	return viewBinding(&binding, a.Now()), err
}

// binding reads the key that the request is about, without its secret.
func (a *api) binding(r *http.Request) (store.Binding, error) {
	kid := r.PathValue("kid")
	binding, err := a.Store.Binding(r.Context(), kid)
	binding.Secret = nil
	return binding, bindingFailure("read EAB key", kid, err)
}

// bindingFailure says what is wrong with a key; nil stays nil.
func bindingFailure(op, kid string, err error) error {
	switch {
	case errors.Is(err, store.ErrRevoked):
		return failure.New(failure.AlreadyRevoked, "the EAB key %s is already revoked", kid)
	case errors.Is(err, store.ErrNotFound):
		return hinted(failure.New(failure.NotFound, "there is no EAB key %.60q", kid), "\"chancery eab list\" shows those there are")
	}
	return failure.Wrap(op, err)
}

func (a *api) updateBinding(r *http.Request) (any, error) {
	var wish BindingChange
	if err := decode(r, &wish); err != nil {
		return nil, err
	}
	binding, err := a.binding(r)
	if err != nil {
		return nil, err
	}
	now, change := a.Now().UTC(), store.BindingChange(wish)
	if wish.Expires != nil {
		if err := checkExpiry(*wish.Expires, now); err != nil {
			return nil, err
		}
	}
	change.Apply(&binding)
	if err := a.checkGrant(&binding); err != nil {
		return nil, err
	}
	binding, err = a.Store.UpdateBinding(r.Context(), r.PathValue("kid"), change)
	if err != nil {
		return nil, bindingFailure("update EAB key", r.PathValue("kid"), err)
	}
	a.GrantChanged(binding.ID)
	a.Auditor.Audit(r.Context(), "eab.updated", who(r), slog.String("kid", binding.ID), slog.Any("change", wish))
	binding.Secret = nil
	return viewBinding(&binding, now), nil
}

// BindingQuery selects keys; the zero value selects all.
type BindingQuery struct {
	Status string `json:"status,omitempty"` // valid, used, expired or revoked
	Name   string `json:"name,omitempty"`   // with this name
}

func (a *api) listBindings(r *http.Request) (any, error) {
	if err := onlyParameters(r, "status", "name", "limit"); err != nil {
		return nil, err
	}
	status, name := r.FormValue("status"), r.FormValue("name")
	found, err := a.Store.ListBindings(r.Context())
	if err != nil {
		return nil, failure.Wrap("list EAB keys", err)
	}
	list, now := page[Binding]{Items: []Binding{}}, a.Now()
	for i := range found {
		found[i].Secret = nil
		view := viewBinding(&found[i], now)
		if (status == "" || status == view.Status) && (name == "" || name == view.Name) {
			list.Items = append(list.Items, view)
		}
	}
	return list, nil
}

func (a *api) revokeBinding(r *http.Request) (any, error) {
	kid := r.PathValue("kid")
	if err := a.Store.RevokeBinding(r.Context(), kid, a.Now().UTC()); err != nil {
		return nil, bindingFailure("revoke EAB key", kid, err)
	}
	a.GrantChanged(kid)
	a.Auditor.Audit(r.Context(), "eab.revoked", who(r), slog.String("kid", kid))
	return a.showBinding(r)
}
