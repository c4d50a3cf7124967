package observe

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Fields are what handlers add to the log line of the request they serve.
type Fields struct {
	mu       sync.Mutex
	resource string      // guarded by mu
	attrs    []slog.Attr // guarded by mu; the first are left for what every line has
	space    [fixedAttrs + 7]slog.Attr
}

// fixedAttrs is how many attributes every line has.
const fixedAttrs = 5

type fieldsKey struct{}

// SetResource says what kind of thing the request is for; it sorts log lines
// and metrics, so there must be few different ones.
func SetResource(ctx context.Context, resource string) {
	if fields, ok := ctx.Value(fieldsKey{}).(*Fields); ok {
		fields.mu.Lock()
		defer fields.mu.Unlock()
		fields.resource = resource
	}
}

// Add puts a field into the log line of the request whose context this is; a
// later value of the same key replaces an earlier one. Without such a request,
// or once its line is written, it does nothing.
func Add(ctx context.Context, key, value string) {
	fields, ok := ctx.Value(fieldsKey{}).(*Fields)
	if !ok || value == "" {
		return
	}
	fields.mu.Lock()
	defer fields.mu.Unlock()
	for i := fixedAttrs; i < len(fields.attrs); i++ {
		if fields.attrs[i].Key == key {
			fields.attrs[i].Value = slog.StringValue(value)
			return
		}
	}
	fields.attrs = append(fields.attrs, slog.String(key, value))
}

// Requests wraps a handler in what every request gets: a line in the log, a
// count, and an answer even when its handler panics.
type Requests struct {
	Log     *slog.Logger
	Metrics *Metrics
	Quiet   []string // resources that are logged at the debug level only
}

// Wrap returns next with a log line, a count and a safety net around it.
func (q *Requests) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &recorder{ResponseWriter: w}
		answer.fields.resource, answer.fields.attrs = "other", answer.fields.space[:fixedAttrs]
		r = r.WithContext(context.WithValue(r.Context(), fieldsKey{}, &answer.fields))
		began := time.Now()
		defer func() {
			if cause := recover(); cause != nil {
				q.survive(answer, r, cause)
			}
			q.finish(answer, r, time.Since(began))
		}()
		next.ServeHTTP(answer, r)
	})
}

// survive answers a request whose handler panicked. The connection of a
// handler that had begun to answer is cut, as http.ErrAbortHandler asks.
func (q *Requests) survive(answer *recorder, r *http.Request, cause any) {
	err, _ := cause.(error)
	if errors.Is(err, http.ErrAbortHandler) {
		answer.status = statusAborted
		return
	}
	q.Log.LogAttrs(r.Context(), slog.LevelError, "a handler panicked",
		slog.String("path", r.URL.Path), slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
	if answer.status != 0 {
		answer.status = statusAborted
		return
	}
	answer.Header().Set("Content-Type", "application/problem+json")
	answer.WriteHeader(http.StatusInternalServerError)
	_, _ = answer.Write([]byte(`{"title":"an internal error; the server's log says more","status":500}` + "\n"))
}

// statusAborted stands in logs and metrics for an answer cut short.
const statusAborted = 599

func (q *Requests) finish(answer *recorder, r *http.Request, took time.Duration) {
	if answer.status == 0 {
		answer.status = http.StatusOK
	}
	answer.fields.mu.Lock()
	defer answer.fields.mu.Unlock()
	q.Metrics.request(answer.fields.resource, answer.status)
	level := q.level(answer.fields.resource, answer.status)
	if q.Log.Enabled(r.Context(), level) {
		attrs := line(answer, r, took)
		write(r.Context(), q.Log, level, "request", attrs[0], attrs[1:])
	}
	if answer.status == statusAborted {
		panic(http.ErrAbortHandler) // net/http then closes the connection
	}
}

func (q *Requests) level(resource string, status int) slog.Level {
	switch {
	case status >= 500 && status != http.StatusServiceUnavailable:
		return slog.LevelError
	case status == http.StatusServiceUnavailable:
		return slog.LevelWarn
	case slices.Contains(q.Quiet, resource):
		return slog.LevelDebug
	default:
		return slog.LevelInfo
	}
}

// line is what is logged of a request. The caller holds the fields' lock.
func line(answer *recorder, r *http.Request, took time.Duration) []slog.Attr {
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = "local" // a Unix socket
	}
	line := answer.fields.attrs
	copy(line, []slog.Attr{
		slog.String("method", r.Method),
		slog.String("resource", answer.fields.resource),
		slog.Int("status", answer.status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("remote", remote),
	})
	return line
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	fields Fields
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
