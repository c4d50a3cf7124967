package admin

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"chancery/internal/failure"
	"chancery/internal/observe"
)

// backup sends a copy of the store. It is put together in a file first: its
// length is then known, so that a client sees when it did not get all of it.
func (a *api) backup(w http.ResponseWriter, r *http.Request) {
	observe.SetResource(r.Context(), "admin/backup")
	dir, err := os.MkdirTemp(a.Dir, ".backup-")
	if err != nil {
		writeError(w, r, failure.Wrap("make room for a backup", err))
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := a.sendBackup(w, r, filepath.Join(dir, "store.db")); err != nil {
		writeError(w, r, err)
	}
}

func (a *api) sendBackup(w http.ResponseWriter, r *http.Request, path string) error {
	if err := a.Backup(r.Context(), path); err != nil {
		return failure.Wrap("back up the store", err)
	}
	file, err := os.Open(path)
	if err != nil {
		return failure.Wrap("read the backup", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return failure.Wrap("read the backup", err)
	}
	w.Header().Set("Content-Type", "application/vnd.sqlite3")
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	if _, err := io.Copy(w, file); err != nil { // net/http then cuts the connection
		observe.Add(r.Context(), "error", err.Error())
		return nil
	}
	a.Auditor.Audit(r.Context(), "store.backed-up", who(r), slog.Int64("size", info.Size()))
	return nil
}
