package sqlite

import (
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// gathering is the operating system's VFS, or another, but for the write-ahead
// log: what SQLite writes to that in two small pieces for each page goes to the
// system in one, when the log is synced. Nobody reads it earlier, for SQLite
// tells readers of a transaction after it has synced the log, which it does at
// each commit (synchronous=FULL). Without it most of the time of a commit would
// be calls of the system.
type gathering struct{ vfs.VFS }

// gather registers the VFS of that name, "" for the default, as one that
// gathers, and returns its name.
func gather(name string) string {
	gathers := "gathering-" + name
	vfs.Register(gathers, gathering{vfs.Find(name)})
	return gathers
}

// Open implements vfs.VFS.
func (g gathering) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	return vfsutil.WrapOpen(g.VFS, name, flags)
}

// OpenFilename implements vfs.VFSFilename.
func (g gathering) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, out, err := vfsutil.WrapOpenFilename(g.VFS, name, flags)
	if err == nil && flags&vfs.OPEN_WAL != 0 {
		file = &gatheredLog{File: file}
	}
	return file, out, err
}

// maxGathered bounds what waits to be written, in bytes.
const maxGathered = 1 << 20

// gatheredLog is the write-ahead log as one connection has it open.
type gatheredLog struct {
	vfs.File
	offset int64 // of what waits
	waits  []byte
}

// WriteAt implements vfs.File.
func (f *gatheredLog) WriteAt(p []byte, offset int64) (int, error) {
	if offset != f.offset+int64(len(f.waits)) || len(f.waits)+len(p) > maxGathered {
		if err := f.flush(); err != nil {
			return 0, err
		}
		f.offset = offset
	}
	f.waits = append(f.waits, p...)
	return len(p), nil
}

// flush writes what waits, which at Close was never committed. When it fails,
// so does the transaction, and the next begins at the same place of the log.
func (f *gatheredLog) flush() error {
	if len(f.waits) == 0 {
		return nil
	}
	_, err := f.File.WriteAt(f.waits, f.offset)
	f.waits = f.waits[:0]
	return err
}

// Sync implements vfs.File.
func (f *gatheredLog) Sync(flags vfs.SyncFlag) error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Sync(flags)
}

// ReadAt implements vfs.File.
func (f *gatheredLog) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.flush(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, offset)
}

// Truncate implements vfs.File.
func (f *gatheredLog) Truncate(size int64) error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Size implements vfs.File.
func (f *gatheredLog) Size() (int64, error) {
	if err := f.flush(); err != nil {
		return 0, err
	}
	return f.File.Size()
}
