package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// migrations are the numbered steps from an empty database to today's schema.
// They only go forward: a released one never changes. One that takes away what
// the version before needs says so by raising chancery_schema.oldest; all
// others leave that version working, so that a cluster is upgraded node by node.
//
//go:embed migrations/*.sql
var migrations embed.FS

const (
	// migrationLock is the key of the advisory lock that one process holds
	// while it migrates: "CHCY". It ends with its transaction.
	migrationLock = "SELECT pg_advisory_xact_lock(1128809305)"

	createSchema  = "CREATE TABLE IF NOT EXISTS chancery_schema (version bigint NOT NULL, oldest bigint NOT NULL)"
	insertSchema  = "INSERT INTO chancery_schema SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM chancery_schema)"
	selectSchema  = "SELECT version, oldest FROM chancery_schema"
	updateSchema  = "UPDATE chancery_schema SET version = $1"
	selectPresent = "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'chancery_schema'"
)

// migrationTime is how long the database may take to be changed. All that there
// is may have to be written anew.
const migrationTime = 2 * time.Hour

// migrate runs the steps that the database has not seen, all in one
// transaction. What is up to date is only read.
func (s *Store) migrate(ctx context.Context) error {
	steps, err := form.Migrations(migrations)
	if err != nil {
		return err
	}
	finished, err := read(ctx, s, "read the schema's version", func(c *conn) (bool, error) {
		present := int64(0)
		if err := c.one(func(r *row) { present = r.int64() }, selectPresent); err != nil || present == 0 {
			return false, err
		}
		version, err := schemaVersion(c, len(steps))
		return version >= len(steps), err
	})
	if err != nil || finished {
		return err
	}
	usual := s.deadline // nobody else uses the store yet
	s.deadline = migrationTime
	defer func() { s.deadline = usual }()
	return update(ctx, s, "migrate the database", func(c *conn) error {
		if err := c.run(do(migrationLock), do(createSchema), do(insertSchema)); err != nil {
			return err
		}
		version, err := schemaVersion(c, len(steps))
		if err != nil {
			return err
		}
		for ; version < len(steps); version++ {
			if err := c.script(steps[version]); err != nil {
				return fmt.Errorf("couldn't migrate it to schema %d: %w", version+1, err)
			}
			if _, err := c.exec(updateSchema, version+1); err != nil {
				return err
			}
		}
		return nil
	})
}

// schemaVersion is the database's version; an error when this program, which
// knows so many, can not work with it.
func schemaVersion(c *conn, known int) (version int, err error) {
	oldest := 0
	err = c.one(func(r *row) { version, oldest = r.int(), r.int() }, selectSchema)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err == nil && known < oldest {
		err = fmt.Errorf("it was migrated by a newer version of chancery (schema %d, which needs a version that knows %d; this one knows %d): use that version, or restore a backup from before", version, oldest, known)
	}
	return version, err
}

// script runs the statements of a file.
func (c *conn) script(name string) error {
	sql, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	_, err = c.raw.Exec(c.ctx, string(sql)).ReadAll()
	return err
}
