package transfer

import "strings"

// Columns are the expressions by which an engine reads columns that it keeps in
// another form, by "table.column".
type Columns map[string]string

// PageSQL is the statement that reads a page: the first, or the one after a key,
// with a ? for each of its values and for the size of the page.
func (k *Kind) PageSQL(columns Columns, first bool) string {
	read := make([]string, len(k.Columns))
	for i, c := range k.Columns {
		if read[i] = columns[k.Name+"."+c.Name]; read[i] == "" {
			read[i] = c.Name
		}
	}
	key := k.names()[:k.Key]
	sql := "SELECT " + strings.Join(read, ", ") + " FROM " + k.Name
	if !first {
		sql += " WHERE (" + strings.Join(key, ", ") + ") > (" + Marks(k.Key) + ")"
	}
	return sql + " ORDER BY " + strings.Join(key, ", ") + " LIMIT ?"
}

// CountSQL is the statement that counts records.
func (k *Kind) CountSQL() string { return "SELECT count(*) FROM " + k.Name }

// InsertSQL is the beginning of the statement that stores records, up to their
// values; more are columns that only the engine has.
func (k *Kind) InsertSQL(more ...string) string {
	return "INSERT INTO " + k.Name + " (" + strings.Join(append(k.names(), more...), ", ") + ") "
}

func (k *Kind) names() []string {
	names := make([]string, len(k.Columns))
	for i, c := range k.Columns {
		names[i] = c.Name
	}
	return names
}

// Marks are so many ?, with commas between.
func Marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// AnySQL is the statement that looks whether there is a record.
func (k *Kind) AnySQL() string { return "SELECT 1 FROM " + k.Name + " LIMIT 1" }
