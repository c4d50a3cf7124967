package sqlite

import (
	"slices"
	"strings"
)

// A page of a listing costs about as much as what is on it, whatever else is in
// the table, because of how it is looked for:
//
//   - When a question is met by few rows, which its index tells at once, these
//     are gathered and sorted.
//   - Else rows are walked in the listing's order until the page is full, which
//     it soon is, for many meet each question.
//   - Where the many are elsewhere, the walk is given up, and they are gathered
//     after all.
//
// limits say what is few.
type limits struct {
	few      int // rows that are gathered at once
	farthest int // rows after which a walk is given up
	batch    int // services that are entered into the search at once; those that wait for it are looked at one by one
}

// usualLimits are those of every store but in tests: some milliseconds' work
// each.
func usualLimits() limits { return limits{few: 5000, farthest: 5000, batch: 1024} }

// clause is a part of a WHERE with its arguments.
type clause struct {
	sql  string
	args []any
}

// set is the rows that meet a question, as an index has them.
type set struct {
	index   string // "" for the key
	clause  clause
	filter  int  // where in search.filters the same question is
	ordered bool // whether the index has them in the listing's order
	many    bool // whether they are known to be many
}

// search is a page of a listing. Its rows are found by their numbers first, so
// that those that are only sorted are not read.
type search struct {
	table   string   // and its alias
	number  string   // the column that numbers its rows
	columns string   // what is read of them
	order   []string // columns, each descending: the key's, or those of an ordered set
	key     string   // how to walk it by its key: as "INDEXED BY …"
	filters []clause // all questions
	sets    []set    // those that an index answers, most likely the smallest first
	before  []any    // values of order: the page begins below them
	limit   int
}

// ask adds a question that is answered by looking at a row.
func (l *search) ask(sql string, args ...any) { l.filters = append(l.filters, clause{sql, args}) }

// meet adds a question that an index answers.
func (l *search) meet(index string, ordered bool, sql string, args ...any) {
	l.ask(sql, args...)
	l.sets = append(l.sets, set{index: index, clause: clause{sql, args}, filter: len(l.filters) - 1, ordered: ordered})
}

// find returns the rows of a search in their order.
func find[T any](c *conn, l *search, read func(*row) T) (list []T, err error) {
	walked, rest, err := l.plan(c)
	if err != nil {
		return nil, err
	}
	var end []any
	if rest != nil {
		if end, err = l.farthest(c, walked); err != nil {
			return nil, err
		}
	}
	if list, err = fetch(c, l, walked, end, read); err != nil || end == nil || len(list) == l.limit {
		return list, err
	}
	if rest, err = l.smaller(c, walked, rest); err != nil {
		return nil, err
	}
	return fetch(c, l, rest, nil, read)
}

// plan chooses the set to walk, nil for all rows, and what to gather when the
// walk is given up: nil when it must not be.
func (l *search) plan(c *conn) (walked, rest *set, err error) {
	for i := range l.sets {
		s := &l.sets[i]
		if !s.many {
			if s.many, err = l.reaches(c, s, c.limits.few); err != nil || !s.many {
				return s, nil, err
			}
		}
		if s.ordered && walked == nil {
			walked = s
		}
		if !s.ordered && rest == nil {
			rest = s
		}
	}
	return walked, rest, nil
}

// smaller is the set of two that has fewer rows, found in a time that the
// smaller one sets.
func (l *search) smaller(c *conn, walked, rest *set) (*set, error) {
	for size := 4 * c.limits.few; walked != nil; size *= 4 {
		for _, s := range []*set{rest, walked} {
			if more, err := l.reaches(c, s, size); err != nil || !more {
				return s, err
			}
		}
	}
	return rest, nil
}

// reaches reports whether a set has that many rows.
func (l *search) reaches(c *conn, s *set, size int) (reached bool, err error) {
	sql := "SELECT count(*) FROM (SELECT 1 FROM " + l.from(s) + " WHERE " + s.clause.sql + " LIMIT ?)"
	err = c.once(func(r *row) { reached = r.int() == size }, sql, append(slices.Clone(s.clause.args), size)...)
	return reached, err
}

// from is where the rows of a set are.
func (l *search) from(s *set) string {
	if s == nil || s.index == "" {
		return l.table + " " + l.key
	}
	return l.table + " INDEXED BY " + s.index
}

// farthest returns the values of order in the row where a walk is given up;
// nil when there are not that many rows.
func (l *search) farthest(c *conn, walked *set) (end []any, err error) {
	q := query{}
	if walked != nil {
		q.where(walked.clause)
	}
	l.begin(&q)
	sql := "SELECT " + strings.Join(l.order, ", ") + " FROM " + l.from(walked) + q.sql() + l.orderBy() + " LIMIT 1 OFFSET ?"
	err = c.once(func(r *row) {
		for range l.order {
			end = append(end, r.value())
		}
	}, sql, append(q.args, c.limits.farthest)...)
	return end, err
}

// fetch returns the rows of the page that are in walked and not below end.
func fetch[T any](c *conn, l *search, walked *set, end []any, read func(*row) T) (list []T, err error) {
	sql, args := l.sql(walked, end)
	err = c.once(func(r *row) { list = append(list, read(r)) }, sql, args...)
	return list, err
}

func (l *search) sql(walked *set, end []any) (sql string, args []any) {
	var q query
	for i, filter := range l.filters {
		if walked != nil && walked.filter == i {
			filter = walked.clause
		}
		q.where(filter)
	}
	l.begin(&q)
	if end != nil {
		q.where(clause{l.row(">="), end})
	}
	found := "SELECT " + l.number + " AS found FROM " + l.from(walked) + q.sql() + l.orderBy() + " LIMIT ?"
	sql = "SELECT " + l.columns + " FROM (" + found + ") CROSS JOIN " + l.table + " ON " + l.number + " = found" + l.orderBy()
	return sql, append(q.args, l.limit)
}

// begin adds the condition that the page begins below the one before.
func (l *search) begin(q *query) {
	if l.before != nil {
		q.where(clause{l.row("<"), l.before})
	}
}

// row compares a row's place in the order with another.
func (l *search) row(operator string) string {
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(l.order)), ", ")
	return "(" + strings.Join(l.order, ", ") + ") " + operator + " (" + marks + ")"
}

func (l *search) orderBy() string { return " ORDER BY " + strings.Join(l.order, " DESC, ") + " DESC" }

// query is a WHERE that grows.
type query struct {
	conditions []string
	args       []any
}

func (q *query) where(c clause) {
	q.conditions = append(q.conditions, c.sql)
	q.args = append(q.args, c.args...)
}

func (q *query) sql() string {
	if len(q.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(q.conditions, " AND ")
}
