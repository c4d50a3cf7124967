package sqlite

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// disk is a SQLite VFS over the operating system's that knows what a loss of
// power would leave: what was synced, and of the writes after that any subset.
// It can also be told to fail.
type disk struct {
	vfs.VFS
	dir string

	mu     sync.Mutex
	files  map[string]*image // guarded by mu; by path
	fault  fault             // guarded by mu
	writes int               // guarded by mu
	syncs  int               // guarded by mu
}

// fault is what the disk answers; nil errors are for none.
type fault struct{ write, sync error }

// image is a file as the disk has it.
type image struct {
	synced  []byte
	pending []change // made since the last sync, oldest first
}

// change is a write, or a truncation to offset when data is nil.
type change struct {
	offset int64
	data   []byte
}

// newDisk registers a disk for the files in dir.
func newDisk(t *testing.T) *disk {
	d := &disk{VFS: vfs.Find("os"), dir: t.TempDir(), files: map[string]*image{}}
	vfs.Register(t.Name(), d)
	t.Cleanup(func() { vfs.Unregister(t.Name()) })
	return d
}

// open opens the store on the disk.
func (d *disk) open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: filepath.Join(d.dir, "chancery.db"), VFS: t.Name(), Readers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (d *disk) fail(f fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

func (d *disk) count() (writes, syncs int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes, d.syncs
}

// cutPower writes what a loss of power now would leave into a new directory:
// each unsynced change is kept with the given chance.
func (d *disk) cutPower(t *testing.T, chance float64) string {
	t.Helper()
	dir := t.TempDir()
	d.mu.Lock()
	defer d.mu.Unlock()
	for path, file := range d.files {
		data := append([]byte(nil), file.synced...)
		for _, c := range file.pending {
			if rand.Float64() < chance {
				data = c.apply(data)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (c change) apply(data []byte) []byte {
	end := c.offset + int64(len(c.data))
	if grow := end - int64(len(data)); grow > 0 {
		data = append(data, make([]byte, grow)...)
	}
	if c.data == nil {
		return data[:c.offset]
	}
	copy(data[c.offset:], c.data)
	return data
}

// Open is never called: OpenFilename is.
func (d *disk) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	return d.VFS.Open(name, flags)
}

// OpenFilename implements vfs.VFSFilename.
func (d *disk) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(d.VFS, name, flags)
	if err != nil || name == nil {
		return file, flags, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name.String()] == nil {
		data, err := os.ReadFile(name.String())
		if err != nil {
			return nil, flags, err
		}
		d.files[name.String()] = &image{synced: data}
	}
	return &diskFile{File: file, disk: d, image: d.files[name.String()]}, flags, nil
}

// Delete implements vfs.VFS.
func (d *disk) Delete(name string, syncDir bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, name)
	return d.VFS.Delete(name, syncDir)
}

// diskFile passes everything on to the file below, so that all connections see
// the same, and keeps book of it.
type diskFile struct {
	vfs.File
	disk  *disk
	image *image
}

// SharedMemory implements vfs.FileSharedMemory.
func (f *diskFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }

// WriteAt implements vfs.File.
func (f *diskFile) WriteAt(p []byte, offset int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.fault.write; err != nil {
		return 0, err
	}
	f.disk.writes++
	const sector = 4096 // a loss of power can be in the middle of a write
	at := offset
	for part := range slices.Chunk(p, sector) {
		f.image.pending = append(f.image.pending, change{at, slices.Clone(part)})
		at += int64(len(part))
	}
	return f.File.WriteAt(p, offset)
}

// Truncate implements vfs.File.
func (f *diskFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.image.pending = append(f.image.pending, change{offset: size})
	return f.File.Truncate(size)
}

// Sync implements vfs.File. It does not trouble the disk below.
func (f *diskFile) Sync(vfs.SyncFlag) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.fault.sync; err != nil {
		return err
	}
	f.disk.syncs++
	for _, c := range f.image.pending {
		f.image.synced = c.apply(f.image.synced)
	}
	f.image.pending = nil
	return nil
}
