package limits

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/store"
)

// counted is a store.Limits in memory, for one goroutine at a time.
type counted struct {
	mu    sync.Mutex
	done  map[store.LimitKey]time.Time // guarded by mu
	asked int                          // guarded by mu
	fail  error                        // guarded by mu
}

func (c *counted) TakeEvents(_ context.Context, events []store.LimitEvent, now time.Time) (int, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked++; c.fail != nil {
		return 0, 0, c.fail
	}
	next := map[store.LimitKey]time.Time{}
	for i, event := range events {
		done := c.done[event.Key]
		if done.Before(now) {
			done = now
		}
		next[event.Key] = done.Add(event.Interval)
		if wait := next[event.Key].Sub(now) - event.Span; wait > 0 {
			return i, wait, nil
		}
	}
	for key, done := range next {
		c.done[key] = done
	}
	return -1, 0, nil
}

func (c *counted) RefundEvents(_ context.Context, events []store.LimitEvent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked++; c.fail != nil {
		return c.fail
	}
	for _, event := range events {
		c.done[event.Key] = c.done[event.Key].Add(-event.Interval)
	}
	return nil
}

func (c *counted) EventsDone(_ context.Context, keys []store.LimitKey) ([]time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked++; c.fail != nil {
		return nil, c.fail
	}
	list := make([]time.Time, len(keys))
	for i, key := range keys {
		list[i] = c.done[key]
	}
	return list, nil
}

func nodes(config Config, now *clock, log *slog.Logger) (*counted, *Limits, *Limits) {
	common := &counted{done: map[store.LimitKey]time.Time{}}
	return common, NewShared(config, now.now, common, log), NewShared(config, now.now, common, log)
}

func TestNodesCountTogether(t *testing.T) {
	now := newClock()
	_, a, b := nodes(Config{NewOrders: Rate{2, time.Hour}, CertificatesPerSet: Rate{1, time.Hour}}, now, slog.Default())
	order := Order{AccountID: "a", GrantID: "g", MaxRate: Rate{1, time.Hour}, Names: dns("x.corp", "y.corp")}
	taken, err := a.Order(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Order(t.Context(), order)
	exceeded(t, err, "the grant's max-rate", time.Hour)
	taken.Refund(t.Context())
	taken.Refund(t.Context()) // once is enough
	if _, err = b.Order(t.Context(), order); err != nil {
		t.Errorf("after the refund: %v", err)
	}
	if _, err := a.Certificate(t.Context(), order.Names, false); err != nil {
		t.Fatal(err)
	}
	order.GrantID, order.MaxRate = "", Rate{}
	_, err = b.Order(t.Context(), order)
	exceeded(t, err, "limits.certificates_per_set", time.Hour)
	usage, err := b.Used(t.Context(), []Order{order})
	if err != nil || len(usage) != 2 || usage[0].Used != 1 || usage[1].Used != 1 || usage[1].Wait != time.Hour {
		t.Errorf("%+v, %v", usage, err)
	}
	a.Reconfigure(Config{CertificatesPerSet: Rate{2, time.Hour}})
	if _, err := a.Certificate(t.Context(), order.Names, false); err != nil {
		t.Errorf("a changed rate does not begin anew: %v", err)
	}
}

func TestNothingIsAskedWithoutLimits(t *testing.T) {
	common, a, _ := nodes(Config{}, newClock(), slog.Default())
	taken, err := a.Order(t.Context(), Order{AccountID: "a", GrantID: "g", Names: dns("x.corp"), Unproven: dns("x.corp")})
	if err != nil {
		t.Fatal(err)
	}
	taken.Refund(t.Context())
	a.Failed(t.Context(), "a", dns("x.corp")[0])
	if _, err := a.Certificate(t.Context(), dns("x.corp"), false); err != nil || common.asked != 0 {
		t.Errorf("%v, %d questions", err, common.asked)
	}
}

func TestCountsThatAreAway(t *testing.T) {
	var log bytes.Buffer
	common, a, _ := nodes(Config{NewOrders: Rate{2, time.Hour}, FailedValidations: Rate{1, time.Hour}}, newClock(), slog.New(slog.NewTextHandler(&log, nil)))
	order := Order{AccountID: "a", Unproven: dns("x.corp")}
	taken, err := a.Order(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	common.fail = store.ErrUnavailable
	if _, err := a.Order(t.Context(), order); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if _, err := a.Used(t.Context(), []Order{order}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	taken.Refund(t.Context())
	a.Failed(t.Context(), "a", dns("x.corp")[0])
	for _, want := range []string{"give back", "failed validation"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not speak of %q: %s", want, &log)
		}
	}
}
