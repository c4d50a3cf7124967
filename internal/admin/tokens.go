package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// NewToken is the wish for a token that lets somebody use the API over HTTPS.
type NewToken struct {
	Name    string    `json:"name"` // for people
	Role    string    `json:"role"`
	Expires time.Time `json:"expires,omitzero"` // zero for never
}

// Token is a token for the API.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	Status    string     `json:"status"` // valid, expired, revoked
	Created   time.Time  `json:"created"`
	Expires   *time.Time `json:"expires,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
	Secret    string     `json:"token,omitempty"` // the whole token; only in the answer that creates it
}

// A token's text is this, the token's id, a dash, and its secret in
// hexadecimal.
const tokenPrefix = "chancery-"

const maxTokenName = 100

func viewToken(t *store.AdminToken, now time.Time) Token {
	return Token{
		ID: t.ID, Name: t.Name, Role: t.Role, Status: tokenStatus(t, now), Created: t.Created,
		Expires: optional(t.Expires), RevokedAt: optional(t.Revoked),
	}
}

func tokenStatus(t *store.AdminToken, now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked"
	case !t.Expires.IsZero() && !now.Before(t.Expires):
		return "expired"
	default:
		return "valid"
	}
}

func (a *api) createToken(r *http.Request) (any, error) {
	var wish NewToken
	if err := decode(r, &wish); err != nil {
		return nil, err
	}
	role, err := parseRole(wish.Role)
	if err != nil {
		return nil, err
	}
	now := a.Now().UTC()
	switch {
	case wish.Name == "" || len(wish.Name) > maxTokenName:
		return nil, failure.New(failure.Malformed, "a token needs a name of %d characters at most, which says whose it is", maxTokenName)
	case !wish.Expires.IsZero() && !wish.Expires.After(now):
		return nil, failure.New(failure.Malformed, "the token would expire at %s, which is past", wish.Expires.Format(time.RFC3339))
	}
	var secret [32]byte
	if _, err := io.ReadFull(a.Rand, secret[:]); err != nil {
		return nil, failure.Wrap("create token", err)
	}
	id, err := store.NewID(now, a.Rand)
	if err != nil {
		return nil, failure.Wrap("create token", err)
	}
	made := store.AdminToken{
		ID: id, Name: wish.Name, Role: string(role), Hash: sha256.Sum256(secret[:]), Created: now, Expires: wish.Expires.UTC(),
	}
	if err := a.Store.CreateAdminToken(r.Context(), made); err != nil {
		return nil, failure.Wrap("create token", err)
	}
	a.Auditor.Audit(r.Context(), "admin-token.created", who(r), slog.String("token", id),
		slog.String("name", wish.Name), slog.String("role", string(role)), slog.Time("expires", made.Expires))
	view := viewToken(&made, now)
	view.Secret = tokenPrefix + id + "-" + hex.EncodeToString(secret[:])
	return view, nil
}

func (a *api) listTokens(r *http.Request) (any, error) {
	found, err := a.Store.ListAdminTokens(r.Context())
	if err != nil {
		return nil, failure.Wrap("list tokens", err)
	}
	list, now := page[Token]{Items: make([]Token, len(found))}, a.Now()
	for i := range found {
		list.Items[i] = viewToken(&found[i], now)
	}
	return list, nil
}

func (a *api) revokeToken(r *http.Request) (any, error) {
	id := r.PathValue("id")
	err := a.Store.RevokeAdminToken(r.Context(), id, a.Now().UTC())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, hinted(failure.New(failure.NotFound, "there is no token %.60q", id), "\"chancery admin token list\" shows those there are")
	case errors.Is(err, store.ErrRevoked):
		return nil, failure.New(failure.AlreadyRevoked, "the token %s is already revoked", id)
	case err != nil:
		return nil, failure.Wrap("revoke token", err)
	}
	a.Auditor.Audit(r.Context(), "admin-token.revoked", who(r), slog.String("token", id))
	found, err := a.Store.AdminToken(r.Context(), id)
	return viewToken(&found, a.Now()), failure.Wrap("read token", err)
}

// errToken is all that is said about a token that is not good.
var errToken = errors.New("the token is unknown, expired or revoked")

// bearer finds out whose token this is. Errors that wrap errToken are the
// caller's; all others are the store's.
func (a *api) bearer(ctx context.Context, text string) (caller, error) {
	id, secretText, _ := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "-")
	secret, err := hex.DecodeString(secretText)
	if err != nil || !strings.HasPrefix(text, tokenPrefix) {
		return caller{}, errToken
	}
	found, err := a.Store.AdminToken(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return caller{}, failure.Wrap("read token", err)
	}
	hash := sha256.Sum256(secret) // also for no token, so that the time taken does not tell
	if subtle.ConstantTimeCompare(hash[:], found.Hash[:]) != 1 || err != nil || tokenStatus(&found, a.Now()) != "valid" {
		return caller{}, errToken
	}
	return caller{name: "operator:token=" + found.ID + " (" + found.Name + ")", role: Role(found.Role)}, nil
}

// CreateToken makes a token. Its secret is in this answer and in no other.
func (c *Client) CreateToken(ctx context.Context, wish NewToken) (Token, error) {
	return call[Token](ctx, c, http.MethodPost, "/tokens", wish)
}

// Tokens lists the tokens, newest first, without their secrets.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	return pages[Token](ctx, c, "/tokens", url.Values{}, 0)
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, id string) (Token, error) {
	return call[Token](ctx, c, http.MethodPost, "/tokens/"+url.PathEscape(id)+"/revoke", nil)
}
