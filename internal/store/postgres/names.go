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

	// parent is the domain of service_names n as it is written, in lower case.
	parent = "lower(coalesce((SELECT string_agg(label, '.' ORDER BY place DESC) " +
		"FROM unnest(string_to_array(left(n.domain, -1), '.')) WITH ORDINALITY AS labels (label, place)), ''))"
	// partsOf are the ends of the names of the services in these: from each
	// character of the first label on, to the end of the name, 24 characters at most.
	partsOf = "SELECT DISTINCT substr(name, i, 24), service FROM (SELECT n.service, lower(n.label) AS label, " +
		"lower(n.label) || CASE WHEN n.domain IN ('', '~') THEN '' ELSE '.' || " + parent + " END AS name " +
		"FROM these JOIN service_names n ON n.service = these.id) named, generate_series(1, length(label)) i WHERE length(substr(name, i, 24)) >= 3"
	// domainPartsOf are the ends of the domains n: from the dot before them on.
	domainPartsOf = "(SELECT n.domain, '.' || " + parent + " AS name FROM n) named, generate_series(1, length(name)) i WHERE length(substr(name, i, 24)) >= 3"

	claimUnsearchable = "UPDATE services SET searchable = true WHERE id IN " +
		"(SELECT id FROM services WHERE NOT searchable ORDER BY number LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id"
	insertParts = "WITH these AS (SELECT id FROM services WHERE id = ANY ($1::bytea[])) " +
		"INSERT INTO service_parts (part, service) " + partsOf + " ON CONFLICT DO NOTHING"
	holdDomains = "INSERT INTO searched_domains (domain) SELECT DISTINCT domain FROM service_names WHERE service = ANY ($1::bytea[]) AND domain NOT IN ('', '~') " +
		"ORDER BY domain ON CONFLICT (domain) DO UPDATE SET domain = excluded.domain WHERE false"
	// Those that have been entered have their first part.
	insertDomainParts = "WITH n AS (SELECT DISTINCT domain FROM service_names WHERE service = ANY ($1::bytea[]) AND domain NOT IN ('', '~')) " +
		"INSERT INTO domain_parts (part, domain) SELECT DISTINCT substr(name, i, 24), domain FROM " + domainPartsOf +
		" AND NOT EXISTS (SELECT 1 FROM domain_parts p WHERE p.domain = named.domain AND p.part = left(name, 24)) ON CONFLICT DO NOTHING"

	// What follows is for a service that has no certificates left. Its parts go
	// while its names are there, and with the last name in a domain go the
	// domain's.
	deleteServiceParts = "WITH these AS (SELECT id FROM services WHERE id = $1 AND records = 0) " +
		"DELETE FROM service_parts WHERE (part, service) IN (" + partsOf + ")"
	lockDomains = "SELECT 1 FROM searched_domains WHERE domain IN (SELECT domain FROM service_names WHERE service = $1) " +
		"AND EXISTS (SELECT 1 FROM services WHERE id = $1 AND records = 0) ORDER BY domain FOR UPDATE"
	deleteServiceNames = "WITH gone AS (DELETE FROM service_names WHERE service = $1 AND EXISTS (SELECT 1 FROM services WHERE id = $1 AND records = 0) RETURNING domain), " +
		"n AS (SELECT DISTINCT domain FROM gone WHERE NOT EXISTS (SELECT 1 FROM service_names other WHERE other.domain = gone.domain AND other.service <> $1)), " +
		"parts AS (DELETE FROM domain_parts WHERE (part, domain) IN (SELECT substr(name, i, 24), domain FROM " + domainPartsOf + ")) " +
		"DELETE FROM searched_domains WHERE domain IN (SELECT domain FROM n)"
	deleteService = "DELETE FROM services WHERE id = $1 AND records = 0"
)

// enterParts enters services into the search, so many at most, and says how many.
func enterParts(c *conn, most int) (entered int, err error) {
	var ids [][]byte
	err = c.each(func(r *row) { ids = append(ids, r.blob()) }, claimUnsearchable, most)
	if err == nil && len(ids) > 0 {
		err = c.run(do(insertParts, ids), do(holdDomains, ids), do(insertDomainParts, ids))
	}
	return len(ids), err
}

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
		l.sets[len(l.sets)-1].many = true
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
	found := "SELECT service FROM service_parts WHERE part >= ? AND part < ? UNION ALL " +
		"SELECT service FROM service_names WHERE domain IN (SELECT domain FROM domain_parts WHERE part >= ? AND part < ?)"
	args := []any{begin, begin + string(utf8.MaxRune), begin, begin + string(utf8.MaxRune)}
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
