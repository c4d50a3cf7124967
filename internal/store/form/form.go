// Package form says how the engines of the store write down what they keep, as
// far as that is the same in all of them: texts, times and names, and what a
// query asks of them. It knows no SQL, keeps nothing, and decides nothing. What
// it gives is in databases: it can't change without a migration.
package form

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// Text is the JSON text of a value, "" for a nil pointer.
func Text[T any](value *T) (string, error) {
	if value == nil {
		return "", nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// List is the JSON text of a list, "" for an empty one.
func List[T any](list []T) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	return Text(&list)
}

// End is the JSON text of the report that ends a record. A missing one becomes
// one that says nothing: the record must end all the same.
func End(report *failure.Report) (string, error) {
	if report == nil {
		report = failure.ReportOf(nil)
	}
	return Text(report)
}

// Attempts is the text of an authorization's attempts: with commas between, so
// that one is appended without reading the others.
func Attempts(list []store.Attempt) (string, error) {
	text, err := List(list)
	return strings.Trim(text, "[]"), err
}

// Millis is a time as milliseconds since 1970, 0 for the zero time.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Time is the time that Millis gave, in UTC.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Due is a time at which an attempt can be due: what is processing is told by
// its having one, so zero, which is none, becomes the earliest there is.
func Due(next time.Time) time.Time {
	if next.IsZero() {
		return time.UnixMilli(1)
	}
	return next
}

// Hash is a hash, or nothing for one that is not known.
func Hash(hash [32]byte) []byte {
	if hash == ([32]byte{}) {
		return nil
	}
	return hash[:]
}

// Key is the name of a certificate, "" and nothing for none.
func Key(key *store.CertificateKey) (issuerID string, serial []byte) {
	if key == nil {
		return "", nil
	}
	return key.IssuerID, key.Serial[:]
}

// Migrations are the names of the files in the folder "migrations": the
// numbered steps from nothing to today's schema, in order, the first one that
// of version 1.
func Migrations(files fs.FS) ([]string, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	slices.Sort(names)
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("migrations/%04d", i+1)) {
			return nil, fmt.Errorf("migration %s is not number %d", name, i+1)
		}
	}
	return names, err
}
