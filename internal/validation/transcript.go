package validation

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"chancery/internal/failure"
)

// Bounds of a transcript. A hostile answer can fill it, never grow it.
const (
	maxSteps   = 100
	maxText    = 300 // bytes of one text
	maxAnswers = 20  // records listed of one DNS answer
	maxAnswer  = 100 // bytes of one record
)

// Transcript tells what an attempt did, in order. It holds DNS answers, for
// operators need them, but nothing of a fetched page beyond its status and
// length.
type Transcript struct {
	Steps   []Step `json:"steps"`
	Omitted int    `json:"omitted,omitempty"` // steps left out because there were too many
	Outcome string `json:"outcome"`           // one or two sentences
}

// Step is one thing the attempt did and what came of it. Texts are printable
// and at most 300 bytes long; fields that don't apply are empty.
type Step struct {
	Millis   int64    `json:"ms"`     // since the attempt began, when the step ended
	Action   string   `json:"action"` // lookup, connect, request, redirect, handshake, compare
	Name     string   `json:"name,omitempty"`
	Type     string   `json:"type,omitempty"`    // of DNS record
	Server   string   `json:"server,omitempty"`  // the resolver, or the address and port dialed
	Answers  []string `json:"answers,omitempty"` // DNS records, or the names in a TLS certificate
	URL      string   `json:"url,omitempty"`
	TLS      string   `json:"tls,omitempty"`  // protocol version
	ALPN     string   `json:"alpn,omitempty"` // protocol agreed on
	Status   int      `json:"status,omitempty"`
	Length   int      `json:"length,omitempty"` // bytes of body read
	Expected string   `json:"expected,omitempty"`
	Found    string   `json:"found,omitempty"`
	Outcome  string   `json:"outcome"` // "ok", a DNS response code, or what went wrong
}

// Summary is one or two sentences: what was looked at, what was expected and
// found, and the remedy.
func (t Transcript) Summary() string { return t.Outcome }

// String is the transcript for people, a line for each step.
func (t Transcript) String() string {
	var b strings.Builder
	for _, step := range t.Steps {
		fmt.Fprintf(&b, "%6d ms  %s\n", step.Millis, step)
	}
	if t.Omitted > 0 {
		fmt.Fprintf(&b, "           … and %d more steps\n", t.Omitted)
	}
	return b.String() + t.Outcome + "\n"
}

// String is the step on one line.
func (s Step) String() string {
	parts := []string{s.Action}
	add := func(label, value string) {
		if value != "" {
			parts = append(parts, label+value)
		}
	}
	add("", s.Type)
	add("", s.Name)
	add("", s.URL)
	add("at ", s.Server)
	add("", s.TLS)
	add("ALPN ", s.ALPN)
	if s.Status != 0 {
		add("", fmt.Sprintf("status %d, %d bytes", s.Status, s.Length))
	}
	add("expected ", s.Expected)
	add("found ", s.Found)
	line := strings.Join(parts, " ") + ": " + s.Outcome
	if len(s.Answers) > 0 {
		line += " [" + strings.Join(s.Answers, ", ") + "]"
	}
	return line
}

// log writes a transcript. One goroutine owns it.
type log struct {
	now        func() time.Time
	began      time.Time
	transcript Transcript
}

func newLog(now func() time.Time) *log {
	return &log{now: now, began: now(), transcript: Transcript{Steps: []Step{}}}
}

// fork makes a log for a part of the attempt that runs beside others; join
// adds what it wrote.
func (l *log) fork() *log {
	return &log{now: l.now, began: l.began}
}

func (l *log) join(part *log) {
	for _, step := range part.transcript.Steps {
		l.append(step)
	}
	l.transcript.Omitted += part.transcript.Omitted
}

// add stamps a step, bounds its texts and keeps it.
func (l *log) add(step Step) {
	step.Millis = l.now().Sub(l.began).Milliseconds()
	for _, text := range []*string{&step.Name, &step.Server, &step.URL, &step.ALPN, &step.Expected, &step.Found, &step.Outcome} {
		*text = clip(*text, maxText)
	}
	if more := len(step.Answers) - maxAnswers; more > 0 {
		step.Answers = append(step.Answers[:maxAnswers:maxAnswers], fmt.Sprintf("and %d more", more))
	}
	for i, answer := range step.Answers {
		step.Answers[i] = clip(answer, maxAnswer)
	}
	l.append(step)
}

func (l *log) append(step Step) {
	if len(l.transcript.Steps) >= maxSteps {
		l.transcript.Omitted++
		return
	}
	l.transcript.Steps = append(l.transcript.Steps, step)
}

func (l *log) finish(err *failure.Error) {
	l.transcript.Outcome = "Control of the name is proven."
	if err != nil {
		l.transcript.Outcome = err.Public
	}
}

// clip makes text from outside fit to be shown: printable, in valid UTF-8, and
// at most max bytes long.
func clip(text string, max int) string {
	plain := true
	for i := range len(text) {
		plain = plain && text[i] >= ' ' && text[i] <= '~'
	}
	if plain && len(text) <= max {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		if b.Len()+len(string(r))+len("…") > max {
			return b.String() + "…"
		}
		b.WriteRune(r)
	}
	return b.String()
}
