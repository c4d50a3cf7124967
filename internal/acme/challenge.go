package acme

import (
	"context"
	"errors"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// answerChallenge serves a challenge: reading it changes nothing (RFC 8555
// §7.5.1), answering it with a JSON object starts its validation.
func (d *Door) answerChallenge(ctx context.Context, r *request) (*response, error) {
	authz, err := d.ownAuthorization(ctx, r)
	if err != nil {
		return nil, err
	}
	method := r.PathValue("method")
	if !authz.Offers(method) {
		return nil, notFound("the authorization has no challenge of type %.40q", method)
	}
	if !r.jws.EmptyPayload {
		if err := r.decode(&struct{}{}); err != nil {
			return nil, err
		}
		if authz.Status(d.deps.Now()) == store.AuthorizationPending {
			if authz, err = d.validate(ctx, r, authz, method); err != nil {
				return nil, err
			}
		}
	}
	resp := answer(r.showChallenge(authz, method, d.deps.Now()))
	if authz.Processing(method) {
		resp.set("Retry-After", seconds(r.retryAfter()))
	}
	return resp.link(r.url("authz", authz.ID), "up"), nil
}

// validate tries the challenge and waits a moment for the outcome. When that
// takes longer, the validation is made durable and goes on by itself.
func (d *Door) validate(ctx context.Context, r *request, authz *store.Authorization, method string) (*store.Authorization, error) {
	if authz.Method == method {
		return authz, nil // being processed already; an answer in between changes nothing
	}
	if authz.Method != "" {
		return nil, newProblem(malformed, "the challenge %s is being validated; wait for its outcome", authz.Method)
	}
	job, err := d.validations.start(*authz, method, r.account.key.Thumbprint, r.accountURL())
	if err != nil {
		return nil, err
	}
	wait := time.NewTimer(r.ValidationWait)
	defer wait.Stop()
	select {
	case <-job.done:
		return job.authz, job.err
	case <-ctx.Done():
	case <-wait.C:
	}
	now := d.deps.Now()
	claim := store.ValidationClaim{
		Method: method, Thumbprint: r.account.key.Thumbprint,
		NextAttempt: now, Till: now.Add(r.ValidationTimeout + claimMargin),
	}
	// The client may be gone; what it was about to be told must hold anyway.
	err = d.deps.Store.ClaimValidation(context.WithoutCancel(ctx), authz.ID, claim)
	if err != nil && !errors.Is(err, store.ErrNotPending) {
		return nil, failure.Wrap("keep validation", err)
	}
	current, err := d.deps.Store.Authorization(ctx, authz.ID) // the outcome may have come meanwhile
	return &current, failure.Wrap("read authorization", err)
}
