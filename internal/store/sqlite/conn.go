package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// conn is a connection with its prepared statements. One goroutine uses it at
// a time.
type conn struct {
	*sqlite3.Conn
	prepared map[string]*sqlite3.Stmt
	limits   limits
	recent   *recent // of the connection that writes
}

// exec runs a statement that returns no rows and says how many it changed.
func (c *conn) exec(sql string, args ...any) (changed int64, err error) {
	stmt, err := c.statement(sql, args)
	if err != nil {
		return 0, err
	}
	if err := stmt.Exec(); err != nil {
		return 0, err
	}
	return c.Changes(), nil
}

// each calls read for every row of a query's answer.
func (c *conn) each(read func(*row), sql string, args ...any) error {
	stmt, err := c.statement(sql, args)
	if err != nil {
		return err
	}
	return readRows(stmt, read)
}

// once is each for a query too rare to keep its statement.
func (c *conn) once(read func(*row), sql string, args ...any) error {
	stmt, _, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	defer stmt.Close()
	if err := bind(stmt, args); err != nil {
		return err
	}
	return readRows(stmt, read)
}

// one reads the only row of a query's answer. ErrNotFound when there is none.
func (c *conn) one(read func(*row), sql string, args ...any) error {
	found := false
	err := c.each(func(r *row) { found = true; read(r) }, sql, args...)
	if err == nil && !found {
		return store.ErrNotFound
	}
	return err
}

// readRows steps through an answer and resets the statement: one left in the
// middle would hold its transaction open.
func readRows(stmt *sqlite3.Stmt, read func(*row)) error {
	r := row{stmt: stmt}
	for stmt.Step() && r.err == nil {
		r.column = 0
		read(&r)
	}
	err := stmt.Err()
	return errors.Join(r.err, err, ignoreIf(err != nil, stmt.Reset()))
}

// ignoreIf drops err when cond: Reset repeats the error of the last step.
func ignoreIf(cond bool, err error) error {
	if cond {
		return nil
	}
	return err
}

// statement returns the prepared statement of sql with its arguments bound.
func (c *conn) statement(sql string, args []any) (*sqlite3.Stmt, error) {
	stmt, ok := c.prepared[sql]
	if !ok {
		var err error
		if stmt, _, err = c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, err
		}
		c.prepared[sql] = stmt
	}
	return stmt, bind(stmt, args)
}

func bind(stmt *sqlite3.Stmt, args []any) error {
	for i, arg := range args {
		if err := bindOne(stmt, i+1, arg); err != nil {
			return err
		}
	}
	return nil
}

func bindOne(stmt *sqlite3.Stmt, i int, arg any) error {
	switch arg := arg.(type) {
	case string:
		return stmt.BindText(i, arg)
	case []byte:
		if arg == nil {
			arg = []byte{} // no column may be NULL
		}
		return stmt.BindBlob(i, arg)
	case int:
		return stmt.BindInt64(i, int64(arg))
	case int64:
		return stmt.BindInt64(i, arg)
	case bool:
		return stmt.BindBool(i, arg)
	case time.Time:
		return stmt.BindInt64(i, form.Millis(arg))
	default:
		return fmt.Errorf("couldn't bind a value of type %T", arg)
	}
}

// close finalizes the statements and closes the connection.
func (c *conn) close() error {
	for _, stmt := range c.prepared {
		if err := stmt.Close(); err != nil {
			return err
		}
	}
	return c.Conn.Close()
}

// row reads the columns of a row one after the other: readers name the columns
// in the order of their SELECT. err is the first that could not be decoded.
type row struct {
	stmt   *sqlite3.Stmt
	column int
	err    error
}

func (r *row) next() int {
	r.column++
	return r.column - 1
}

func (r *row) text() string    { return r.stmt.ColumnText(r.next()) }
func (r *row) int() int        { return r.stmt.ColumnInt(r.next()) }
func (r *row) int64() int64    { return r.stmt.ColumnInt64(r.next()) }
func (r *row) bool() bool      { return r.stmt.ColumnBool(r.next()) }
func (r *row) time() time.Time { return form.Time(r.stmt.ColumnInt64(r.next())) }

// blob returns a copy, nil when it is empty.
func (r *row) blob() []byte { return r.stmt.ColumnBlob(r.next(), nil) }

// fixed copies a blob into an array.
func (r *row) fixed(array []byte) {
	if n := copy(array, r.stmt.ColumnRawBlob(r.next())); n != len(array) && r.err == nil {
		r.err = fmt.Errorf("couldn't read the column %s: it has %d octets instead of %d", r.stmt.ColumnName(r.column-1), n, len(array))
	}
}

// fixedOrNone is fixed for a column that may be empty, too.
func (r *row) fixedOrNone(array []byte) {
	if len(r.stmt.ColumnRawBlob(r.column)) > 0 {
		r.fixed(array)
		return
	}
	r.next()
}

// value is a column as it is to be bound again.
func (r *row) value() any {
	column := r.next()
	switch r.stmt.ColumnType(column) {
	case sqlite3.INTEGER:
		return r.stmt.ColumnInt64(column)
	case sqlite3.BLOB:
		return r.stmt.ColumnBlob(column, nil)
	default:
		return r.stmt.ColumnText(column)
	}
}

// json decodes a column into value, which stays as it is when the column is "".
func (r *row) json(value any) {
	r.decode(r.stmt.ColumnRawText(r.next()), value)
}

func (r *row) decode(text []byte, value any) {
	if len(text) == 0 || r.err != nil {
		return
	}
	if err := json.Unmarshal(text, value); err != nil {
		r.err = fmt.Errorf("couldn't read the column %s: %w", r.stmt.ColumnName(r.column-1), err)
	}
}
