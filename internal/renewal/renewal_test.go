package renewal

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParse(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		body, retry string
		want        Window // zero for refused
	}{
		{`{"suggestedWindow":{"start":"2026-05-02T00:00:00Z","end":"2026-05-03T00:00:00Z"},"explanationURL":"https://a.example/"}`, "21600",
			Window{now.Add(12 * time.Hour), now.Add(36 * time.Hour), 6 * time.Hour, "https://a.example/"}},
		{`{"suggestedWindow":{"start":"2026-05-02T00:00:00Z","end":"2026-05-03T00:00:00Z"}}`, "Fri, 01 May 2026 13:00:00 GMT",
			Window{now.Add(12 * time.Hour), now.Add(36 * time.Hour), time.Hour, ""}},
		{`{"suggestedWindow":{"start":"2026-05-02T00:00:00Z","end":"2026-05-03T00:00:00Z"}}`, "soon",
			Window{now.Add(12 * time.Hour), now.Add(36 * time.Hour), 0, ""}},
		{`{"suggestedWindow":{"start":"2026-05-03T00:00:00Z","end":"2026-05-02T00:00:00Z"}}`, "", Window{}},
		{`{}`, "", Window{}},
		{`<html>`, "", Window{}},
		{`{"suggestedWindow":{"start":"` + strings.Repeat("2", MaxInfo) + `"}}`, "", Window{}},
	} {
		got, err := Parse(http.Header{"Retry-After": {test.retry}}, strings.NewReader(test.body), now)
		if (err != nil) != (test.want == Window{}) || got != test.want {
			t.Errorf("%.80s: %+v, %v", test.body, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("10", `{"suggestedWindow":{"start":"2026-05-02T00:00:00Z","end":"2026-05-03T00:00:00Z"}}`)
	f.Add("-9223372036854775808", `{"suggestedWindow":{}}`)
	f.Fuzz(func(t *testing.T, retry, body string) {
		w, err := Parse(http.Header{"Retry-After": {retry}}, strings.NewReader(body), time.Now())
		if err == nil && (w.RetryAfter < 0 || !w.End.After(w.Start)) {
			t.Errorf("accepted %+v", w)
		}
	})
}

// The example of RFC 9773 §4.1.
func TestCertID(t *testing.T) {
	c := &x509.Certificate{
		SerialNumber:   big.NewInt(0x8765432100 >> 8),
		AuthorityKeyId: []byte{0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C, 0xDE, 0x01, 0xC8, 0xD4},
	}
	if got := CertID(c); got != "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" {
		t.Errorf("it is %s", got)
	}
	if got := CertID(&x509.Certificate{SerialNumber: big.NewInt(1)}); got != "" {
		t.Errorf("without a key identifier it is %s", got)
	}
}

// subject is a certificate of which the test says how its server behaves.
type subject struct {
	lifetime time.Duration
	current  *x509.Certificate
	window   func(*x509.Certificate) (Window, error) // nil for no answer
	fail     func() error                            // what renewing gives; nil for success
	renewed  []time.Time                             // when it was tried
	asked    int
}

func (s *subject) Certificate() *x509.Certificate { return s.current }

func (s *subject) Window(_ context.Context, c *x509.Certificate) (Window, error) {
	s.asked++
	if s.window == nil {
		return Window{}, io.ErrUnexpectedEOF
	}
	return s.window(c)
}

func (s *subject) Renew(context.Context) error {
	s.renewed = append(s.renewed, time.Now())
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return err
		}
	}
	s.issue()
	return nil
}

func (s *subject) issue() {
	s.current = &x509.Certificate{NotBefore: time.Now(), NotAfter: time.Now().Add(s.lifetime)}
}

// keep runs a loop for a time.
func keep(t *testing.T, s *subject, length time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	loop := &Loop{Subject: s, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Rand: rand.Reader}
	loop.Run(ctx)
}

const day = 24 * time.Hour

func TestRenewsInTheWindow(t *testing.T) {
	early := func(c *x509.Certificate) (Window, error) {
		return Window{Start: c.NotBefore.Add(10 * day), End: c.NotBefore.Add(12 * day), RetryAfter: 6 * time.Hour}, nil
	}
	useless := func(c *x509.Certificate) (Window, error) {
		return Window{Start: c.NotAfter.Add(day), End: c.NotAfter.Add(2 * day)}, nil
	}
	for name, test := range map[string]struct {
		window   func(*x509.Certificate) (Window, error)
		from, to time.Duration
	}{
		"of the server":         {early, 10 * day, 12 * day},
		"none":                  {nil, 59 * day, 61 * day},
		"after the certificate": {useless, 59 * day, 61 * day},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &subject{lifetime: 90 * day, window: test.window}
			s.issue()
			begin := time.Now()
			keep(t, s, test.to)
			if len(s.renewed) != 1 || s.renewed[0].Sub(begin) < test.from {
				t.Errorf("%s: renewed at %v, began at %v", name, s.renewed, begin)
			}
		})
	}
}

