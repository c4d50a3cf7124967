package admin

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"chancery/internal/archive"
	"chancery/internal/failure"
	"chancery/internal/observe"
)

// withoutDatabase is the header of a backup whose database is elsewhere.
const withoutDatabase = "Chancery-External-Database"

// backup sends all that is needed to bring the CA back. The database is copied
// into a file first: the length of the answer is then known, so that a client
// sees when it did not get all of it.
func (a *api) backup(w http.ResponseWriter, r *http.Request) {
	dir, err := os.MkdirTemp(a.Dir, ".backup-")
	if err != nil {
		writeError(w, r, failure.Wrap("make room for a backup", err))
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	packed, size, err := a.pack(r.Context(), filepath.Join(dir, archive.Database))
	if err != nil {
		writeError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-tar")
	if a.Backup == nil {
		w.Header().Set(withoutDatabase, "yes")
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if err := packed.Write(patience(w)); err != nil { // net/http then cuts the connection
		observe.Add(r.Context(), "error", err.Error())
		return
	}
	a.Auditor.Audit(r.Context(), "store.backed-up", who(r), slog.Int64("size", size))
}

// pack copies the database, if it is here, to path. The files are read after
// that, so that they are there for all that is in the database.
func (a *api) pack(ctx context.Context, path string) (*archive.Archive, int64, error) {
	if a.Backup == nil {
		path = ""
	} else if err := a.Backup(ctx, path); err != nil {
		return nil, 0, failure.Wrap("back up the store", err)
	}
	files, err := a.Files()
	if err != nil {
		return nil, 0, failure.Wrap("list the files of the CA", err)
	}
	packed, err := archive.New(path, files, a.Status(ctx).Version, a.Now())
	if err != nil {
		return nil, 0, failure.Wrap("back up", err)
	}
	size, err := packed.Size()
	return packed, size, failure.Wrap("back up", err)
}
