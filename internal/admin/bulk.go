package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"chancery/internal/failure"
	"chancery/internal/inventory"
	"chancery/internal/observe"
	"chancery/internal/store"
)

// BulkRevocation is the wish to revoke certificates: those of a list, or all
// that a query selects. A query that says nothing of the status selects those
// that are valid.
type BulkRevocation struct {
	Serials []string        `json:"serials,omitempty"` // or SHA-256 fingerprints; 1000 at most
	Query   inventory.Query `json:"query,omitzero"`
	Reason  string          `json:"reason,omitempty"`
	DryRun  bool            `json:"dry_run,omitempty"` // only say which
}

// BulkRevoked is the answer. It is written while certificates are being
// revoked, so that its size takes no memory; Error comes after those that were.
type BulkRevoked struct {
	AsOf         time.Time     `json:"as_of"` // when the query was judged
	DryRun       bool          `json:"dry_run"`
	Certificates []Certificate `json:"certificates"`
	Count        int           `json:"count"`
	Error        string        `json:"error,omitempty"`
}

// revocations are what a BulkRevocation comes to.
type revocations struct {
	wish   BulkRevocation
	reason int
	now    time.Time
	listed []store.Certificate    // of wish.Serials
	query  store.CertificateQuery // when nothing is listed
}

// revokeCertificates does what it shows in a dry run, by the same steps.
func (a *api) revokeCertificates(w http.ResponseWriter, r *http.Request) {
	todo, err := a.planRevocations(r)
	if err != nil {
		writeError(w, r, err)
		return
	}
	answer := &revocationWriter{patient: patience(w), asOf: todo.now, dryRun: todo.wish.DryRun}
	err = a.revokeAll(r.Context(), todo, answer.add)
	if !todo.wish.DryRun {
		a.Auditor.Audit(r.Context(), "certificates.revoked", who(r), slog.Any("query", todo.wish.Query), slog.Int("listed", len(todo.listed)),
			slog.Int("count", answer.count), slog.String("reason", reasonName(todo.reason)), slog.Bool("complete", err == nil))
	}
	if err != nil && answer.count == 0 {
		writeError(w, r, err)
		return
	}
	if err != nil {
		observe.Add(r.Context(), "error", err.Error())
	}
	answer.finish(err)
}

func (a *api) planRevocations(r *http.Request) (*revocations, error) {
	todo := &revocations{now: a.Now().UTC()}
	err := decode(r, &todo.wish)
	if err != nil {
		return nil, err
	}
	if todo.reason, err = ParseReason(todo.wish.Reason); err != nil {
		return nil, failure.New(failure.BadReason, "%v", err)
	}
	selector := todo.wish.Query
	selector.Status = ""
	switch listed := len(todo.wish.Serials) > 0; {
	case listed && !todo.wish.Query.IsZero():
		return nil, failure.New(failure.Malformed, "give serials or a query, not both")
	case listed:
		todo.listed, err = a.listed(r.Context(), todo.wish.Serials)
		return todo, err
	case selector.IsZero():
		return nil, failure.New(failure.Malformed, "the query selects everything; say which certificates are to be revoked")
	}
	if err := a.findIssuer(r.Context(), &todo.wish.Query); err != nil {
		return nil, err
	}
	if todo.query, err = todo.wish.Query.Select(todo.now); err != nil {
		return nil, err
	}
	switch todo.query.Status {
	case "":
		todo.query.Status = store.CertificateGood
	case store.CertificateRevoked, store.CertificateAbandoned:
		return nil, failure.New(failure.Malformed, "certificates with the status %s are revoked already", todo.query.Status)
	}
	return todo, nil
}

// listed finds certificates by serial or fingerprint, each once. One that is
// revoked refuses all: the list is not what the operator thinks.
func (a *api) listed(ctx context.Context, serials []string) ([]store.Certificate, error) {
	if len(serials) > batchSize {
		return nil, failure.New(failure.Malformed, "%d serials are too many; give %d at most, or a query", len(serials), batchSize)
	}
	var list []store.Certificate
	for _, text := range serials {
		found, err := a.certificate(ctx, text)
		if err != nil {
			return nil, err
		}
		if found.Revocation != nil {
			return nil, failure.New(failure.AlreadyRevoked, "the certificate %s is already revoked", found.Serial)
		}
		if !slices.ContainsFunc(list, func(c store.Certificate) bool { return c.CertificateKey == found.CertificateKey }) {
			list = append(list, found)
		}
	}
	return list, nil
}

// revokeAll calls done with the certificates that were revoked or, in a dry
// run, would be, a batch at a time.
func (a *api) revokeAll(ctx context.Context, todo *revocations, done func([]Certificate) error) error {
	batch := func(found []store.Certificate) error {
		revoked, err := a.revokeBatch(ctx, todo, found)
		if err != nil {
			return err
		}
		return done(revoked)
	}
	if todo.listed != nil {
		return batch(todo.listed)
	}
	return a.each(ctx, todo.query, batch)
}

