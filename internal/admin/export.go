package admin

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/observe"
	"chancery/internal/store"
)

// patientTime is how long a client may take to accept what is written at once.
const patientTime = time.Minute

// patient is an answer that may take as long as it takes, while the client
// keeps reading.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func patience(w http.ResponseWriter) *patient {
	return &patient{w, http.NewResponseController(w)}
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(patientTime)) // what can't have one needs none
	return p.ResponseWriter.Write(b)
}

// exportCertificates sends all that a query selects as one document. An export
// that fails on its way is cut, so that nobody takes it for whole.
func (a *api) exportCertificates(w http.ResponseWriter, r *http.Request) {
	query, err := a.certificateQuery(r, "format")
	format := r.FormValue("format")
	write, contentType := exporter(format)
	if err == nil && write == nil {
		err = failure.New(failure.Malformed, "there is no format %.20q; use json, jsonl or csv", format)
	}
	if err != nil {
		writeError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Disposition", `attachment; filename="certificates.`+strings.ToLower(format)+`"`)
	buffer := bufio.NewWriterSize(patience(w), 64<<10)
	err = write(buffer, func(yield func(Certificate, error) bool) {
		err := a.each(r.Context(), query, func(found []store.Certificate) error {
			for i := range found {
				if !yield(viewCertificate(&found[i], query.Now), nil) {
					return io.ErrShortWrite
				}
			}
			return nil
		})
		if err != nil {
			yield(Certificate{}, err)
		}
	})
	if err == nil {
		err = buffer.Flush()
	}
	if err != nil {
		observe.Add(r.Context(), "error", err.Error())
		panic(http.ErrAbortHandler)
	}
}

// exporter is how a format is written; nil for one that there is not.
func exporter(format string) (write func(io.Writer, iter.Seq2[Certificate, error]) error, contentType string) {
	switch format {
	case "", "json":
		return WriteArray[Certificate], "application/json"
	case "jsonl":
		return writeLines, "application/jsonl"
	case "csv":
		return WriteCSV, "text/csv; charset=utf-8"
	default:
		return nil, ""
	}
}

// WriteArray writes a listing as one JSON array, one item at a time.
func WriteArray[T any](w io.Writer, items iter.Seq2[T, error]) error {
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
	end := "\n]\n"
	if separator == "[" {
		end = "[]\n"
	}
	_, err := io.WriteString(w, end)
	return err
}

func writeLines(w io.Writer, items iter.Seq2[Certificate, error]) error {
	encoder := json.NewEncoder(w)
	for item, err := range items {
		if err == nil {
			err = encoder.Encode(item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteCSV writes certificates as RFC 4180 has it, with a header line.
func WriteCSV(w io.Writer, items iter.Seq2[Certificate, error]) error {
	table := csv.NewWriter(w)
	_ = table.Write([]string{ // an error is kept for the end
		"serial", "issuer", "status", "names", "subject", "profile", "requester", "account", "issued",
		"not_before", "not_after", "revoked_at", "reason", "fingerprint", "key_hash", "service", "replaces",
	})
	moment := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	for c, err := range items {
		if err != nil {
			return err
		}
		revoked := ""
		if c.RevokedAt != nil {
			revoked = moment(*c.RevokedAt)
		}
		row := []string{
			c.Serial, c.Issuer, c.Status, strings.Join(c.Names, " "), c.Subject, c.Profile, c.Requester, c.Account, moment(c.Issued),
			moment(c.NotBefore), moment(c.NotAfter), revoked, c.Reason, c.Fingerprint, c.KeyHash, c.Service, c.Replaces,
		}
		for i := range row {
			row[i] = plainCell(row[i])
		}
		if err := table.Write(row); err != nil {
			return fmt.Errorf("couldn't write: %w", err)
		}
	}
	table.Flush()
	return table.Error()
}

// plainCell keeps spreadsheets from taking a text for a formula.
func plainCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
