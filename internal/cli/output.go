package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"chancery/internal/admin"
	"chancery/internal/inventory"
)

// printJSON writes one value for scripts.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// printArray writes a listing for scripts, as one array, one item at a time.
func printArray[T any](w io.Writer, items iter.Seq2[T, error]) error {
	return admin.WriteArray(w, items)
}

// tableChunk is how many rows are kept to find out how wide columns are.
const tableChunk = 1000

// printTable writes a listing for people; an empty one says so on stderr.
func printTable[T any](w, stderr io.Writer, header string, items iter.Seq2[T, error], row func(T) []string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	count := 0
	for item, err := range items {
		if err != nil {
			return err
		}
		if count == 0 {
			fmt.Fprintln(table, strings.ReplaceAll(header, " ", "\t"))
		}
		count++
		fmt.Fprintln(table, strings.Join(row(item), "\t"))
		if count%tableChunk == 0 {
			if err := table.Flush(); err != nil {
				return err
			}
		}
	}
	if count == 0 {
		fmt.Fprintln(stderr, "none")
	}
	return table.Flush()
}

// printFields writes the facts about one thing, a name and a value each, one a
// line. Empty values are left out.
func printFields(w io.Writer, facts ...string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for fact := range slices.Chunk(facts, 2) {
		if fact[1] != "" {
			fmt.Fprintln(table, strings.Join(fact, "\t"))
		}
	}
	return table.Flush()
}

// when writes a time for people, in UTC to the second.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func whenSet(t *time.Time) string {
	if t == nil {
		return ""
	}
	return when(*t)
}

// listed writes names for a table: the first few, then how many more.
func listed(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s +%d", strings.Join(names[:shown], " "), len(names)-shown)
}

// parseTime reads a moment: RFC 3339, a date (at midnight UTC), or a span from
// now on, as in 30d, or back, as in -7d.
func parseTime(text string, now time.Time) (time.Time, error) {
	t, err := inventory.ParseTime(text, now)
	if err != nil {
		return t, &usageError{err: err}
	}
	return t, nil
}

// sortedKeys are the keys of a map in their order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
