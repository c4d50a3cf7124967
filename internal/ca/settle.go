package ca

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
)

const (
	settleEvery = 5 * time.Second // how often left-over intents are looked for
	settleBatch = 100             // how many are read at once
	maxAttempts = 5               // after so many serials the owner's wish is given up
)

// Run settles intents that failed or whose deadline has passed, until ctx is
// done, and then waits for the issuances under way. It is called once.
func (a *Authority) Run(ctx context.Context) error {
	defer a.work.Wait()
	defer close(a.stopping)
	ticker := time.NewTicker(settleEvery)
	defer ticker.Stop()
	for {
		a.settleFailed(ctx)
		if _, err := a.Settle(ctx, a.deps.Now()); err != nil && ctx.Err() == nil {
			a.deps.Log.Error("couldn't settle left-over intents; will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// leave has Run settle an intent whose issuance has failed, without waiting for
// its deadline.
func (a *Authority) leave(intent store.Intent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = append(a.failed, intent)
}

// settleFailed settles what was left. What can't be settled is tried again.
func (a *Authority) settleFailed(ctx context.Context) {
	a.mu.Lock()
	failed := a.failed
	a.failed = nil
	a.mu.Unlock()
	for _, intent := range failed {
		err := a.settle(ctx, intent)
		if err == nil || errors.Is(err, store.ErrNotFound) {
			continue
		}
		a.leave(intent)
		if !errors.Is(err, errSigner) && ctx.Err() == nil {
			a.deps.Log.Error("couldn't settle a failed issuance; will try again", "error", err)
		}
	}
}

// Settle closes every intent whose deadline is before the given time: it may
// have been signed, so its serial is recorded as revoked, and its owner goes on
// with a new one. A single process that has just started passes a time far
// ahead, for nobody else can be at work.
func (a *Authority) Settle(ctx context.Context, deadlineBefore time.Time) (settled int, err error) {
	for {
		intents, err := a.deps.Store.Intents(ctx, deadlineBefore, settleBatch)
		if err != nil || len(intents) == 0 {
			return settled, failure.Wrap("list intents", err)
		}
		before := settled
		for _, intent := range intents {
			err := a.settle(ctx, intent)
			if errors.Is(err, errSigner) {
				continue // it waits until the signer is back
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return settled, err
			}
			settled++
		}
		if settled == before {
			return settled, nil
		}
	}
}

// settle closes one intent. Whoever made it may finish it at the same moment;
// then there is nothing left to do. The error wraps errSigner when the intent
// has to wait for the signer.
func (a *Authority) settle(ctx context.Context, intent store.Intent) error {
	next, report, err := a.next(ctx, intent)
	if err != nil {
		return err
	}
	var successor *store.Intent
	if next != nil {
		successor = &next.intent
	}
	if err := a.deps.Store.AbandonIntent(ctx, intent.CertificateKey, a.deps.Now(), successor, report); err != nil {
		return failure.Wrap("abandon intent", err)
	}
	a.deps.Auditor.Audit(ctx, "certificate.abandoned", slog.String("serial", intent.Serial.String()),
		slog.String("issuer", intent.IssuerID), slog.String("owner", intent.Owner.ID), slog.Bool("goes_on", next != nil))
	if next != nil {
		_, _ = a.finish(ctx, next) // a failure is logged there, and leaves the next intent to settle
	}
	return nil
}

// next prepares the issuance that takes an abandoned intent's place, or says
// why there is none.
func (a *Authority) next(ctx context.Context, intent store.Intent) (*draft, *failure.Report, error) {
	if intent.Owner.Kind != store.OwnerOrder { // nobody waits for it
		return nil, nil, nil
	}
	if intent.Attempt >= maxAttempts {
		return nil, failure.ReportOf(failure.New(failure.Internal, "the CA could not sign the certificate in %d attempts", intent.Attempt)), nil
	}
	var req Request
	if err := json.Unmarshal(intent.Request, &req); err != nil {
		return nil, failure.ReportOf(failure.Wrap("read stored request", err)), nil
	}
	next, err := a.prepare(ctx, req, intent.Attempt+1)
	switch {
	case errors.Is(err, errSigner):
		return nil, nil, err
	case err != nil:
		return nil, failure.ReportOf(err), nil
	}
	return next, nil, nil
}
