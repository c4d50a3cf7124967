package postgres

import (
	"strings"
	"time"
)

// A page of a listing costs about as much as what is on it, whatever else is in
// the table. When one of the questions is met by few rows, which its index tells
// at once, these are gathered and sorted. Else many rows meet each question, so
// rows are walked in the listing's order until the page is full; what the planner
// makes of that it knows better from its statistics.

// clause is a part of a WHERE, or a query, with its arguments as ? in it.
type clause struct {
	sql  string
	args []any
}

// search is a page of a listing.
type search struct {
	table   string   // and its alias
	key     []string // columns
	columns string   // what is read of a row
	order   []string // columns, each descending
	filters []clause // all questions
	sets    []clause // those that an index answers
	before  []any    // values of order: the page begins below them
	few     int
	limit   int
}

// ask adds a question that is answered by looking at a row.
func (l *search) ask(sql string, args ...any) { l.filters = append(l.filters, clause{sql, args}) }

// meet adds a question that an index answers.
func (l *search) meet(sql string, args ...any) {
	l.ask(sql, args...)
	l.sets = append(l.sets, clause{sql, args})
}

// between adds the question whether a time is at from or later and before to,
// where these are not zero.
func (l *search) between(column string, from, to time.Time) {
	switch {
	case from.IsZero() && to.IsZero():
	case to.IsZero():
		l.meet(column+" >= ?", from)
	case from.IsZero():
		l.meet(column+" < ?", to)
	default:
		l.meet(column+" >= ? AND "+column+" < ?", from, to)
	}
}

// find returns the rows of a search in their order.
func find[T any](c *conn, l *search, read func(*row) T) (list []T, err error) {
	smallest, err := l.smallest(c)
	if err != nil {
		return nil, err
	}
	q := l.page(smallest)
	err = c.each(func(r *row) { list = append(list, read(r)) }, numbered(q.sql), q.args...)
	return list, err
}

// smallest is the set with the fewest rows, nil when none has few. One set
// alone is not asked for its size when the walk in its order is short anyway.
func (l *search) smallest(c *conn) (smallest *clause, err error) {
	queries := make([]*query, 0, len(l.sets))
	least := int64(l.few)
	for i := range l.sets {
		s := &l.sets[i]
		sql := "SELECT count(*) FROM (SELECT 1 FROM " + l.table + " WHERE " + s.sql + " LIMIT ?) rows_of_set"
		queries = append(queries, ask(func(r *row) {
			if n := r.int64(); n < least {
				least, smallest = n, s
			}
		}, numbered(sql), append(append([]any(nil), s.args...), l.few)...))
	}
	return smallest, c.unlessNone(queries)
}

// page is the query for a page. The rows of a set are gathered behind a fence
// (OFFSET 0), so that the planner takes no walk instead.
func (l *search) page(set *clause) clause {
	var where conditions
	from := l.table
	if set != nil {
		key := strings.Join(l.key, ", ")
		where.add(clause{"(" + key + ") IN (SELECT " + key + " FROM " + l.table + " WHERE " + set.sql + " OFFSET 0)", set.args})
	}
	for _, filter := range l.filters {
		where.add(filter)
	}
	if l.before != nil {
		marks := strings.TrimSuffix(strings.Repeat("?, ", len(l.order)), ", ")
		where.add(clause{"(" + strings.Join(l.order, ", ") + ") < (" + marks + ")", l.before})
	}
	order := " ORDER BY " + strings.Join(l.order, " DESC, ") + " DESC LIMIT ?"
	return clause{"SELECT " + l.columns + " FROM " + from + where.sql() + order, append(where.args, l.limit)}
}

// conditions is a WHERE that grows.
type conditions struct {
	list []string
	args []any
}

func (w *conditions) add(c clause) {
	w.list = append(w.list, "("+c.sql+")")
	w.args = append(w.args, c.args...)
}

func (w *conditions) sql() string {
	if len(w.list) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.list, " AND ")
}
