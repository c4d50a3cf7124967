package acmeclient

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"chancery/internal/folder"
	"chancery/internal/renewal"
)

// Daemon keeps the certificates of folders renewed, each in the window that its
// server suggests.
type Daemon struct {
	Keeper  *Keeper
	Folders func() ([]string, error) // which, asked again and again; they may come and go
	Exec    string                   // the command that is run after a renewal; "" for the record's
	Timeout time.Duration            // of one renewal
	Log     *slog.Logger
	Now     func() time.Time
	Rand    io.Reader
	Pause   time.Duration // before a command that has failed is run again, twice as long each time; 0 for 10 s
}

const (
	rescan     = time.Minute // between two looks for folders
	concurrent = 4           // renewals and questions at a time
	pauseFirst = 10 * time.Second
	pauseMost  = time.Hour
)

// Run works until ctx is done, and returns when all is at rest.
func (d *Daemon) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	kept := map[string]context.CancelFunc{}
	defer func() {
		for _, stop := range kept {
			stop()
		}
	}()
	slots := make(chan struct{}, concurrent)
	for tick := time.NewTicker(rescan); ; {
		for _, dir := range d.look(ctx, kept) {
			keeping, stop := context.WithCancel(ctx)
			kept[dir] = stop
			running.Go(func() { d.keep(keeping, dir, slots) })
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// look returns the folders that are new, and stops to keep those that are gone.
func (d *Daemon) look(ctx context.Context, kept map[string]context.CancelFunc) []string {
	found, err := d.Folders()
	if err != nil {
		d.Log.ErrorContext(ctx, "couldn't find the certificates", "error", err)
		return nil
	}
	gone := map[string]bool{}
	for dir := range kept {
		gone[dir] = true
	}
	var added []string
	for _, dir := range found {
		delete(gone, dir)
		if kept[dir] == nil {
			added = append(added, dir)
		}
	}
	for dir := range gone {
		d.Log.InfoContext(ctx, "is gone", "dir", dir)
		kept[dir]()
		delete(kept, dir)
	}
	return added
}

func (d *Daemon) keep(ctx context.Context, dir string, slots chan struct{}) {
	log := d.Log.With("dir", dir)
	log.InfoContext(ctx, "keeping")
	kept := &keptFolder{Daemon: d, dir: dir, slots: slots, log: log, silence: func() {}}
	defer kept.quiet()
	if folder.IsUntold(dir) { // whoever renewed it has not come to that
		kept.announce(ctx)
	}
	loop := &renewal.Loop{Subject: kept, Log: log, Now: d.Now, Rand: d.Rand}
	loop.Run(ctx)
}

// keptFolder is a folder as the loop sees it.
type keptFolder struct {
	*Daemon
	dir   string
	slots chan struct{}
	log   *slog.Logger

	telling sync.WaitGroup     // has who runs a command again that has failed
	silence context.CancelFunc // ends that
}

// Certificate reads the folder anew: somebody else may have renewed it.
func (f *keptFolder) Certificate() *x509.Certificate {
	chain, err := ReadCertificates(filepath.Join(f.dir, folder.FullchainFile))
	if err != nil {
		return nil // Renew says why
	}
	return chain[0]
}

// Window implements renewal.Subject.
func (f *keptFolder) Window(ctx context.Context, c *x509.Certificate) (window renewal.Window, err error) {
	err = f.work(ctx, func(ctx context.Context) error {
		opened, err := folder.Open(f.dir, false)
		if err != nil {
			return err
		}
		defer opened.Close()
		j, err := f.Keeper.load(opened)
		if err != nil {
			return err
		}
		window, err = j.window(ctx)
		return err
	})
	if errors.Is(err, errNoWindow) {
		return renewal.Default(c), nil
	}
	return window, passing(err)
}

// passing marks the error about a folder that another process has just now.
func passing(err error) error {
	if errors.Is(err, folder.ErrBusy) {
		return &renewal.Passing{Err: err}
	}
	return err
}

// Renew implements renewal.Subject.
func (f *keptFolder) Renew(ctx context.Context) error {
	var result *Result
	err := f.work(ctx, func(ctx context.Context) (err error) {
		result, err = f.Keeper.Renew(ctx, f.dir, true)
		return err
	})
	if err != nil {
		return passing(err)
	}
	leaf := result.Chain[0]
	f.log.InfoContext(ctx, "renewed", "serial", fmt.Sprintf("%040x", leaf.SerialNumber), "not_after", leaf.NotAfter.UTC().Format(time.RFC3339))
	f.announce(ctx)
	return nil
}

// announce runs the command and, when it fails, runs it again and again until
// it works or the next certificate is there: the certificate is renewed all the
// same.
func (f *keptFolder) announce(ctx context.Context) {
	f.quiet()
	ctx, f.silence = context.WithCancel(ctx)
	pause := cmp.Or(f.Pause, pauseFirst)
	if f.tell(ctx, pause) {
		return
	}
	f.telling.Go(func() {
		for wait(ctx, pause) {
			pause = min(2*pause, pauseMost)
			if f.tell(ctx, pause) {
				f.log.InfoContext(ctx, "who uses the certificate was told at last")
				return
			}
		}
	})
}

// quiet ends what announce has begun.
func (f *keptFolder) quiet() {
	f.silence()
	f.telling.Wait()
}

// tell runs the command once, and reports whether that went well.
func (f *keptFolder) tell(ctx context.Context, pause time.Duration) bool {
	err := Tell(ctx, f.dir, f.Exec)
	if err != nil {
		f.log.ErrorContext(ctx, "the certificate is renewed, but who uses it was not told", "error", err, "again_in", pause.String())
	}
	return err == nil
}

// wait is false when ctx ends before the time has passed.
func wait(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// work runs one task when there is a slot for it.
func (f *keptFolder) work(ctx context.Context, task func(context.Context) error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case f.slots <- struct{}{}:
	}
	defer func() { <-f.slots }()
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	return task(ctx)
}
