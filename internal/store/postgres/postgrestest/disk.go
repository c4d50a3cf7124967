package postgrestest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// NewDisk is a small disk of its own, in memory, for the time of a test. Its
// directory "server" is empty.
func NewDisk(t testing.TB, size int) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "disk-") // short, for the socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	asRoot(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0777", size), "tmpfs", dir)
	t.Cleanup(func() { asRoot(t, "umount", "--lazy", dir) })
	if err := os.Mkdir(filepath.Join(dir, "server"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func asRoot(t testing.TB, command ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...)
	}
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
}

// Fill writes a file that takes all that is left of a disk.
func Fill(t testing.TB, dir string) (path string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "filler")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for err = nil; err == nil; {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil || disk.Bavail > 0 {
		t.Fatalf("%d blocks are left (%v)", disk.Bavail, err)
	}
	return f.Name()
}
