package acme

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// changeKey gives an account a new key (RFC 8555 §7.3.5). The outer JWS is by
// the old key, which the gate has checked; its payload is a JWS by the new.
func (d *Door) changeKey(ctx context.Context, r *request) (*response, error) {
	inner, err := d.openInner(r)
	if err != nil {
		return nil, err
	}
	if inner.JWK.Thumbprint == r.account.key.Thumbprint {
		return nil, r.keyInUse(r.account.ID)
	}
	stored, err := d.deps.Store.ChangeKey(ctx, r.account.ID, r.account.key.Thumbprint,
		store.AccountKey{Thumbprint: inner.JWK.Thumbprint, JWK: inner.JWK.JSON})
	if holder, ok := errors.AsType[*store.KeyInUseError](err); ok {
		return nil, r.keyInUse(holder.HolderID)
	}
	if err != nil {
		return nil, failure.Wrap("change account key", err)
	}
	d.accounts.forget(r.account.ID)
	d.audit(ctx, "account.key_changed", r.account.ID, slog.String("key", inner.JWK.Thumbprint))
	return r.showAccount(stored), nil
}

func (r *request) keyInUse(holderID string) error {
	return newProblem(malformed, "the new key belongs to an account already; Location names it").
		with(http.StatusConflict).set("Location", r.url("account", holderID))
}

// openInner checks the inner JWS: that it is by the key it carries, made for
// this URL, and moves this account from its present key.
func (d *Door) openInner(r *request) (*JWS, error) {
	inner, err := ParseJWS(r.jws.Payload)
	if err != nil {
		return nil, inInner(gateProblem(err))
	}
	switch {
	case inner.JWK == nil:
		return nil, newProblem(malformed, "the inner JWS has no \"jwk\"; it must carry the new key")
	case inner.Nonce != "":
		return nil, newProblem(malformed, "the inner JWS has a \"nonce\"; it must not")
	case inner.URL != r.jws.URL:
		return nil, newProblem(malformed, "the inner JWS is for another \"url\" than the outer")
	}
	if err := d.checkKey(inner.JWK); err != nil {
		return nil, err
	}
	if err := inner.Verify(inner.JWK.Public); err != nil {
		return nil, inInner(gateProblem(err))
	}
	var payload struct {
		Account string          `json:"account"`
		OldKey  json.RawMessage `json:"oldKey"`
	}
	if err := json.Unmarshal(inner.Payload, &payload); err != nil {
		return nil, newProblem(malformed, "the inner payload cannot be read: %s", err)
	}
	if payload.Account != r.jws.KeyID {
		return nil, newProblem(malformed, "\"account\" is not the account whose key signs the request")
	}
	old, err := ParseJWK(payload.OldKey)
	if err != nil || old.Thumbprint != r.account.key.Thumbprint {
		return nil, newProblem(malformed, "\"oldKey\" is not the account's present key")
	}
	return inner, nil
}

func inInner(err error) error {
	if problem, ok := errors.AsType[*Problem](err); ok {
		problem.Detail = "the inner JWS: " + problem.Detail
	}
	return err
}
