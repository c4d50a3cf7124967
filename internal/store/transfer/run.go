package transfer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Migration is the move of all records of one store into another.
type Migration struct {
	From     Source
	To       Destination
	Progress func(Progress) // called now and then, by one goroutine at a time
}

// Progress says how far a migration is.
type Progress struct {
	Step  Step
	Kind  string
	Done  int64 // records of the kind
	Total int64 // of these; grows while a source is in use
}

// Step is a part of a migration.
type Step string

// The steps of a migration, in their order.
const (
	Resuming Step = "going on with the migration that was broken off"
	Copying  Step = "copying"
	Building Step = "building what is searched"
	Checking Step = "checking"
)

// Result is what both stores have of a kind.
type Result struct {
	Kind string
	Sum  Sum
}

// Run moves all records, or what is left to move of an unfinished migration
// of the same source. When it fails, or the process ends, it can be run again.
// The error wraps ErrDifferent when the stores are not the same at the end: then
// the destination is to be emptied.
func (m *Migration) Run(ctx context.Context) ([]Result, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	for _, kind := range Kinds() {
		if err := m.copy(ctx, kind); err != nil {
			return nil, fmt.Errorf("couldn't copy %s: %w", kind.Name, err)
		}
	}
	m.Progress(Progress{Step: Building})
	if err := m.To.Build(ctx); err != nil {
		return nil, fmt.Errorf("couldn't build what is derived from the records: %w", err)
	}
	results, err := m.check(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.From.Idle(ctx); err != nil {
		return nil, fmt.Errorf("the store to move from: %w", err)
	}
	return results, m.To.End(ctx)
}

func (m *Migration) begin(ctx context.Context) error {
	if err := m.From.Idle(ctx); err != nil {
		return fmt.Errorf("the store to move from: %w", err)
	}
	from, err := m.From.Identity(ctx)
	if err != nil {
		return err
	}
	resumed, err := m.To.Begin(ctx, from)
	if err != nil {
		return fmt.Errorf("the store to move into: %w", err)
	}
	if resumed {
		m.Progress(Progress{Step: Resuming})
	}
	return nil
}

// copy moves the records of a kind that are not moved yet.
func (m *Migration) copy(ctx context.Context, kind *Kind) error {
	position, err := m.To.Position(ctx, kind)
	if err != nil {
		return err
	}
	after, err := Decode(position)
	if err != nil {
		return err
	}
	progress, err := m.expect(ctx, kind, Copying)
	if err != nil {
		return err
	}
	if after != nil {
		if progress.Done, err = m.To.Count(ctx, kind); err != nil {
			return err
		}
	}
	return eachPage(ctx, m.From, kind, after, func(rows []Row) error {
		next, err := kind.KeyOf(rows[len(rows)-1]).Encode()
		if err != nil {
			return err
		}
		if err := m.To.Put(ctx, kind, rows, position, next); err != nil {
			return err
		}
		position = next
		progress.Done += int64(len(rows))
		m.Progress(progress)
		return nil
	})
}

// expect is the progress of a step before its first record.
func (m *Migration) expect(ctx context.Context, kind *Kind, step Step) (Progress, error) {
	total, err := m.From.Count(ctx, kind)
	p := Progress{Step: step, Kind: kind.Name, Total: total}
	if err == nil {
		m.Progress(p)
	}
	return p, err
}

// eachPage calls do for the pages of a kind, and reads the next while it runs.
func eachPage(ctx context.Context, s Source, kind *Kind, after Row, do func(rows []Row) error) error {
	type page struct {
		rows []Row
		err  error
	}
	pages := make(chan page)
	var reader sync.WaitGroup
	defer reader.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader.Go(func() {
		defer close(pages)
		for {
			rows, err := s.Page(ctx, kind, after)
			if err == nil && len(rows) == 0 {
				return
			}
			select {
			case pages <- page{rows, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			after = kind.KeyOf(rows[len(rows)-1])
		}
	})
	for p := range pages {
		if p.err != nil {
			return p.err
		}
		if err := do(p.rows); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// check reads both stores again and compares them.
func (m *Migration) check(ctx context.Context) ([]Result, error) {
	kinds := Kinds()
	results, different := make([]Result, 0, len(kinds)), []string(nil)
	for _, kind := range kinds {
		progress, err := m.expect(ctx, kind, Checking)
		if err != nil {
			return nil, err
		}
		from, to, err := m.sums(ctx, kind, progress)
		if err != nil {
			return nil, fmt.Errorf("couldn't check %s: %w", kind.Name, err)
		}
		if from != to {
			different = append(different, fmt.Sprintf("%s: %d with the hash %s in the store to move from, %d with %s in the other",
				kind.Name, from.Count, from.String(), to.Count, to.String()))
		}
		results = append(results, Result{kind.Name, to})
	}
	if len(different) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrDifferent, strings.Join(different, "; "))
	}
	return results, nil
}

// sums adds up what both stores have of a kind, at the same time.
func (m *Migration) sums(ctx context.Context, kind *Kind, progress Progress) (from, to Sum, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var other sync.WaitGroup
	var otherErr error // of other
	other.Go(func() {
		if to, otherErr = sumOf(ctx, m.To, kind, func(int64) {}); otherErr != nil {
			cancel()
		}
	})
	from, err = sumOf(ctx, m.From, kind, func(done int64) {
		progress.Done = done
		m.Progress(progress)
	})
	if err != nil {
		cancel()
	}
	other.Wait()
	return from, to, errors.Join(err, otherErr)
}

func sumOf(ctx context.Context, s Source, kind *Kind, progress func(done int64)) (sum Sum, err error) {
	err = eachPage(ctx, s, kind, nil, func(rows []Row) error {
		for _, row := range rows {
			if err := sum.Add(row); err != nil {
				return err
			}
		}
		progress(sum.Count)
		return nil
	})
	return sum, err
}
