package acme

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Bounds of one JSON object that the gate reads. Honest messages stay far
// below them.
const (
	jwsMaxDepth   = 8
	jwsMaxMembers = 32
)

// jwsObject is a JSON object (RFC 8259) of which each member's name is there
// once, compared after unescaping and with its case.
type jwsObject struct {
	what    string // what to call it in errors
	members []jwsMember
}

// jwsMember is one member: its name, unescaped, and its value as it stands in
// the text.
type jwsMember struct{ name, value []byte }

// jwsParseObject reads text, which must be one JSON object and nothing else
// but white space. No object in it, at any depth, may name a member twice:
// readers disagree on which of the two counts. The members point into text.
// Errors wrap ErrMalformedJWS.
func jwsParseObject(what string, text []byte) (jwsObject, error) {
	if !utf8.Valid(text) {
		return jwsObject{}, jwsMalformed("%s is not UTF-8", what)
	}
	s := jwsScanner{text: text}
	if s.peek() != '{' {
		return jwsObject{}, jwsMalformed("%s is not a JSON object", what)
	}
	members, err := s.object(1)
	if err == nil && (s.peek() != 0 || s.pos < len(text)) {
		err = errors.New("something follows the end of the object")
	}
	if err != nil {
		return jwsObject{}, jwsMalformed("%s, at byte %d: %w", what, s.pos, err)
	}
	return jwsObject{what, members}, nil
}

// find returns the value of a member as it stands in the text.
func (o jwsObject) find(name string) (value []byte, found bool) {
	for _, member := range o.members {
		if string(member.name) == name {
			return member.value, true
		}
	}
	return nil, false
}

// optionalText returns the content of a string member; found is false when
// there is no such member. The error wraps ErrMalformedJWS.
func (o jwsObject) optionalText(name string) (text []byte, found bool, err error) {
	value, found := o.find(name)
	if !found {
		return nil, false, nil
	}
	if value[0] != '"' {
		return nil, true, jwsMalformed("%s: %q must be a string", o.what, name)
	}
	return jwsUnquote(value), true, nil
}

// text returns the content of a string member that must be there. The error
// wraps ErrMalformedJWS.
func (o jwsObject) text(name string) ([]byte, error) {
	text, found, err := o.optionalText(name)
	if !found {
		return nil, jwsMalformed("%s: %q is missing", o.what, name)
	}
	return text, err
}

// forbid refuses the first of names that the object has.
func (o jwsObject) forbid(names ...string) error {
	for _, name := range names {
		if _, found := o.find(name); found {
			return jwsMalformed("%s: %q is not allowed", o.what, name)
		}
	}
	return nil
}

// jwsUnquote returns the content of a JSON string that the scanner has passed.
func jwsUnquote(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var text string
	_ = json.Unmarshal(quoted, &text) // can't fail: the scanner found it valid
	return []byte(text)
}

// jwsScanner walks JSON text once, from front to back. It allocates only the
// lists of members, which makes it several times faster than encoding/json.
type jwsScanner struct {
	text []byte
	pos  int
}

// peek skips white space and returns the byte that follows, 0 at the end.
func (s *jwsScanner) peek() byte {
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// object reads an object at the given depth, of which peek has seen the brace.
func (s *jwsScanner) object(depth int) ([]jwsMember, error) {
	members := make([]jwsMember, 0, 8)
	more, err := s.open('}', depth)
	for more {
		if len(members) == jwsMaxMembers {
			return nil, fmt.Errorf("an object has more than %d members", jwsMaxMembers)
		}
		var member jwsMember
		if member, err = s.member(depth); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(members, func(m jwsMember) bool { return bytes.Equal(m.name, member.name) }) {
			return nil, fmt.Errorf("%.40q is there twice", member.name)
		}
		members = append(members, member)
		more, err = s.next('}')
	}
	return members, err
}

// array reads an array at the given depth, of which peek has seen the bracket.
func (s *jwsScanner) array(depth int) error {
	more, err := s.open(']', depth)
	for more {
		if err = s.value(depth); err != nil {
			return err
		}
		more, err = s.next(']')
	}
	return err
}

// open passes an opening brace or bracket, and says whether something is in it.
func (s *jwsScanner) open(end byte, depth int) (more bool, err error) {
	if depth > jwsMaxDepth {
		return false, fmt.Errorf("values are nested more than %d deep", jwsMaxDepth)
	}
	s.pos++
	if s.peek() == end {
		s.pos++
		return false, nil
	}
	return true, nil
}

// next passes a comma or end, and says whether it was a comma.
func (s *jwsScanner) next(end byte) (more bool, err error) {
	switch c := s.peek(); c {
	case ',', end:
		s.pos++
		return c == ',', nil
	default:
		return false, fmt.Errorf("expected ',' or '%c'", end)
	}
}

// member reads a name, a colon and a value.
func (s *jwsScanner) member(depth int) (jwsMember, error) {
	if s.peek() != '"' {
		return jwsMember{}, errors.New("expected a member's name")
	}
	quoted, err := s.quoted()
	if err != nil {
		return jwsMember{}, err
	}
	if s.peek() != ':' {
		return jwsMember{}, errors.New("expected ':'")
	}
	s.pos++
	s.peek()
	start := s.pos
	if err := s.value(depth); err != nil {
		return jwsMember{}, err
	}
	return jwsMember{jwsUnquote(quoted), s.text[start:s.pos]}, nil
}

// value passes any JSON value inside an object or array of the given depth.
func (s *jwsScanner) value(depth int) error {
	switch s.peek() {
	case '"':
		_, err := s.quoted()
		return err
	case '{':
		_, err := s.object(depth + 1)
		return err
	case '[':
		return s.array(depth + 1)
	}
	rest := s.text[s.pos:]
	if end := bytes.IndexAny(rest, ",]} \t\r\n"); end >= 0 {
		rest = rest[:end]
	}
	if !json.Valid(rest) {
		return errors.New("expected a value")
	}
	s.pos += len(rest)
	return nil
}

// quoted passes a string, of which peek has seen the quote, and returns it
// with both quotes.
func (s *jwsScanner) quoted() ([]byte, error) {
	start := s.pos
	escapes := false
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			quoted := s.text[start:s.pos]
			if escapes && !json.Valid(quoted) {
				return nil, errors.New("a string has a bad escape")
			}
			return quoted, nil
		case c == '\\':
			escapes = true
			s.pos++
		case c < ' ':
			return nil, errors.New("a string has a control character")
		}
	}
	s.pos = len(s.text) // a backslash at the end has led beyond it
	return nil, errors.New("a string has no end")
}