// Windows that move, as after a revocation, are noticed when Retry-After has
// passed.
func TestNoticesThatTheWindowMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := &subject{lifetime: 90 * day}
		s.window = func(c *x509.Certificate) (Window, error) {
			w := Default(c)
			if c.NotBefore.Equal(begin) && time.Since(begin) > 30*time.Hour {
				w.Start, w.End = begin.Add(-2*time.Hour), begin.Add(-time.Hour)
			}
			w.RetryAfter = 6 * time.Hour
			return w, nil
		}
		s.issue()
		keep(t, s, 5*day)
		if len(s.renewed) != 1 || s.renewed[0].Sub(begin) > 37*time.Hour {
			t.Errorf("renewed at %v", s.renewed)
		}
		if s.asked > 25 {
			t.Errorf("asked %d times in five days", s.asked)
		}
	})
}

type overloaded struct{ error }

func (overloaded) RetryAfter() time.Duration { return 3 * time.Hour }

func TestTriesAgainWithPauses(t *testing.T) {
	for name, test := range map[string]struct {
		lifetime    time.Duration
		err         error
		least, most int // times in the last third
	}{
		"long-lived":          {90 * day, errors.New("down"), 500, 730},
		"short-lived":         {time.Hour, errors.New("down"), 5, 15},
		"the server is tired": {90 * day, overloaded{errors.New("down")}, 200, 250},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &subject{lifetime: test.lifetime, fail: func() error { return test.err }}
			s.issue()
			keep(t, s, test.lifetime)
			if n := len(s.renewed); n < test.least || n > test.most {
				t.Errorf("%s: tried %d times", name, n)
			}
		})
	}
}

// What somebody else is in the way of is tried again within a minute, however
// often; a server that doesn't answer is asked less and less often.
func TestAsksAgain(t *testing.T) {
	busy, down := &Passing{errors.New("busy")}, errors.New("down")
	for name, test := range map[string]struct {
		err         error
		least, most int // questions in an hour
	}{
		"busy": {busy, 60, 62},
		"down": {down, 5, 7},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &subject{lifetime: 90 * day, window: func(*x509.Certificate) (Window, error) { return Window{}, test.err }}
			s.issue()
			keep(t, s, time.Hour)
			if s.asked < test.least || s.asked > test.most {
				t.Errorf("%s: asked %d times", name, s.asked)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &subject{lifetime: 90 * day, fail: func() error { return busy }}
		keep(t, s, time.Hour) // there is none yet
		if n := len(s.renewed); n < 55 || n > 62 {
			t.Errorf("tried %d times", n)
		}
	})
}

func TestRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &subject{lifetime: time.Hour}
		s.fail = func() error {
			if len(s.renewed) < 4 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		keep(t, s, 10*time.Minute) // there is none at first
		if s.current == nil || len(s.renewed) != 4 {
			t.Errorf("tried %d times", len(s.renewed))
		}
	})
}

// A server whose windows are always past is not hammered.
func TestPausesAfterARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &subject{lifetime: day}
		s.window = func(c *x509.Certificate) (Window, error) {
			return Window{Start: c.NotBefore.Add(-2 * time.Hour), End: c.NotBefore.Add(-time.Hour)}, nil
		}
		s.issue()
		keep(t, s, time.Hour)
		if n := len(s.renewed); n > 61 {
			t.Errorf("renewed %d times in an hour", n)
		}
	})
}

func TestPicksSpread(t *testing.T) {
	w := Window{Start: time.Unix(1000, 0), End: time.Unix(2000, 0)}
	var low, high int
	for range 200 {
		switch at := w.pick(rand.Reader); {
		case at.Before(w.Start) || at.After(w.End):
			t.Fatalf("picked %v", at)
		case at.Before(time.Unix(1500, 0)):
			low++
		default:
			high++
		}
	}
	if low < 50 || high < 50 {
		t.Errorf("%d in the first half, %d in the second", low, high)
	}
	if at := w.pick(bytes.NewReader(nil)); !at.Equal(time.Unix(1500, 0)) {
		t.Errorf("without randomness picked %v", at)
	}
}
