package postgres

import (
	"slices"
	"strings"
)

// A page of a listing costs about as much as what is on it, whatever else is in
// the table and whatever the planner thinks of it, because of how it is
// looked for:
//
//   - When a question is met by few rows, which its index tells at once, these
//     are gathered and sorted.
//   - Else rows are walked in the listing's order until the page is full, which
//     it soon is, for many meet each question.
//   - Where the many are elsewhere, the walk goes on in ever larger steps, until
//     there is more to walk than to gather.
//
// A subquery with LIMIT or OFFSET is planned for itself: so each of these is done
// in its way.

// clause is a part of a WHERE, or a query, with its arguments as ? in it.
type clause struct {
	sql  string
	args []any
}

// set is the rows that meet a question, as an index has them.
type set struct {
	clause
	filter  int  // where in search.filters the same question is
	ordered bool // whether the index has them in the listing's order
	many    bool // whether they are known to be many
}

// search is a page of a listing.
type search struct {
	table   string   // and its alias
	columns string   // what is read of a row
	order   []string // columns, each descending
	filters []clause // all questions
	sets    []set    // those that an index answers, most likely the smallest first
	before  []any    // values of order: the page begins below them
	few     int      // rows that are gathered at once, or walked first
	limit   int
}

// ask adds a question that is answered by looking at a row.
func (l *search) ask(sql string, args ...any) { l.filters = append(l.filters, clause{sql, args}) }

// meet adds a question that an index answers.
func (l *search) meet(ordered bool, sql string, args ...any) {
	l.ask(sql, args...)
	l.sets = append(l.sets, set{clause: clause{sql, args}, filter: len(l.filters) - 1, ordered: ordered})
}

// find returns the rows of a search in their order.
func find[T any](c *conn, l *search, read func(*row) T) (list []T, err error) {
	smallest, err := l.smallest(c)
	if err != nil {
		return nil, err
	}
	if smallest != nil {
		return fetch(c, l.gather(smallest), read)
	}
	walked, rest := l.walks()
	if rest == nil {
		return fetch(c, l.walk(walked, 0), read)
	}
	for size := l.few; ; size *= 4 {
		list, err = fetch(c, l.walk(walked, size), read)
		if err != nil || len(list) == l.limit {
			return list, err
		}
		more, further := false, false // there is more to walk, and even more to gather
		err = c.run(l.count(l.from(walked), size, func(n int64) { more = n == int64(size) }),
			l.count(&rest.clause, 4*size, func(n int64) { further = n == int64(4*size) }))
		switch {
		case err != nil || !more:
			return list, err
		case !further:
			return fetch(c, l.gather(rest), read)
		}
	}
}

func fetch[T any](c *conn, q clause, read func(*row) T) (list []T, err error) {
	err = c.each(func(r *row) { list = append(list, read(r)) }, numbered(q.sql), q.args...)
	return list, err
}

// smallest is the set with the fewest rows, nil when none has few. One that is
// walked until the page is full anyway is not asked.
func (l *search) smallest(c *conn) (smallest *set, err error) {
	if len(l.filters) == 1 && len(l.sets) == 1 && l.sets[0].ordered {
		return nil, nil
	}
	queries := make([]*query, 0, len(l.sets))
	least := int64(l.few)
	for i := range l.sets {
		if l.sets[i].many {
			continue
		}
		queries = append(queries, l.count(&l.sets[i].clause, l.few, func(n int64) {
			if n < least {
				least, smallest = n, &l.sets[i]
			}
		}))
	}
	return smallest, c.unlessNone(queries)
}

// count counts the rows that meet a condition, as far as most.
func (l *search) count(where *clause, most int, result func(int64)) *query {
	sql := "SELECT count(*) FROM (SELECT 1 FROM " + l.table + " WHERE " + where.sql + " LIMIT ?) counted"
	return ask(func(r *row) { result(r.int64()) }, numbered(sql), append(slices.Clone(where.args), most)...)
}

// walks are the set to walk, nil for all rows, and what to gather when the walk
// is given up: nil when it must not be.
func (l *search) walks() (walked, rest *set) {
	for i := range l.sets {
		switch s := &l.sets[i]; {
		case s.ordered && walked == nil:
			walked = s
		case !s.ordered && rest == nil:
			rest = s
		}
	}
	return walked, rest
}

// from is the condition for the rows of a set below the page before.
func (l *search) from(s *set) *clause {
	w := conditions{list: []string{"true"}}
	if s != nil {
		w.add(s.clause)
	}
	l.begin(&w)
	return &clause{strings.Join(w.list, " AND "), w.args}
}

// begin adds the condition that the page begins below the one before.
func (l *search) begin(w *conditions) {
	if l.before != nil {
		marks := strings.TrimSuffix(strings.Repeat("?, ", len(l.order)), ", ")
		w.add(clause{"(" + strings.Join(l.order, ", ") + ") < (" + marks + ")", l.before})
	}
}

// gather is a query for a page, made of all rows of a set.
func (l *search) gather(s *set) clause {
	var w conditions
	for i, filter := range l.filters {
		if i != s.filter {
			w.add(filter)
		}
	}
	l.begin(&w)
	return l.page(clause{"(SELECT * FROM " + l.table + " WHERE " + s.sql + " OFFSET 0) " + l.alias(), s.args}, &w)
}

// walk is a query for a page, made by a walk in the listing's order over a set,
// or all rows, which ends after so many of them; 0 for all.
func (l *search) walk(s *set, size int) clause {
	var w conditions
	for i, filter := range l.filters {
		if s == nil || i != s.filter {
			w.add(filter)
		}
	}
	from := l.from(s)
	if size == 0 {
		w.add(*from)
		return l.page(clause{sql: l.table}, &w)
	}
	sql := "(SELECT * FROM " + l.table + " WHERE " + from.sql + l.orderBy() + " LIMIT ?) " + l.alias()
	return l.page(clause{sql, append(slices.Clone(from.args), size)}, &w)
}

func (l *search) page(from clause, w *conditions) clause {
	args := append(append(slices.Clone(from.args), w.args...), l.limit)
	return clause{"SELECT " + l.columns + " FROM " + from.sql + w.sql() + l.orderBy() + " LIMIT ?", args}
}

func (l *search) orderBy() string { return " ORDER BY " + strings.Join(l.order, " DESC, ") + " DESC" }

// alias is the short name of the table.
func (l *search) alias() string { return l.table[strings.LastIndexByte(l.table, ' ')+1:] }

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
