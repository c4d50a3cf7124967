package sqlite

import (
	"embed"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"chancery/internal/store/form"
)

// migrations are the numbered steps from an empty file to today's schema. They
// only go forward: a released one never changes. The runner is our own because
// the usual ones want database/sql, which this package does not use.
//
//go:embed migrations/*.sql
var migrations embed.FS

// applicationID marks the file as Chancery's (SQLite's application_id): "CHCY".
const applicationID = 0x43484359

// checkFile refuses a file of another program, and one of a newer version of
// this one.
func checkFile(c *conn) error {
	id, err := pragma(c, "application_id")
	if err != nil {
		return notADatabase(err)
	}
	tables := 0
	if err := c.once(func(r *row) { tables = r.int() }, "SELECT count(*) FROM sqlite_schema"); err != nil {
		return err
	}
	if id != applicationID && (id != 0 || tables > 0) {
		return errors.New("it is the database of another program")
	}
	version, err := pragma(c, "user_version")
	if err != nil {
		return err
	}
	steps, err := form.Migrations(migrations)
	if err != nil {
		return err
	}
	if version > len(steps) {
		return fmt.Errorf("it was written by a newer version of chancery (schema %d, this one knows %d): use that version, or restore a backup from before", version, len(steps))
	}
	return nil
}

// migrate runs the steps that the file has not seen, each in a transaction
// with the note that it was run.
func migrate(c *conn) error {
	version, err := pragma(c, "user_version")
	if err != nil {
		return err
	}
	steps, err := form.Migrations(migrations)
	if err != nil {
		return err
	}
	for i := version; i < len(steps); i++ {
		sql, err := migrations.ReadFile(steps[i])
		if err != nil {
			return err
		}
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;", sql, applicationID, i+1)
		if err := c.Exec(script); err != nil {
			return fmt.Errorf("couldn't migrate it to schema %d: %w", i+1, err)
		}
	}
	return nil
}

func pragma(c *conn, name string) (value int, err error) {
	err = c.once(func(r *row) { value = r.int() }, "PRAGMA "+name)
	return value, err
}

// notADatabase says in words what SQLite reports about a file of another kind.
func notADatabase(err error) error {
	if errors.Is(err, sqlite3.NOTADB) {
		return errors.New("it is not a database")
	}
	return err
}
