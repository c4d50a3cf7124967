package acmeclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/folder"
	"chancery/internal/renewal"
)

// TestLockedFolderIsPassing has somebody else work on a folder.
func TestLockedFolderIsPassing(t *testing.T) {
	dir := t.TempDir()
	locked := must[*folder.Folder](t)(folder.Open(dir, false))
	defer locked.Close()
	f := &keptFolder{Daemon: &Daemon{Keeper: &Keeper{Now: time.Now}, Timeout: time.Minute}, dir: dir, slots: make(chan struct{}, 1)}
	_, err := f.Window(t.Context(), nil)
	for _, err := range []error{err, f.Renew(t.Context())} {
		if _, ok := errors.AsType[*renewal.Passing](err); !ok {
			t.Errorf("a locked folder: %v", err)
		}
	}
}

// TestCommandIsRunAgain has a command fail at first.
func TestCommandIsRunAgain(t *testing.T) {
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	f := &keptFolder{
		Daemon: &Daemon{Exec: "echo x >> " + told + "; test $(wc -l < " + told + ") -ge 3", Pause: time.Millisecond},
		dir:    dir, log: log, silence: func() {},
	}
	f.announce(t.Context())
	f.telling.Wait()
	if lines, err := os.ReadFile(told); err != nil || strings.Count(string(lines), "x") != 3 {
		t.Errorf("it was run %q: %v", lines, err)
	}
	if strings.Count(text.String(), "was not told") != 2 || !strings.Contains(text.String(), "again_in=2ms") || !strings.Contains(text.String(), "told at last") {
		t.Errorf("logged: %s", &text)
	}
	f.Exec, f.Pause = "exit 1", time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	f.announce(ctx)
	cancel()
	f.telling.Wait() // for nobody waits an hour
	f.announce(t.Context())
	f.quiet() // the next certificate is there
}

// TestCommandIsRunAfterACrash begins with a folder that was renewed, and nobody
// was told.
func TestCommandIsRunAfterACrash(t *testing.T) {
	dir := t.TempDir()
	opened := must[*folder.Folder](t)(folder.Open(dir, false))
	if err := opened.MarkUntold(); err != nil {
		t.Fatal(err)
	}
	opened.Close()
	told := filepath.Join(dir, "told")
	d := &Daemon{Exec: "echo x >> " + told, Keeper: &Keeper{Now: time.Now}, Log: quietLog, Now: time.Now, Rand: rand.Reader, Timeout: time.Minute}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		d.keep(ctx, dir, make(chan struct{}, 1))
	}
	if lines, err := os.ReadFile(told); err != nil || string(lines) != "x\n" || folder.IsUntold(dir) {
		t.Errorf("it was run %q: %v", lines, err)
	}
}
