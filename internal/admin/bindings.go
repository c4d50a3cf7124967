package admin

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// NewBinding is the wish for a key for external account binding.
type NewBinding struct {
	Name      string    `json:"name,omitempty"` // for people
	SingleUse bool      `json:"single_use,omitempty"`
	Expires   time.Time `json:"expires,omitzero"` // zero for never
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
	if !wish.Expires.IsZero() && !wish.Expires.After(now) {
		return nil, failure.New(failure.Malformed, "the key would expire at %s, which is past", wish.Expires.Format(time.RFC3339))
	}
	id, err := store.NewID(now, a.Rand)
	if err != nil {
		return nil, failure.Wrap("create EAB key", err)
	}
	binding := store.Binding{
		ID: id, Name: wish.Name, SingleUse: wish.SingleUse, Created: now, Expires: wish.Expires,
		Secret: make([]byte, secretSize),
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
		slog.String("name", wish.Name), slog.Bool("single_use", wish.SingleUse))
	return viewBinding(&binding, now), nil
}

func (a *api) listBindings(r *http.Request) (any, error) {
	found, err := a.Store.ListBindings(r.Context())
	if err != nil {
		return nil, failure.Wrap("list EAB keys", err)
	}
	list, now := page[Binding]{Items: make([]Binding, len(found))}, a.Now()
	for i := range found {
		found[i].Secret = nil
		list.Items[i] = viewBinding(&found[i], now)
	}
	return list, nil
}

func (a *api) revokeBinding(r *http.Request) (any, error) {
	kid := r.PathValue("kid")
	err := a.Store.RevokeBinding(r.Context(), kid, a.Now().UTC())
	switch {
	case errors.Is(err, store.ErrRevoked):
		return nil, failure.New(failure.AlreadyRevoked, "the EAB key %s is already revoked", kid)
	case errors.Is(err, store.ErrNotFound):
		return nil, hinted(failure.New(failure.NotFound, "there is no EAB key %.60q", kid), "\"chancery eab list\" shows those there are")
	case err != nil:
		return nil, failure.Wrap("revoke EAB key", err)
	}
	a.Auditor.Audit(r.Context(), "eab.revoked", who(r), slog.String("kid", kid))
	binding, err := a.Store.Binding(r.Context(), kid)
	if err != nil {
		return nil, failure.Wrap("read EAB key", err)
	}
	binding.Secret = nil
	return viewBinding(&binding, a.Now()), nil
}
