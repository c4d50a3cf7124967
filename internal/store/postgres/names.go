package postgres

import (
	"slices"
	"strings"
	"unicode/utf8"

	"chancery/internal/store/form"
)

const (
	// The name of a service that has just begun.
	insertServiceName = "INSERT INTO service_names (domain, label, service) SELECT $1, $2, $3 " +
		"WHERE EXISTS (SELECT 1 FROM services WHERE id = $3 AND records = 1) ON CONFLICT DO NOTHING"

	// partsOf are the ends of the names of the services in these: from each
	// character on, to the end of the name, 24 characters at most.
	partsOf = "SELECT DISTINCT split_part(substr(lower(names), i, 24), E'\\n', 1), id " +
		"FROM these, generate_series(1, (SELECT coalesce(max(length(names)), 0) FROM these)) i " +
		"WHERE i <= length(names) AND length(split_part(substr(lower(names), i, 24), E'\\n', 1)) >= 3"
	enterParts = "WITH these AS (UPDATE services SET searchable = true WHERE id IN " +
		"(SELECT id FROM services WHERE NOT searchable ORDER BY number LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id, names) " +
		"INSERT INTO service_parts (part, service) " + partsOf + " ON CONFLICT DO NOTHING"

	deleteServiceParts = "WITH these AS (SELECT id, names FROM services WHERE id = $1 AND records = 0) " +
		"DELETE FROM service_parts WHERE (part, service) IN (" + partsOf + ")"
	deleteServiceNames = "DELETE FROM service_names WHERE service = $1 AND EXISTS (SELECT 1 FROM services WHERE id = $1 AND records = 0)"
	deleteService      = "DELETE FROM services WHERE id = $1 AND records = 0"
)

// A part of a name that can be found has partLeast characters at least. Of longer
// ones than partMost, the beginning is looked for first.
const partLeast, partMost = 3, 24

// nameQuestion is a question about the names of services.
type nameQuestion struct {
	services clause // a query for their ids
	filter   clause // a condition on a service whose id is SERVICE
	few      bool   // whether ids are all of them
	ids      [][]byte
}

// meetNames adds a question about the names of services, whose ids are in that
// column.
func (l *search) meetNames(q *nameQuestion, column string) {
	if q.few {
		l.meet(false, column+" = ANY (?)", q.ids)
	} else {
		l.meet(false, column+" IN ("+q.services.sql+")", q.services.args...)
	}
	// For single rows, it is a subquery that is no join.
	l.filters[len(l.filters)-1] = clause{strings.ReplaceAll(q.filter.sql, "SERVICE", column), q.filter.args}
}

// named is the question for names in a span.
func named(s form.Span) nameQuestion {
	where := clause{"domain >= ? AND domain < ?", []any{s.From, s.To}}
	switch {
	case s.Exact:
		where = clause{"domain = ? AND label = ?", []any{s.From, s.Label}}
	case s.To == "":
		where = clause{"domain = ?", []any{s.From}}
	}
	return nameQuestion{
		services: clause{"SELECT service FROM service_names WHERE " + where.sql, where.args},
		filter:   clause{"(SELECT count(*) FROM service_names n WHERE n.service = SERVICE AND " + where.sql + ") > 0", where.args},
	}
}

// carrying is the question for a part of a name, in lower case. Services that are
// not searchable yet are few, and looked at one by one.
func carrying(part string) nameQuestion {
	if utf8.RuneCountInString(part) < partLeast || !utf8.ValidString(part) || strings.ContainsAny(part, "\x00\n") {
		return nameQuestion{services: clause{sql: "SELECT ''::bytea WHERE false"}, filter: clause{sql: "false"}}
	}
	begin := string([]rune(part)[:min(partMost, utf8.RuneCountInString(part))])
	found := "SELECT service FROM service_parts WHERE part >= ? AND part < ?"
	args := []any{begin, begin + string(utf8.MaxRune)}
	if begin != part {
		found = "SELECT id FROM services WHERE id IN (" + found + ") AND strpos(lower(names), ?) > 0"
		args = append(args, part)
	}
	return nameQuestion{
		services: clause{found + " UNION ALL SELECT id FROM services WHERE NOT searchable AND strpos(lower(names), ?) > 0", append(args, part)},
		filter:   clause{"(SELECT strpos(lower(n.names), ?) > 0 FROM services n WHERE n.id = SERVICE)", []any{part}},
	}
}

// nameQuestions are those of a query that are not "", with the services where
// these are few.
func nameQuestions(c *conn, few int, name, pattern, part string) (list []nameQuestion, err error) {
	if name != "" {
		list = append(list, named(form.Exactly(name)))
	}
	if pattern != "" {
		list = append(list, named(form.Pattern(pattern)))
	}
	if part != "" {
		list = append(list, carrying(part))
	}
	queries := make([]*query, 0, len(list))
	for i := range list {
		q := &list[i]
		queries = append(queries, ask(func(r *row) { q.ids = append(q.ids, r.blob()) },
			numbered("SELECT * FROM ("+q.services.sql+") found LIMIT ?"), append(slices.Clone(q.services.args), few)...))
	}
	err = c.unlessNone(queries)
	for i := range list {
		list[i].few = len(list[i].ids) < few
	}
	return list, err
}
