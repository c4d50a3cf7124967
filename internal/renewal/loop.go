package renewal

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"time"
)

// Subject is a certificate that is kept renewed.
type Subject interface {
	// Certificate is the current one; nil when there is none.
	Certificate() *x509.Certificate
	// Window asks the server when it is to be renewed.
	Window(context.Context, *x509.Certificate) (Window, error)
	// Renew replaces it. An error that has a RetryAfter() time.Duration is not
	// tried again earlier.
	Renew(context.Context) error
}

// Passing is an error that ends by itself within moments, as when another
// process works on the certificate. What it has kept from being done is tried
// again within a minute.
type Passing struct{ Err error }

func (p *Passing) Error() string { return p.Err.Error() }

// Unwrap returns the cause.
func (p *Passing) Unwrap() error { return p.Err }

func isPassing(err error) bool {
	_, ok := errors.AsType[*Passing](err)
	return ok
}

// The bounds of waiting.
const (
	askUsually = 6 * time.Hour // when the server does not say when to ask again
	askRarely  = 24 * time.Hour
	retryMost  = time.Hour
	pauseMost  = time.Minute
	pauseLeast = time.Second
)

// Loop keeps one certificate renewed.
type Loop struct {
	Subject Subject
	Log     *slog.Logger
	Now     func() time.Time
	Rand    io.Reader

	window Window    // that picked is of
	picked time.Time // when to renew
	failed int       // renewals in a row
	silent int       // questions in a row that were not answered
}

// Run renews when it is time, until ctx is done.
func (l *Loop) Run(ctx context.Context) {
	for ctx.Err() == nil {
		l.sleepUntil(ctx, l.Now().Round(0).Add(l.step(ctx)))
	}
}

// nap is how long the loop sleeps before it looks at the clock.
const nap = 5 * time.Minute

// sleepUntil waits for a time of the wall clock, which goes on while a machine
// is suspended; timers do not.
func (l *Loop) sleepUntil(ctx context.Context, end time.Time) {
	for ctx.Err() == nil {
		wait := end.Sub(l.Now())
		if wait <= 0 {
			return
		}
		timer := time.NewTimer(min(wait, nap))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// step does what is due now and returns how long there is nothing more to do.
func (l *Loop) step(ctx context.Context) time.Duration {
	certificate := l.Subject.Certificate()
	if certificate == nil {
		return l.renew(ctx, lifetimeUnknown)
	}
	lifetime := certificate.NotAfter.Sub(certificate.NotBefore)
	ask := max(l.plan(ctx, certificate), pauseOf(lifetime))
	if ctx.Err() != nil {
		return 0
	}
	until := l.picked.Sub(l.Now())
	if until <= 0 {
		return l.renew(ctx, lifetime)
	}
	return min(until, ask)
}

// plan asks for the window and picks a moment of it, unless it is the one of
// before. It returns when to ask again.
func (l *Loop) plan(ctx context.Context, certificate *x509.Certificate) time.Duration {
	window, err := l.Subject.Window(ctx, certificate)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0
	case err != nil:
		l.Log.WarnContext(ctx, "couldn't ask when to renew", "error", err)
		window = cmp.Or(l.window, Default(certificate))
	case !window.Start.Before(certificate.NotAfter): // of no use
		window = Default(certificate)
	}
	if !window.Start.Equal(l.window.Start) || !window.End.Equal(l.window.End) {
		l.picked = window.pick(l.Rand)
		attrs := []any{"renew_at", l.picked.UTC().Format(time.RFC3339)}
		if window.Explanation != "" {
			attrs = append(attrs, "explanation", window.Explanation)
		}
		l.Log.InfoContext(ctx, "planned", attrs...)
	}
	l.window = window
	ask := min(cmp.Or(window.RetryAfter, askUsually), askRarely)
	switch {
	case err == nil:
		l.silent = 0
	case isPassing(err):
		return 0
	default: // RFC 9773 §4.3.3
		ask = min(ask, pauseMost<<min(l.silent, 10))
		l.silent++
	}
	return ask
}

// renew renews, and returns how long to wait before anything else.
func (l *Loop) renew(ctx context.Context, lifetime time.Duration) time.Duration {
	pause := pauseOf(lifetime)
	err := l.Subject.Renew(ctx)
	if err == nil {
		l.failed, l.window = 0, Window{}
		return pause
	}
	if ctx.Err() != nil {
		return 0
	}
	most := min(max(lifetime/20, pause), retryMost)
	wait := min(pause<<min(l.failed, 12), most)
	wait += time.Duration(fraction(l.Rand) * float64(wait) / 4)
	if isPassing(err) {
		wait = pause
	} else {
		l.failed++
	}
	var limited interface{ RetryAfter() time.Duration }
	if errors.As(err, &limited) {
		wait = max(wait, min(limited.RetryAfter(), askRarely))
	}
	l.Log.ErrorContext(ctx, "couldn't renew", "error", err, "again_in", wait.Round(time.Millisecond).String())
	return wait
}

// lifetimeUnknown stands for that of a certificate that there is not yet.
const lifetimeUnknown = 100 * time.Minute

// pauseOf is the shortest time between two requests about a certificate: a
// hundredth of its lifetime, within bounds.
func pauseOf(lifetime time.Duration) time.Duration {
	return min(max(lifetime/100, pauseLeast), pauseMost)
}
