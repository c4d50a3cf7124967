package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"chancery/internal/duration"
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
	separator := "["
	for item, err := range items {
		if err != nil {
			return err
		}
		text, err := json.Marshal(item)
		if err != nil {
			return fmt.Errorf("couldn't encode: %w", err)
		}
		if _, err := fmt.Fprintf(w, "%s\n%s", separator, text); err != nil {
			return fmt.Errorf("couldn't write: %w", err)
		}
		separator = ","
	}
	if separator == "[" {
		_, err := fmt.Fprintln(w, "[]")
		return err
	}
	_, err := fmt.Fprintln(w, "\n]")
	return err
}

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

// parseTime reads a moment: RFC 3339, a date (at midnight UTC), or a duration
// from now.
func parseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	if d, err := duration.Parse(text); err == nil {
		return now.Add(d.Std()), nil
	}
	return time.Time{}, usagef("%q is no time; write 2027-01-31, 2027-01-31T12:00:00Z, or 30d for thirty days from now", text)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
