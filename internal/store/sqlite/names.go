package sqlite

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"

	"chancery/internal/identifier"
	"chancery/internal/store/form"
)

const (
	insertServiceName  = "INSERT INTO service_names (domain, label, service) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
	deleteServiceName  = "DELETE FROM service_names WHERE domain = ? AND label = ? AND service = ?"
	selectIndexed      = "SELECT indexed FROM service_search_state"
	insertSearch       = "INSERT INTO service_search (rowid, names) SELECT number, names FROM services WHERE number > ? AND number <= ? ORDER BY number"
	deleteSearch       = "INSERT INTO service_search (service_search, rowid, names) VALUES ('delete', ?, ?)"
	updateIndexed      = "UPDATE service_search_state SET indexed = ?"
	updateIndexedAtEnd = "UPDATE service_search_state SET indexed = min(indexed, (SELECT coalesce(max(number), 0) FROM services))"
	countTerm          = "SELECT count(*) FROM (SELECT 1 FROM service_search WHERE service_search MATCH ? LIMIT ?)"
	selectSearched     = "SELECT s.number FROM service_search CROSS JOIN services s ON s.number = service_search.rowid " +
		"WHERE service_search MATCH ? AND instr(lower(s.names), ?) > 0 UNION ALL " +
		"SELECT s.number FROM services s WHERE s.number > (SELECT indexed FROM service_search_state) AND instr(lower(s.names), ?) > 0"
)

// enterNames makes a new service known by its names.
func enterNames(c *conn, service int64, names []identifier.Identifier) error {
	for _, name := range names {
		domain, label := form.Place(name.Value)
		if _, err := c.exec(insertServiceName, domain, label, service); err != nil {
			return err
		}
	}
	if service%int64(c.limits.batch) != 0 {
		return nil
	}
	indexed, err := indexedServices(c)
	if err != nil {
		return err
	}
	if _, err := c.exec(insertSearch, indexed, service); err != nil {
		return err
	}
	_, err = c.exec(updateIndexed, service)
	return err
}

// indexedServices is the number up to which the search has all services.
func indexedServices(c *conn) (number int64, err error) {
	err = c.one(func(r *row) { number = r.int64() }, selectIndexed)
	return number, err
}

// removeNames is for a service that was removed, with the names it kept. Its
// number may be given again, so the search must not pass for having it already.
func removeNames(c *conn, service int64, names string) error {
	for name := range form.Names(names) {
		domain, label := form.Place(name)
		if _, err := c.exec(deleteServiceName, domain, label, service); err != nil {
			return err
		}
	}
	indexed, err := indexedServices(c)
	if err != nil {
		return err
	}
	if service <= indexed {
		if _, err := c.exec(deleteSearch, service, names); err != nil {
			return err
		}
	}
	_, err = c.exec(updateIndexedAtEnd)
	return err
}

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

// addFunctions makes carries(names, pattern) known to a connection: whether
// one of a service's names is of a pattern, as named has them.
func addFunctions(c *sqlite3.Conn) error {
	return c.CreateFunction("carries", 2, sqlite3.DETERMINISTIC|sqlite3.INNOCUOUS, func(ctx sqlite3.Context, arg ...sqlite3.Value) {
		pattern := arg[1].Text()
		for name := range form.Names(arg[0].Text()) {
			if form.OfPattern(name, pattern) {
				ctx.ResultBool(true)
				return
			}
		}
		ctx.ResultBool(false)
	})
}

// trigram is the number of characters by which the search finds names.
const trigram = 3

// trigrams are the terms of a search for a part of a name, a dozen at most: all
// would say no more. There are none for what no name can have in it.
func trigrams(part string) (terms []string) {
	if !utf8.ValidString(part) || strings.ContainsAny(part, "\x00\n") {
		return nil
	}
	letters := []rune(part)
	last := len(letters) - trigram
	for i := 0; i <= last; i += 1 + last/12 {
		terms = append(terms, quoted(string(letters[i:i+trigram])))
	}
	return terms
}

// quoted is a text as a string of the search's language.
func quoted(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }

// nameQuestion is a question about the names of services.
type nameQuestion struct {
	services clause // a query for their numbers
	filter   clause // a condition on a service
	many     bool   // whether they are known to be many
}

// nameQuestions are those of a query that are not "".
func nameQuestions(c *conn, name, pattern, part string) (list []nameQuestion, err error) {
	if name != "" {
		list = append(list, nameQuestion{services: exactly(name), filter: clause{"instr(s.names, ?) > 0", []any{"\n" + name + "\n"}}})
	}
	if pattern != "" {
		suffix := strings.TrimLeft(pattern, "*") + "\n" // which is quick to rule out
		list = append(list, nameQuestion{services: named(pattern), filter: clause{"instr(s.names, ?) > 0 AND carries(s.names, ?)", []any{suffix, pattern}}})
	}
	for i := range list {
		services := list[i].services
		sql := "SELECT count(*) FROM (" + services.sql + " LIMIT ?)"
		err := c.once(func(r *row) { list[i].many = r.int() == c.limits.few }, sql, append(slices.Clone(services.args), c.limits.few)...)
		if err != nil {
			return nil, err
		}
	}
	if part == "" {
		return list, nil
	}
	terms, many, err := searchTerms(c, part)
	if terms == "" {
		return append(list, nameQuestion{services: clause{sql: "SELECT 0"}, filter: clause{sql: "0"}}), err
	}
	return append(list, nameQuestion{clause{selectSearched, []any{terms, part, part}}, clause{"instr(lower(s.names), ?) > 0", []any{part}}, many}), err
}

// searchTerms is the expression by which the search finds a part of a name,
// made of the rarest of its trigrams: the others would be read along for
// nothing. many is when none of them is rare.
func searchTerms(c *conn, part string) (expression string, many bool, err error) {
	terms := trigrams(part)
	for _, size := range []int{c.limits.few / 100, c.limits.few / 10, c.limits.few} {
		var rare []string
		for _, term := range terms {
			n := 0
			if err := c.one(func(r *row) { n = r.int() }, countTerm, term, size); err != nil {
				return "", false, err
			}
			if n < size {
				rare = append(rare, term)
			}
		}
		if len(rare) > 0 {
			return strings.Join(rare, " AND "), false, nil
		}
	}
	return strings.Join(terms, " AND "), true, nil
}
