package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
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
