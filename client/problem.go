package client

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Problem is what the server says when it refuses something: a problem document
// (RFC 9457). Find it in an error with errors.As.
type Problem struct {
	Type        string      `json:"type"` // "urn:chancery:error:NAME"
	Title       string      `json:"title"`
	Status      int         `json:"status"` // of HTTP
	Detail      string      `json:"detail"` // what was expected, what was found, the remedy
	Identifier  *Identifier `json:"identifier,omitempty"`
	Subproblems []Problem   `json:"subproblems,omitempty"` // one for each name that was refused

	retryAfter time.Duration
}

// Identifier is a name that a problem is about.
type Identifier struct {
	Type  string `json:"type"` // "dns", "ip", "email" or "uri"
	Value string `json:"value"`
}

const problemPrefix = "urn:chancery:error:"

// Name is the problem's type without its prefix, as in "unauthorized".
func (p *Problem) Name() string { return strings.TrimPrefix(p.Type, problemPrefix) }

// Error is the detail, the name and the subproblems.
func (p *Problem) Error() string {
	text := p.summary()
	for i := range p.Subproblems {
		part := &p.Subproblems[i]
		text += "\n  "
		if part.Identifier != nil {
			text += printable(part.Identifier.Value) + ": "
		}
		text += part.summary()
	}
	return text
}

// summary is the problem without its subproblems.
func (p *Problem) summary() string {
	text := printable(cmp.Or(p.Detail, p.Title, "the server answered "+http.StatusText(p.Status)))
	if p.Type != "" && p.Type != "about:blank" {
		text += " (" + printable(p.Name()) + ")"
	}
	return text
}

// printable takes out of a server's text what could do more to a terminal than
// be read: not every server is one that is trusted.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' {
			return r
		}
		return -1
	}, text)
}

// RetryAfter is when the server wants to be asked again; 0 when it did not say.
func (p *Problem) RetryAfter() time.Duration { return p.retryAfter }

// Error is a request that failed. It wraps the cause: a *Problem when the server
// has answered.
type Error struct {
	Op  string // as in "issue the certificate"
	Err error
}

// Error reads "couldn't OP: CAUSE".
func (e *Error) Error() string { return "couldn't " + e.Op + ": " + plain(e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// plain is an error without the layer that repeats the method and the URL.
func plain(err error) string {
	if request, ok := errors.AsType[*url.Error](err); ok {
		return request.Err.Error()
	}
	return err.Error()
}
