package postgres

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// query is a statement with its arguments and, once it was sent, its result.
type query struct {
	sql     string
	args    []any
	read    func(*row) // called for each row; nil when there are none, or nobody wants them
	changed int64      // how many rows it changed or returned
}

func do(sql string, args ...any) *query { return &query{sql: sql, args: args} }

func ask(read func(*row), sql string, args ...any) *query {
	return &query{sql: sql, args: args, read: read}
}

// conn is a connection while one attempt of a step has it. What a step sends is
// in one transaction, which begins with the first statement and ends with
// those that are given to last, or else when the step returns.
type conn struct {
	raw   *pgconn.PgConn
	ctx   context.Context // of the attempt
	trips *atomic.Int64
	idle  string // for how long the server keeps a transaction that is sent nothing, in ms
	plain bool   // nothing begins a transaction
	begun bool   // a transaction is open
	ended bool   // the transaction has been committed
	again bool   // the step was tried before and may have happened
}

const (
	begin         = "BEGIN"
	beginSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	commit        = "COMMIT"
	rollback      = "ROLLBACK"

	// limitIdle has the server end a transaction whose node has gone without a
	// word, as when its machine is lost: else others would wait for its locks
	// until TCP gives up, which takes hours.
	limitIdle = "SELECT set_config('idle_in_transaction_session_timeout', $1, true)"
)

// run sends statements in one round trip, in the step's transaction.
func (c *conn) run(queries ...*query) error {
	if c.plain || c.ended || c.begun {
		return c.send(queries)
	}
	c.begun = true
	return c.send(append([]*query{do(begin), do(limitIdle, c.idle)}, queries...))
}

// last is run for the last statements of a transaction: they are durable when
// it returns. A transaction that is nothing else needs no words: PostgreSQL
// takes what comes in one message as one.
func (c *conn) last(queries ...*query) error {
	if c.begun {
		queries = append(queries, do(commit))
	}
	if err := c.send(queries); err != nil {
		return err
	}
	c.begun, c.ended = false, true
	return nil
}

// create is last for a statement that stores one record by a new id. That it is
// there may only be the doing of an attempt before.
func (c *conn) create(q *query) error {
	if err := c.last(q); err != nil || q.changed > 0 || c.again {
		return err
	}
	return errors.New("there is a record of that id already")
}

// snapshot is run for statements that only read and must see the same moment.
func (c *conn) snapshot(queries ...*query) error {
	queries = append([]*query{do(beginSnapshot)}, queries...)
	return c.send(append(queries, do(commit)))
}

// finish ends the transaction that a step left open.
func (c *conn) finish(failed bool) error {
	switch {
	case !c.begun:
		return nil
	case failed:
		c.begun = false
		return c.send([]*query{do(rollback)})
	default:
		return c.last()
	}
}

// send is one round trip. The statements have no names: they are parsed each
// time, which costs the server some microseconds, but any pooler between may
// give each transaction another server.
func (c *conn) send(queries []*query) error {
	var batch pgconn.Batch
	for _, q := range queries {
		values, types, err := bind(q.args)
		if err != nil {
			return err
		}
		batch.ExecParams(q.sql, values, types, inBinary, inBinary)
	}
	c.trips.Add(1)
	results := c.raw.ExecBatch(c.ctx, &batch)
	var err error
	for i := 0; i < len(queries) && results.NextResult(); i++ {
		err = errors.Join(err, readResult(results.ResultReader(), queries[i]))
	}
	if failed := results.Close(); failed != nil {
		if codeOf(failed) == "" {
			failed = &lostError{failed}
		}
		return failed
	}
	if ended := c.ctx.Err(); ended != nil { // a COMMIT that no longer waits for a standby calls itself done
		return &lostError{ended}
	}
	return err
}

func readResult(result *pgconn.ResultReader, q *query) error {
	r := row{result: result}
	for result.NextRow() {
		if q.read != nil && r.err == nil {
			r.values, r.column = result.Values(), 0
			q.read(&r)
		}
	}
	tag, _ := result.Close() // an error is the batch's, too
	q.changed = tag.RowsAffected()
	return r.err
}

// exec runs a statement that returns no rows and says how many it changed.
func (c *conn) exec(sql string, args ...any) (changed int64, err error) {
	q := do(sql, args...)
	err = c.run(q)
	return q.changed, err
}

// each calls read for every row of a query's answer.
func (c *conn) each(read func(*row), sql string, args ...any) error {
	return c.run(ask(read, sql, args...))
}

// one reads the only row of a query's answer. ErrNotFound when there is none.
func (c *conn) one(read func(*row), sql string, args ...any) error {
	q := ask(read, sql, args...)
	if err := c.run(q); err != nil {
		return err
	}
	if q.changed == 0 {
		return store.ErrNotFound
	}
	return nil
}

