package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
	"chancery/internal/validation"
)

const (
	// claimMargin is how long after its timeout a validation may still be at
	// work before another may take it over.
	claimMargin = 5 * time.Second
	// queuePerSlot bounds the validations that wait for each that runs.
	queuePerSlot = 16
	// accountShare is the part of the slots, one in so many, that one account
	// can have: targets that never answer make their own account wait, not
	// the others.
	accountShare = 4
	// dueEvery is how often validations that are due are looked for, at most.
	dueEvery = time.Second
)

// validations runs attempts: those that a client waits for and those that are
// due again. Each authorization has at most one at a time.
type validations struct {
	door   *Door
	slots  chan struct{} // one token for each attempt that runs
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	jobs   map[string]*job   // guarded by mu; by authorization
	shares map[string]*share // guarded by mu; by account, while it has jobs
}

// share is what one account uses of the slots.
type share struct {
	slots chan struct{} // one token for each of its attempts that runs
	jobs  int           // guarded by validations.mu
}

// job is one attempt. What it found can be read when done is closed.
type job struct {
	method string
	done   chan struct{}
	authz  *store.Authorization // as it is stored after the attempt
	err    error                // the store's, when nothing came of it
}

func (v *validations) init(d *Door, slots int) {
	v.door, v.slots = d, make(chan struct{}, slots)
	v.jobs, v.shares = map[string]*job{}, map[string]*share{}
	v.ctx, v.cancel = context.WithCancel(context.Background())
}

// start begins an attempt, or joins the one under way.
func (v *validations) start(authz store.Authorization, method, thumbprint, accountURL string) (*job, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if running := v.jobs[authz.ID]; running != nil {
		return running, nil
	}
	mine := v.shares[authz.AccountID]
	if mine == nil {
		mine = &share{slots: make(chan struct{}, max(1, cap(v.slots)/accountShare))}
	}
	if full(len(v.jobs), v.slots) || full(mine.jobs, mine.slots) || v.ctx.Err() != nil {
		return nil, unavailable(retryLater, "too many validations are waiting; try again")
	}
	begun := &job{method: method, done: make(chan struct{})}
	v.jobs[authz.ID], v.shares[authz.AccountID] = begun, mine
	mine.jobs++
	authz.Thumbprint = thumbprint
	v.door.work.Go(func() {
		defer v.end(begun, &authz)
		begun.authz, begun.err = v.inTurn(mine, func() (*store.Authorization, error) {
			return v.attempt(authz, method, accountURL)
		})
	})
	return begun, nil
}

// full reports whether no further job may wait for one of the slots.
func full(jobs int, slots chan struct{}) bool { return jobs >= (queuePerSlot+1)*cap(slots) }

// inTurn runs an attempt when the account, and then the server, has a slot.
func (v *validations) inTurn(mine *share, attempt func() (*store.Authorization, error)) (*store.Authorization, error) {
	for _, slots := range []chan struct{}{mine.slots, v.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-v.ctx.Done():
			return nil, failure.Wrap("validate", v.ctx.Err())
		}
	}
	return attempt()
}

// end makes the job's outcome known. What the network answers must not be able
// to stop the server: a panic costs this attempt only.
func (v *validations) end(j *job, authz *store.Authorization) {
	if cause := recover(); cause != nil {
		j.err = failure.New(failure.Internal, "the validation failed inside the CA").Because(fmt.Errorf("panic: %v", cause))
		v.door.deps.Log.Error("a validation panicked", "authorization", authz.ID, "panic", cause, "stack", string(debug.Stack()))
	}
	v.mu.Lock()
	delete(v.jobs, authz.ID)
	mine := v.shares[authz.AccountID]
	if mine.jobs--; mine.jobs == 0 {
		delete(v.shares, authz.AccountID)
	}
	v.mu.Unlock()
	close(j.done)
}

// attempt tries once and stores what came of it.
func (v *validations) attempt(authz store.Authorization, method, accountURL string) (*store.Authorization, error) {
	settings, began := v.door.settings.Load(), time.Now()
	result := settings.validator.Validate(v.ctx, validation.Request{
		Method:     validation.Method(method),
		Identifier: authz.Identifier,
		Wildcard:   authz.Wildcard,
		Token:      authz.Token,
		Thumbprint: authz.Thumbprint,
		AccountURL: accountURL,
	})
	took := time.Since(began)
	if v.ctx.Err() != nil {
		return nil, failure.Wrap("validate", v.ctx.Err()) // stopping: what was found says nothing
	}
	attempt := store.Attempt{Method: method, Started: v.door.deps.Now().Add(-took), Took: took}
	attempt.Transcript, _ = json.Marshal(result.Transcript)
	if result.Err != nil {
		attempt.Failure = failure.ReportOf(result.Err)
	}
	v.observe(authz, attempt)
	if result.Err != nil && !result.Final && len(authz.Attempts)+1 < settings.Attempts {
		return v.retryLater(authz, attempt, settings)
	}
	return v.settle(authz, attempt, result.ValidUntil, settings)
}

