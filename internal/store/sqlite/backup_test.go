package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"chancery/internal/store"
)

func TestBackup(t *testing.T) {
	s, dir := openTest(t), t.TempDir()
	path := filepath.Join(dir, "chancery.db")
	ctx, cancel := context.WithCancel(t.Context())
	l := startLoad(ctx, t, s)
	until(t, "some is issued", func() bool { return len(l.acknowledged()) >= 20 })
	acknowledged := l.acknowledged()
	if err := s.Backup(ctx, path); err != nil {
		t.Error(err)
	}
	cancel()
	l.wait.Wait()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info, err)
	}
	checkHolds(t, dir, acknowledged)
}

// TestBackupHasStaleLists: when a backup is restored there may be later lists
// than those in it, so others must be made at once.
func TestBackupHasStaleLists(t *testing.T) {
	s, ctx, now := openTest(t), t.Context(), time.Now()
	stale := func(s *Store) []store.StaleList {
		list, err := s.StaleLists(ctx, []string{benchIssuer}, now, now.Add(2*time.Hour), 10)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if _, err := s.NewPartition(ctx, benchIssuer, now); err != nil {
		t.Fatal(err)
	}
	for _, list := range stale(s) {
		made := store.RevocationList{IssuerID: benchIssuer, Partition: list.Partition, Number: 7, ThisUpdate: now, NextUpdate: now.Add(time.Hour), DER: []byte{0x30}}
		if err := s.PublishList(ctx, made, list.Basis, store.Fence{}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "chancery.db")
	if err := s.Backup(ctx, path); err != nil {
		t.Fatal(err)
	}
	restored, err := Open(ctx, Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	if list := stale(restored); len(list) != 2 || list[0].Number != 7 {
		t.Errorf("%+v are stale in the backup", list)
	}
	if list := stale(s); len(list) != 0 {
		t.Errorf("%+v are stale because of the backup", list)
	}
}

func TestBackupFails(t *testing.T) {
	s, dir := openTest(t), t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.WriteFile(taken, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		ctx  context.Context
		path string
		want error
	}{
		{t.Context(), taken, fs.ErrExist},
		{t.Context(), filepath.Join(dir, "none", "backup"), fs.ErrNotExist},
		{ended, filepath.Join(dir, "late"), context.Canceled},
	} {
		if err := s.Backup(test.ctx, test.path); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.path, err, test.want)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Errorf("it left %v, %v", list, err)
	}
	if data, _ := os.ReadFile(taken); string(data) != "precious" {
		t.Errorf("it overwrote a file: %q", data)
	}
}
