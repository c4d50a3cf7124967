package server

import (
	"context"
	"errors"
	"time"

	"chancery/internal/acme"
	"chancery/internal/config"
	"chancery/internal/store"
)

const (
	tidyEvery = 10 * time.Minute
	tidyBatch = 500

	// tokenMargin is how long spent tokens are remembered after they expired:
	// a clock that is set back must not bring one back.
	tokenMargin = time.Hour
)

// tidy removes what has been kept long enough, now and then, until ctx is done.
// One node does it for all.
func (s *Server) tidy(ctx context.Context) error {
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		s.tidyOnce(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *Server) tidyOnce(ctx context.Context) {
	fence, held := s.held(jobTidy)
	if !held {
		return
	}
	cutoff := tidyCutoff(s.Config().Retention, s.now())
	cutoff.Fence = fence
	for total := 0; ctx.Err() == nil; {
		removed, err := s.store.Tidy(ctx, cutoff, tidyBatch)
		total += removed
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrFenced) {
			s.log.Error("couldn't tidy the store; will try again", "error", err)
		}
		if err != nil || removed == 0 {
			if total > 0 {
				s.log.Info("tidied the store", "removed", total)
			}
			return
		}
	}
}

// tidyCutoff turns spans of time into moments; 0 keeps things for ever.
func tidyCutoff(keep config.Retention, now time.Time) store.TidyCutoff {
	before := func(keep time.Duration) time.Time {
		if keep == 0 {
			return time.Time{}
		}
		return now.Add(-keep)
	}
	return store.TidyCutoff{
		Orders:         before(keep.Orders.Std()),
		Authorizations: before(keep.Authorizations.Std()),
		Certificates:   before(keep.Certificates.Std()),
		Tokens:         now.Add(-tokenMargin),
		Nonces:         now.Add(-2 * acme.NonceLifetime),
		Limits:         now,
	}
}
