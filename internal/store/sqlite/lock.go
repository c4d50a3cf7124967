package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrLocked is wrapped by LockDir's error when another process owns the
// directory.
var ErrLocked = errors.New("another process uses it")

// LockDir makes this process the only one that uses the directory: its store
// and its keys. The lock ends when the closer is closed or the process ends,
// however it ends. The file DIR/lock holds the owner's process id, and stays.
func LockDir(dir string) (io.Closer, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("couldn't lock %s: %w", dir, err)
	}
	if err := lock(file); err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't lock %s: %w", dir, err), file.Close())
	}
	return file, nil
}

func lock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return owned(file)
	}
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// owned says who has the lock. The owner may not have written its id yet.
func owned(file *os.File) error {
	text, _ := io.ReadAll(io.LimitReader(file, 20))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		return fmt.Errorf("%w: process %d", ErrLocked, pid)
	}
	return ErrLocked
}
