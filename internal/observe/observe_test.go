package observe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/observe"
)

// lines are what was logged, as JSON.
type lines struct {
	mu     sync.Mutex
	buffer bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

// all returns the lines with that message.
func (l *lines) all(t *testing.T, message string) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range bytes.Lines(l.buffer.Bytes()) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if fields["msg"] == message {
			found = append(found, fields)
		}
	}
	return found
}

// serve serves one handler wrapped in Requests; the server is closed, and with
// it every line written, when the returned function is called.
func serve(t *testing.T, handler http.HandlerFunc) (*httptest.Server, *lines, *observe.Metrics) {
	t.Helper()
	written, metrics := &lines{}, observe.NewMetrics()
	log, err := observe.NewLogger(written, "json", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	requests := &observe.Requests{Log: log, Metrics: metrics, Quiet: []string{"healthz"}}
	server := httptest.NewServer(requests.Wrap(handler))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(server.Close)
	return server, written, metrics
}

func TestRequestLine(t *testing.T) {
	server, written, metrics := serve(t, func(w http.ResponseWriter, r *http.Request) {
		observe.SetResource(r.Context(), "order/{id}")
		observe.Add(r.Context(), "account", "a1")
		observe.Add(r.Context(), "account", "a2")
		observe.Add(r.Context(), "order", "")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "made")
	})
	answer, err := http.Post(server.URL+"/acme/order/1", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	server.Close()
	found := written.all(t, "request")
	if len(found) != 1 {
		t.Fatalf("%d lines", len(found))
	}
	line := found[0]
	for key, want := range map[string]any{
		"method": "POST", "resource": "order/{id}", "status": 201.0, "account": "a2", "remote": "127.0.0.1", "order": nil,
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	if _, ok := line["duration_ms"].(float64); !ok {
		t.Errorf("duration_ms is %v", line["duration_ms"])
	}
	if text := scrape(t, metrics); !strings.Contains(text, `chancery_requests_total{resource="order/{id}",status="201"} 1`) {
		t.Errorf("metrics:\n%s", text)
	}
}

func TestHealthIsQuiet(t *testing.T) {
	server, written, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		observe.SetResource(r.Context(), "healthz")
	})
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	server.Close()
	if found := written.all(t, "request"); found != nil {
		t.Errorf("logged %v", found)
	}
}

func TestAPanicIsAnswered(t *testing.T) {
	server, written, _ := serve(t, func(http.ResponseWriter, *http.Request) { panic("oh") })
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != 500 || answer.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(string(body), "oh") {
		t.Errorf("%s %s", answer.Status, body)
	}
	if found := written.all(t, "a handler panicked"); len(found) != 1 || !strings.Contains(found[0]["stack"].(string), "observe_test") {
		t.Errorf("logged %v", found)
	}
}

// Half an answer must not look like a whole one.
func TestAPanicAmidAnAnswerCutsIt(t *testing.T) {
	server, written, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
		panic(errors.New("oh"))
	})
	answer, err := http.Get(server.URL)
	if err == nil {
		_, err = io.ReadAll(answer.Body)
		_ = answer.Body.Close()
	}
	if err == nil {
		t.Error("the answer looks whole")
	}
	server.Close()
	if found := written.all(t, "request"); len(found) != 1 || found[0]["status"] != 599.0 || found[0]["level"] != "ERROR" {
		t.Errorf("logged %v", found)
	}
}

func TestAudit(t *testing.T) {
	written := &lines{}
	log, err := observe.NewLogger(written, "json", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	observe.NewAuditor(log).Audit(t.Context(), "certificate.revoked", slog.String("serial", "01"))
	if found := written.all(t, "audit"); len(found) != 1 || found[0]["action"] != "certificate.revoked" || found[0]["serial"] != "01" {
		t.Errorf("logged %v", found)
	}
	if _, err := observe.NewLogger(written, "xml", slog.LevelInfo); err == nil {
		t.Error("the format xml is accepted")
	}
}

func TestMetrics(t *testing.T) {
	m := observe.NewMetrics()
	m.Issued("tls-server", "issued")
	m.Validated("http-01", "connection", 20*time.Millisecond)
	m.Queue("store", func() int { return 7 })
	m.Expiry("root", time.Unix(1e9, 0))
	text := scrape(t, m)
	for _, want := range []string{
		`chancery_issuances_total{outcome="issued",profile="tls-server"} 1`,
		`chancery_validation_seconds_bucket{method="http-01",outcome="connection",le="0.01"} 0`,
		`chancery_validation_seconds_bucket{method="http-01",outcome="connection",le="0.03"} 1`,
		`chancery_queue_length{queue="store"} 7`,
		`chancery_ca_certificate_expiry_timestamp_seconds{certificate="root"} 1e+09`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	var none *observe.Metrics // keeps nothing, and does not panic
	none.Issued("a", "b")
	none.Validated("a", "b", 0)
	none.Queue("a", nil)
	none.Expiry("a", time.Time{})
	if observe.Store(nil, none) != nil {
		t.Error("a store without metrics is wrapped")
	}
}

func scrape(t *testing.T, m *observe.Metrics) string {
	t.Helper()
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// What logging and counting add to every request.
func BenchmarkRequests(b *testing.B) {
	log, err := observe.NewLogger(io.Discard, "json", slog.LevelInfo)
	if err != nil {
		b.Fatal(err)
	}
	requests := &observe.Requests{Log: log, Metrics: observe.NewMetrics()}
	handler := requests.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observe.SetResource(r.Context(), "order/{id}")
		observe.Add(r.Context(), "account", "06m156h8iskoqkd1uodn4knago03a3n3")
		w.WriteHeader(http.StatusOK)
	}))
	request := httptest.NewRequest(http.MethodPost, "/acme/order/1", nil)
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(nopWriter{}, request)
	}
}

type nopWriter struct{}

func (nopWriter) Header() http.Header         { return nil }
func (nopWriter) Write(p []byte) (int, error) { return len(p), nil }
func (nopWriter) WriteHeader(int)             {}