func (a *api) revokeBatch(ctx context.Context, todo *revocations, found []store.Certificate) ([]Certificate, error) {
	keys := make([]store.CertificateKey, len(found))
	for i := range found {
		keys[i] = found[i].CertificateKey
	}
	revocation := store.Revocation{At: todo.now, Reason: todo.reason}
	if !todo.wish.DryRun {
		var err error
		if keys, err = a.Store.RevokeAll(ctx, keys, revocation); err != nil {
			return nil, failure.Wrap("revoke certificates", err)
		}
	}
	revoked := make(map[store.CertificateKey]bool, len(keys))
	for _, key := range keys {
		revoked[key] = true
	}
	views := make([]Certificate, 0, len(keys))
	for i := range found {
		if !revoked[found[i].CertificateKey] {
			continue // somebody else was quicker
		}
		if !todo.wish.DryRun {
			found[i].Revocation = &revocation
			a.auditRevocation(ctx, &found[i], todo.reason)
		}
		views = append(views, viewCertificate(&found[i], todo.now))
	}
	return views, nil
}

// revocationWriter writes a BulkRevoked piece by piece.
type revocationWriter struct {
	patient *patient
	asOf    time.Time
	dryRun  bool
	count   int
	begun   bool
}

func (w *revocationWriter) add(list []Certificate) error {
	if err := w.begin(); err != nil {
		return err
	}
	for i := range list {
		text, err := json.Marshal(&list[i])
		if err != nil {
			return failure.Wrap("encode certificate", err)
		}
		if w.count > 0 {
			text = append([]byte(",\n"), text...)
		}
		w.count++
		if _, err := w.patient.Write(text); err != nil {
			return failure.Wrap("answer", err)
		}
	}
	return nil
}

func (w *revocationWriter) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	head, err := json.Marshal(map[string]any{"as_of": w.asOf, "dry_run": w.dryRun})
	if err != nil {
		return failure.Wrap("encode answer", err)
	}
	w.patient.Header().Set("Content-Type", "application/json")
	_, err = w.patient.Write(append(head[:len(head)-1], `,"certificates":[`...))
	return failure.Wrap("answer", err)
}

func (w *revocationWriter) finish(cause error) {
	if w.begin() != nil {
		return // the client is gone
	}
	tail := struct {
		Count int    `json:"count"`
		Error string `json:"error,omitempty"`
	}{Count: w.count}
	if cause != nil {
		tail.Error = cause.Error()
	}
	text, err := json.Marshal(tail)
	if err != nil {
		return // a number and a text: it never is
	}
	text[0] = ','
	_, _ = w.patient.Write(append([]byte("]"), text...))
}

// RevokeCertificates revokes certificates, or says which it would. The list
// must be walked to its end: its last element is an error when not all of them
// were revoked. It can be walked once.
func (c *Client) RevokeCertificates(ctx context.Context, wish BulkRevocation) (asOf time.Time, list iter.Seq2[Certificate, error], err error) {
	answer, err := c.do(ctx, http.MethodPost, "/certificates/revoke", wish) //nolint:bodyclose // by who walks the list
	if err != nil {
		return asOf, nil, err
	}
	decoder := json.NewDecoder(answer.Body)
	if err := seekArray(decoder, "certificates", map[string]any{"as_of": &asOf}); err != nil {
		return asOf, nil, errors.Join(err, answer.Body.Close())
	}
	return asOf, func(yield func(Certificate, error) bool) {
		defer func() { _ = answer.Body.Close() }()
		for decoder.More() {
			var one Certificate
			err := decoder.Decode(&one)
			if err != nil {
				err = fmt.Errorf("couldn't read the server's answer; not all may be revoked: %w", err)
			}
			if !yield(one, err) || err != nil {
				return
			}
		}
		if err := readRest(decoder); err != nil {
			yield(Certificate{}, err)
		}
	}, nil
}

// seekArray reads an object up to the array of that name, and the members
// before it into values.
func seekArray(decoder *json.Decoder, name string, values map[string]any) error {
	if _, err := decoder.Token(); err != nil {
		return fmt.Errorf("couldn't read the server's answer: %w", err)
	}
	for {
		key, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("couldn't read the server's answer: %w", err)
		}
		if key == name {
			_, err := decoder.Token()
			return err
		}
		text, _ := key.(string)
		value := values[text]
		if value == nil {
			value = new(json.RawMessage)
		}
		if err := decoder.Decode(value); err != nil {
			return fmt.Errorf("couldn't read the server's answer: %w", err)
		}
	}
}

// readRest reads what follows the certificates: whether they are all.
func readRest(decoder *json.Decoder) error {
	for {
		token, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("the server's answer ends too early; not all certificates may be revoked: %w", err)
		}
		switch token {
		case json.Delim('}'):
			return nil
		case "error":
			var text string
			if err := decoder.Decode(&text); err != nil {
				return fmt.Errorf("couldn't read the server's answer: %w", err)
			}
			return fmt.Errorf("not all certificates were revoked: %s", text)
		}
	}
}
