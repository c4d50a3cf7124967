package cli

import (
	"bytes"
	"testing"
	"time"

	"chancery/internal/acmeclient"
)

func TestProgress(t *testing.T) {
	events := []acmeclient.Event{
		{State: acmeclient.Valid, Name: "old.corp"},
		{State: acmeclient.Validating, Name: "a.corp", Method: "http-01"},
		{State: acmeclient.Valid, Name: "a.corp", Method: "http-01"},
		{State: acmeclient.Validating, Name: "b.corp", Method: "http-01"},
		{State: acmeclient.Validating, Name: "c.corp", Method: "http-01"},
		{State: acmeclient.Valid, Name: "b.corp", Method: "http-01"},
		{State: acmeclient.Invalid, Name: "c.corp", Method: "http-01"},
		{State: acmeclient.Warning, Name: "c.corp", Text: "the record stays"},
		{State: acmeclient.Warning, Text: "no window"},
	}
	for _, test := range []struct {
		terminal bool
		want     string
	}{
		{true, `old.corp is validated from before
validating a.corp by http-01 … valid
validating b.corp by http-01 … 
validating c.corp by http-01 … 
b.corp is valid
c.corp is invalid
warning: c.corp: the record stays
warning: no window
`},
		{false, `old.corp is validated from before
validating a.corp by http-01
a.corp is valid
validating b.corp by http-01
validating c.corp by http-01
b.corp is valid
c.corp is invalid
warning: c.corp: the record stays
warning: no window
`},
	} {
		var out bytes.Buffer
		p := &progress{out: &out, terminal: test.terminal}
		for _, event := range events {
			p.report(event)
		}
		if out.String() != test.want {
			t.Errorf("terminal %v:\n%s\nwant\n%s", test.terminal, out.String(), test.want)
		}
	}
}

func TestDistance(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for after, want := range map[time.Duration]string{
		90*24*time.Hour - time.Second: "in 90 days",
		49 * time.Hour:                "in 2 days",
		47 * time.Hour:                "in 47 hours",
		90 * time.Minute:              "in 90 minutes",
		-3 * 24 * time.Hour:           "3 days ago",
		0:                             "in 0 minutes",
	} {
		if got := distance(now.Add(after), now); got != want {
			t.Errorf("%v from now is %q, want %q", after, got, want)
		}
	}
}
