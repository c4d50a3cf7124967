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

// Run settles intents whose deadline has passed until ctx is done, and then
// waits for the issuances under way. It is called once.
func (a *Authority) Run(ctx context.Context) error {
	defer a.work.Wait()
	defer close(a.stopping)
	ticker := time.NewTicker(settleEvery)
	defer ticker.Stop()
	for {
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
		for _, intent := range intents {
			if err := a.settle(ctx, intent); err != nil && !errors.Is(err, store.ErrNotFound) {
				return settled, err
			}
			settled++
		}
	}
}

// settle closes one intent. Whoever made it may finish it at the same moment;
// then there is nothing left to do.
func (a *Authority) settle(ctx context.Context, intent store.Intent) error {
	next, report := a.next(ctx, intent)
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
func (a *Authority) next(ctx context.Context, intent store.Intent) (*draft, *failure.Report) {
	if intent.Owner.Kind == store.OwnerNone {
		return nil, nil
	}
	if intent.Attempt >= maxAttempts {
		return nil, failure.ReportOf(failure.New(failure.Internal, "the CA could not sign the certificate in %d attempts", intent.Attempt))
	}
	var req Request
	if err := json.Unmarshal(intent.Request, &req); err != nil {
		return nil, failure.ReportOf(failure.Wrap("read stored request", err))
	}
	next, err := a.prepare(ctx, req, intent.Attempt+1)
	if err != nil {
		return nil, failure.ReportOf(err)
	}
	return next, nil
}
