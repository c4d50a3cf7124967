package cloudkms

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/keyhelper/wire"
)

// service answers with one status after the other, and then with the last.
type service struct {
	statuses []int

	mu    sync.Mutex
	asked []string // the Authorization of each request; guarded by mu
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Header.Get("Authorization"))
	status := s.statuses[min(len(s.asked), len(s.statuses))-1]
	switch {
	case status == 0:
		panic(http.ErrAbortHandler)
	case status == http.StatusFound:
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, strconv.Itoa(status))
}

func newCaller(credentials *int) *Caller[int] {
	return &Caller[int]{
		Client: NewClient(true),
		Credentials: &Cache[int]{Now: time.Now, Fetch: func(context.Context) (int, time.Time, error) {
			*credentials++
			return *credentials, time.Time{}, nil
		}},
		Authorize: func(r *http.Request, _ []byte, c int) { r.Header.Set("Authorization", strconv.Itoa(c)) },
	}
}

func accept(answer Answer) error {
	if answer.Status == http.StatusOK {
		return nil
	}
	told := wire.Errorf(Code(answer.Status), "HTTP %s", answer.Body)
	if answer.Status == http.StatusUnauthorized {
		return Stale(told)
	}
	return told
}

func TestCall(t *testing.T) {
	for _, test := range []struct {
		name     string
		statuses []int
		asked    string // the credentials of each request
		code     string // "" for success
	}{
		{"well", []int{200}, "1", ""},
		{"throttled", []int{429, 200}, "1 1", ""},
		{"down for long", []int{503, 500, 503}, "1 1 1", wire.Unavailable},
		{"refused", []int{403}, "1", wire.Refused},
		{"a redirect", []int{302}, "1", wire.Refused},
		{"stale credentials", []int{401, 200}, "1 2", ""},
		{"bad credentials", []int{401}, "1 2", wire.Refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &service{statuses: test.statuses}
			server := httptest.NewServer(s)
			defer server.Close()
			credentials := 0
			err := newCaller(&credentials).Call(t.Context(), Request{Method: http.MethodPost, URL: server.URL, Accept: accept})
			told, _ := errors.AsType[*wire.Error](err)
			if (err == nil) != (test.code == "") || err != nil && told.Code != test.code || strings.Join(s.asked, " ") != test.asked {
				t.Errorf("asked with %v: %v", s.asked, err)
			}
		})
	}
}

// TestCallEnds has services that do not answer, or too much.
func TestCallEnds(t *testing.T) {
	long := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, maxAnswer+1))
	}))
	defer long.Close()
	broken := httptest.NewServer(&service{statuses: []int{0}})
	defer broken.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	for url, want := range map[string]string{
		long.URL: "longer than", broken.URL: "EOF", gone.URL: "connection refused", silent.URL: "deadline exceeded",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		credentials := 0
		err := newCaller(&credentials).Call(ctx, Request{Method: http.MethodGet, URL: url, Accept: accept})
		told, ok := errors.AsType[*wire.Error](err)
		if !ok || told.Code != wire.Unavailable || !strings.Contains(told.Message, want) {
			t.Errorf("want %s: %v", want, err)
		}
	}
}

func TestSay(t *testing.T) {
	for text, want := range map[string]string{"a\n b\x00": "a b\x00", "\xff": "?", strings.Repeat("x", 500): strings.Repeat("x", maxMessage) + "…"} {
		if got := Say(text); got != want {
			t.Errorf("%q gives %q", text, got)
		}
	}
	told := Explain("for this", wire.Errorf(wire.Refused, "that"))
	if inner, ok := errors.AsType[*wire.Error](told); !ok || inner.Code != wire.Refused || inner.Message != "for this: that" {
		t.Errorf("%#v", told)
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("k:alias/issuing?region=eu-central-1&endpoint=https://kms.corp")
	f.Fuzz(func(t *testing.T, text string) {
		uri, err := ParseURI(text, "k", "region", "endpoint")
		if err != nil {
			return
		}
		if endpoint, err := ParseEndpoint(uri.Get("endpoint")); err == nil && endpoint.Scheme != "https" && endpoint.Scheme != "http" {
			t.Errorf("%q has the scheme %q", text, endpoint.Scheme)
		}
	})
}