// The types of arguments (pg_type.oid), which the server is told so that none
// has to be guessed.
const (
	typeBool  = 16
	typeBytea = 17
	typeInt8  = 20
	typeText  = 25

	typeByteas = 1001 // bytea[]
	typeInt8s  = 1016 // int8[]
	typeTexts  = 1009 // text[]
	typeBools  = 1000 // bool[]
)

// inBinary is the format of all arguments and results.
var inBinary = []int16{1}

func bind(args []any) (values [][]byte, types []uint32, err error) {
	values, types = make([][]byte, len(args)), make([]uint32, len(args))
	for i, arg := range args {
		if values[i], types[i], err = bindOne(arg); err != nil {
			return nil, nil, err
		}
	}
	return values, types, nil
}

func bindOne(arg any) (value []byte, typ uint32, err error) {
	switch arg := arg.(type) {
	case string:
		return []byte(storable(arg)), typeText, nil
	case []byte:
		if arg == nil {
			arg = []byte{} // no column may be NULL
		}
		return arg, typeBytea, nil
	case int:
		return binary.BigEndian.AppendUint64(nil, uint64(arg)), typeInt8, nil
	case int64:
		return binary.BigEndian.AppendUint64(nil, uint64(arg)), typeInt8, nil
	case bool:
		if arg {
			return []byte{1}, typeBool, nil
		}
		return []byte{0}, typeBool, nil
	case time.Time:
		return binary.BigEndian.AppendUint64(nil, uint64(form.Millis(arg))), typeInt8, nil
	case [][]byte:
		return array(typeBytea, arg), typeByteas, nil
	case []string:
		elements := make([][]byte, len(arg))
		for i := range arg {
			elements[i] = []byte(storable(arg[i]))
		}
		return array(typeText, elements), typeTexts, nil
	case []bool:
		elements := make([][]byte, len(arg))
		for i := range arg {
			elements[i], _, _ = bindOne(arg[i])
		}
		return array(typeBool, elements), typeBools, nil
	case []int64:
		elements := make([][]byte, len(arg))
		for i := range arg {
			elements[i] = binary.BigEndian.AppendUint64(nil, uint64(arg[i]))
		}
		return array(typeInt8, elements), typeInt8s, nil
	default:
		return nil, 0, fmt.Errorf("couldn't bind a value of type %T", arg)
	}
}

// array is the binary form of an array: its dimensions, whether it holds NULLs,
// the type of its elements, then of the one dimension the size and the first
// index, and the elements, each after its size.
func array(element uint32, list [][]byte) []byte {
	var value []byte
	for _, n := range []uint32{1, 0, element, uint32(len(list)), 1} {
		value = binary.BigEndian.AppendUint32(value, n)
	}
	for _, e := range list {
		value = append(binary.BigEndian.AppendUint32(value, uint32(len(e))), e...)
	}
	return value
}

// row reads the columns of a row one after the other: readers name the columns
// in the order of their SELECT. A NULL, as an outer join makes them, reads as
// zero. err is the first column that could not be decoded.
type row struct {
	result *pgconn.ResultReader
	values [][]byte
	column int
	err    error
}

func (r *row) next() []byte {
	r.column++
	return r.values[r.column-1]
}

func (r *row) name() string { return r.result.FieldDescriptions()[r.column-1].Name }

func (r *row) text() string    { return stored(r.next()) }
func (r *row) int() int        { return int(r.int64()) }
func (r *row) time() time.Time { return form.Time(r.int64()) }

func (r *row) int64() int64 {
	value := r.next()
	if len(value) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(value))
}

func (r *row) bool() bool {
	value := r.next()
	return len(value) == 1 && value[0] == 1
}

// blob returns a copy, nil when it is empty.
func (r *row) blob() []byte {
	value := r.next()
	if len(value) == 0 {
		return nil
	}
	return append([]byte(nil), value...)
}

// fixed copies a blob into an array.
func (r *row) fixed(array []byte) {
	if n := copy(array, r.next()); n != len(array) && r.err == nil {
		r.err = fmt.Errorf("couldn't read the column %s: it has %d octets instead of %d", r.name(), n, len(array))
	}
}

// fixedOrNone is fixed for a column that may be empty, too.
func (r *row) fixedOrNone(array []byte) {
	if len(r.values[r.column]) > 0 {
		r.fixed(array)
		return
	}
	r.column++
}

// json decodes a column into value, which stays as it is when the column is "".
func (r *row) json(value any) { r.decode(r.text(), value) }

func (r *row) decode(text string, value any) {
	if text == "" || r.err != nil {
		return
	}
	if err := json.Unmarshal([]byte(text), value); err != nil {
		r.err = fmt.Errorf("couldn't read the column %s: %w", r.name(), err)
	}
}

// numbered gives a statement that was put together its $1, $2, … for each ?.
func numbered(sql string) string {
	var b strings.Builder
	for i := 1; ; i++ {
		before, after, found := strings.Cut(sql, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		fmt.Fprintf(&b, "$%d", i)
		sql = after
	}
}
