package postgres

import (
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

// named is a query for the services that have a name or one of a pattern: *.d
// for the names in d, **.d for those in or below it, ** for all domain names.
func named(pattern string) clause { return inSpan(form.Pattern(pattern)) }

func exactly(name string) clause { return inSpan(form.Exactly(name)) }

func inSpan(s form.Span) clause {
	switch {
	case s.Exact:
		return serviceNames("domain = ? AND label = ?", s.From, s.Label)
	case s.To == "":
		return serviceNames("domain = ?", s.From)
	default:
		return serviceNames("domain >= ? AND domain < ?", s.From, s.To)
	}
}

func serviceNames(condition string, args ...any) clause {
	return clause{"SELECT service FROM service_names WHERE " + condition, args}
}

// A part of a name that can be found has partLeast characters at least. Of longer
// ones than partMost, the beginning is looked for first.
const partLeast, partMost = 3, 24

// carrying is a query for the services that have a name with a part in it, in
// lower case. Those that are not searchable yet are few, and looked at one by
// one.
func carrying(part string) clause {
	if utf8.RuneCountInString(part) < partLeast || !utf8.ValidString(part) || strings.ContainsAny(part, "\x00\n") {
		return clause{sql: "SELECT ''::bytea WHERE false"}
	}
	begin := string([]rune(part)[:min(partMost, utf8.RuneCountInString(part))])
	found := "SELECT service FROM service_parts WHERE part >= ? AND part < ?"
	args := []any{begin, begin + string(utf8.MaxRune)}
	if begin != part {
		found = "SELECT id FROM services WHERE id IN (" + found + ") AND strpos(lower(names), ?) > 0"
		args = append(args, part)
	}
	return clause{found + " UNION ALL SELECT id FROM services WHERE NOT searchable AND strpos(lower(names), ?) > 0", append(args, part)}
}

// nameQuestions are queries for the services that meet each of a query's
// questions about names.
func nameQuestions(name, pattern, part string) (list []clause) {
	if name != "" {
		list = append(list, exactly(name))
	}
	if pattern != "" {
		list = append(list, named(pattern))
	}
	if part != "" {
		list = append(list, carrying(part))
	}
	return list
}