func (v *validations) observe(authz store.Authorization, attempt store.Attempt) {
	outcome := "valid"
	if attempt.Failure != nil {
		outcome = attempt.Failure.Kind.String()
		v.door.deps.Log.LogAttrs(v.ctx, slog.LevelInfo, "a validation failed", slog.String("name", authz.Name().Value),
			slog.String("method", attempt.Method), slog.String("account", authz.AccountID), slog.String("why", attempt.Failure.Text))
	}
	if v.door.deps.Validated != nil {
		v.door.deps.Validated(attempt.Method, outcome, attempt.Took)
	}
}

// settle stores the outcome, whatever it is.
func (v *validations) settle(authz store.Authorization, attempt store.Attempt, validUntil time.Time, settings *settings) (*store.Authorization, error) {
	now := v.door.deps.Now()
	outcome := store.Outcome{
		Method: attempt.Method, Thumbprint: authz.Thumbprint, Attempt: &attempt,
		Failure: attempt.Failure, Settled: now,
	}
	if outcome.Failure == nil {
		outcome.Expires = now.Add(settings.AuthorizationLifetime)
		if !validUntil.IsZero() && validUntil.Before(outcome.Expires) {
			outcome.Expires = validUntil
		}
	}
	err := v.door.deps.Store.FinishAuthorization(v.ctx, authz.ID, outcome)
	if errors.Is(err, store.ErrNotPending) { // deactivated meanwhile
		current, err := v.door.deps.Store.Authorization(v.ctx, authz.ID)
		return &current, failure.Wrap("read authorization", err)
	}
	if err != nil {
		return nil, failure.Wrap("store outcome of validation", err)
	}
	v.audit(authz, outcome)
	if outcome.Failure != nil && outcome.Failure.Kind != failure.Internal && outcome.Failure.Kind != failure.Unavailable {
		v.door.deps.Limits.Failed(v.ctx, authz.AccountID, authz.Identifier)
	}
	authz.State, authz.Expires = store.AuthorizationValid, outcome.Expires
	if outcome.Failure != nil {
		authz.State = store.AuthorizationInvalid
	}
	authz.Method, authz.Settled, authz.Failure = outcome.Method, now, outcome.Failure
	return &authz, nil
}

func (v *validations) audit(authz store.Authorization, outcome store.Outcome) {
	verdict := "valid"
	if outcome.Failure != nil {
		verdict = "invalid"
	}
	v.door.audit(v.ctx, "authorization."+verdict, authz.AccountID, slog.String("authorization", authz.ID),
		slog.String("name", authz.Name().Value), slog.String("method", outcome.Method))
}

// retryLater keeps a failed attempt and makes sure that the next one comes,
// even after a restart.
func (v *validations) retryLater(authz store.Authorization, attempt store.Attempt, settings *settings) (*store.Authorization, error) {
	next := v.door.deps.Now().Add(settings.RetryInterval)
	err := v.door.deps.Store.ClaimValidation(v.ctx, authz.ID, store.ValidationClaim{
		Method: attempt.Method, Thumbprint: authz.Thumbprint, NextAttempt: next, Till: next,
	})
	if err == nil {
		err = v.door.deps.Store.RecordAttempt(v.ctx, authz.ID, attempt, next)
	}
	if err != nil && !errors.Is(err, store.ErrNotPending) {
		return nil, failure.Wrap("store attempt", err)
	}
	current, err := v.door.deps.Store.Authorization(v.ctx, authz.ID)
	return &current, failure.Wrap("read authorization", err)
}

// Run goes on with validations that are due until ctx is done, and then ends
// those under way: they are taken up again after the next start.
func (d *Door) Run(ctx context.Context) error {
	v := &d.validations
	defer d.work.Wait()
	defer v.cancel()
	every := min(dueEvery, max(d.settings.Load().RetryInterval/4, 10*time.Millisecond))
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if err := v.startDue(ctx); err != nil && ctx.Err() == nil {
			d.deps.Log.Error("couldn't go on with validations; will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// startDue takes up as many validations as can run at once.
func (v *validations) startDue(ctx context.Context) error {
	settings, now := v.door.settings.Load(), v.door.deps.Now()
	free := cap(v.slots) - len(v.slots)
	if free <= 0 {
		return nil
	}
	due, err := v.door.deps.Store.DueValidations(ctx, now, now.Add(settings.ValidationTimeout+claimMargin), free)
	if err != nil {
		return failure.Wrap("look for validations", err)
	}
	var refused error
	for _, authz := range due { // one whose account has too many waiting is due again
		accountURL := settings.ExternalURL + prefix + "account/" + authz.AccountID
		_, err := v.start(authz, authz.Method, authz.Thumbprint, accountURL)
		refused = errors.Join(refused, err)
	}
	return refused
}
