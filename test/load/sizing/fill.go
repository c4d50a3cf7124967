package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
)

// query asks the database for one value.
func query[T any](a *authority, sql string) (value T) {
	ctx := context.Background()
	c, err := pgx.Connect(ctx, a.databaseURL())
	if err != nil {
		return value
	}
	defer func() { _ = c.Close(ctx) }()
	_ = c.QueryRow(ctx, sql).Scan(&value)
	return value
}

func (a *authority) databaseSize() int64 {
	return query[int64](a, "SELECT pg_database_size(current_database())")
}

// databaseLog is how many bytes were ever written to the write-ahead log.
func (a *authority) databaseLog() int64 {
	if a.database == nil {
		return 0
	}
	return query[int64](a, "SELECT (pg_current_wal_lsn() - '0/0')::bigint")
}

// databasePID is the process whose children all others of the server are.
func (a *authority) databasePID() string {
	file := query[string](a, "SELECT pg_read_file('postmaster.pid')")
	pid, _, _ := strings.Cut(file, "\n")
	return pid
}

// fill puts certificates into a CA's store that it could have issued within the
// last days, each for a name of its own. Only the first CA is filled: the
// others get a copy.
func (s *sizing) fill(ctx context.Context, a *authority) error {
	path := filepath.Join(a.dir, "chancery.db")
	if err := copyFile(path, s.filled); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	server, err := a.serve(ctx) // which registers the issuer
	if err == nil {
		err = server.End(syscall.SIGTERM)
	}
	if err != nil {
		return err
	}
	target, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	defer target.Close()
	issuers, err := target.Issuers(ctx)
	if err != nil {
		return err
	}
	if err := fillWith(ctx, target, issuers[0].ID, s.stored); err != nil {
		return err
	}
	if err := target.Close(); err != nil {
		return err
	}
	return copyFile(s.filled, path)
}

func copyFile(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// fillWith issues from as many goroutines as share a commit.
func fillWith(ctx context.Context, target store.Store, issuerID string, n int) error {
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make(chan error, 256)
	for range cap(errs) {
		group.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := fillOne(ctx, target, issuerID); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	return <-errs
}

func fillOne(ctx context.Context, target store.Store, issuerID string) error {
	now := time.Now()
	number, err := serial.New(now, rand.Reader)
	if err != nil {
		return err
	}
	der := make([]byte, 650)
	_, _ = rand.Read(der)
	certificate := store.Certificate{
		CertificateKey: store.CertificateKey{IssuerID: issuerID, Serial: number}, Requester: "token:filler", Profile: "tls-server", Rule: "default",
		Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: strings.ToLower(rand.Text()) + ".stored.corp"}},
		DER:         der, Fingerprint: sha256.Sum256(der), KeyHash: sha256.Sum256(der[1:]),
		NotBefore: now, NotAfter: now.Add(30 * 24 * time.Hour), Issued: now,
	}
	intent := store.Intent{CertificateKey: certificate.CertificateKey, Attempt: 1, Created: now, Deadline: now.Add(time.Hour)}
	if err := target.BeginIssuance(ctx, intent); err != nil {
		return err
	}
	return target.CompleteIssuance(ctx, certificate)
}
