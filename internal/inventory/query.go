// Package inventory is the one form in which people ask for certificates and
// services: the command line's flags, the API's parameters, the pages' searches
// and the queries of incidents are all a Query. It promises that a query which
// it accepts selects what it says and nothing beside it, and that what it does
// not understand is refused. It reads no store itself.
package inventory

import (
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	"chancery/internal/duration"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/policy"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// Query selects certificates; the zero value selects all. Every field that is
// set must hold.
type Query struct {
	Name          string    `json:"name,omitempty"`        // a name, or a pattern: *.d for one label before d, **.d for any depth
	Contains      string    `json:"contains,omitempty"`    // part of a name, three characters at least
	Serial        string    `json:"serial,omitempty"`      // hexadecimal, in any form
	Fingerprint   string    `json:"fingerprint,omitempty"` // SHA-256 of the certificate, hexadecimal
	KeyHash       string    `json:"key_hash,omitempty"`    // SHA-256 of its SubjectPublicKeyInfo, hexadecimal
	Account       string    `json:"account,omitempty"`     // id of the ACME account
	Requester     string    `json:"requester,omitempty"`   // as in certificates, or a beginning of it that ends in ":" or "/"
	Subject       string    `json:"subject,omitempty"`     // as in certificates
	Profile       string    `json:"profile,omitempty"`
	Issuer        string    `json:"issuer,omitempty"`   // id of the issuer
	Service       string    `json:"service,omitempty"`  // id of the service
	Replaces      string    `json:"replaces,omitempty"` // ISSUER:SERIAL of what it was issued in place of
	IssuedAfter   time.Time `json:"issued_after,omitzero"`
	IssuedBefore  time.Time `json:"issued_before,omitzero"`
	ExpiresAfter  time.Time `json:"expires_after,omitzero"`
	ExpiresBefore time.Time `json:"expires_before,omitzero"`
	RevokedAfter  time.Time `json:"revoked_after,omitzero"`
	RevokedBefore time.Time `json:"revoked_before,omitzero"`
	Status        string    `json:"status,omitempty"` // valid, expired, revoked or abandoned
}

// IsZero reports whether the query selects everything.
func (q Query) IsZero() bool { return q == Query{} }

// parameter is a field of a query as a URL has it: a text or a time.
type parameter struct {
	name   string
	text   *string
	moment *time.Time
}

func (q *Query) parameters() []parameter {
	return []parameter{
		{"name", &q.Name, nil}, {"contains", &q.Contains, nil}, {"serial", &q.Serial, nil},
		{"fingerprint", &q.Fingerprint, nil}, {"key_hash", &q.KeyHash, nil}, {"account", &q.Account, nil},
		{"requester", &q.Requester, nil}, {"subject", &q.Subject, nil}, {"profile", &q.Profile, nil},
		{"issuer", &q.Issuer, nil}, {"service", &q.Service, nil}, {"replaces", &q.Replaces, nil},
		{"issued_after", nil, &q.IssuedAfter}, {"issued_before", nil, &q.IssuedBefore},
		{"expires_after", nil, &q.ExpiresAfter}, {"expires_before", nil, &q.ExpiresBefore},
		{"revoked_after", nil, &q.RevokedAfter}, {"revoked_before", nil, &q.RevokedBefore},
		{"status", &q.Status, nil},
	}
}

// Values is the query as parameters of a URL.
func (q Query) Values() url.Values { return encode(q.parameters()) }

// Parse reads a query from parameters of a URL. Times are as in ParseTime.
// Parameters that it does not know are refused, but for those of known: a
// mistyped one would select more than was meant.
func Parse(values url.Values, now time.Time, known ...string) (q Query, err error) {
	err = decode(values, q.parameters(), now, known)
	return q, err
}

func encode(parameters []parameter) url.Values {
	values := url.Values{}
	for _, p := range parameters {
		switch {
		case p.text != nil && *p.text != "":
			values.Set(p.name, *p.text)
		case p.moment != nil && !p.moment.IsZero():
			values.Set(p.name, p.moment.UTC().Format(time.RFC3339Nano))
		}
	}
	return values
}

func decode(values url.Values, parameters []parameter, now time.Time, known []string) (err error) {
	byName := map[string]parameter{}
	for _, p := range parameters {
		byName[p.name] = p
	}
	for _, name := range known {
		byName[name] = parameter{}
	}
	for name := range values {
		p, found := byName[name]
		text := values.Get(name)
		switch {
		case !found:
			return failure.New(failure.Malformed, "there is no parameter %.40q", name)
		case len(values[name]) > 1:
			return failure.New(failure.Malformed, "the parameter %q is there %d times; give it once", name, len(values[name]))
		case p.text != nil:
			*p.text = text
		case p.moment != nil && text != "":
			if *p.moment, err = ParseTime(text, now); err != nil {
				return failure.New(failure.Malformed, "%s: %v", name, err)
			}
		}
	}
	return nil
}

// ParseTime reads a moment: RFC 3339, a date (at midnight UTC), or a span from
// now on, as in 30d, or back, as in -7d. The zero time is none: in a query it
// would ask for nothing.
func ParseTime(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && !t.IsZero() {
			return t, nil
		}
	}
	span, back := strings.CutPrefix(text, "-")
	d, err := duration.Parse(span)
	switch {
	case err != nil:
		return time.Time{}, failure.New(failure.Malformed,
			"%.40q is no time; write 2027-01-31, 2027-01-31T12:00:00Z, 30d for thirty days from now, or -30d for thirty days ago", text)
	case back:
		return now.Add(-d.Std()), nil
	default:
		return now.Add(d.Std()), nil
	}
}

// Select is the query as the store takes it, judged at now. The error says
// which field cannot be meant.
func (q Query) Select(now time.Time) (store.CertificateQuery, error) {
	s := store.CertificateQuery{
		ServiceID: q.Service, AccountID: q.Account, Requester: q.Requester, Subject: q.Subject,
		Profile: q.Profile, IssuerID: strings.ToLower(q.Issuer), Status: store.CertificateStatus(q.Status),
		IssuedAfter: q.IssuedAfter, IssuedBefore: q.IssuedBefore, ExpiresAfter: q.ExpiresAfter,
		ExpiresBefore: q.ExpiresBefore, RevokedAfter: q.RevokedAfter, RevokedBefore: q.RevokedBefore, Now: now,
	}
	switch s.Status {
	case "", store.CertificateGood, store.CertificateExpired, store.CertificateRevoked, store.CertificateAbandoned:
	default:
		return s, failure.New(failure.Malformed, "there is no status %.40q; use valid, expired, revoked or abandoned", q.Status)
	}
	var err error
	if s.Name, s.NamePattern, err = selectName(q.Name); err != nil {
		return s, err
	}
	if s.NamePart, err = selectPart(q.Contains); err != nil {
		return s, err
	}
	if s.Fingerprint, err = parseHash("fingerprint", q.Fingerprint); err != nil {
		return s, err
	}
	if s.KeyHash, err = parseHash("key hash", q.KeyHash); err != nil {
		return s, err
	}
	if q.Serial != "" {
		number, err := serial.Parse(q.Serial)
		if err != nil {
			return s, failure.New(failure.Malformed, "%v", err)
		}
		s.Serial = &number
	}
	if q.Replaces != "" {
		s.Replaces, err = ParseKey(q.Replaces)
	}
	return s, err
}

// selectName tells names from patterns.
func selectName(text string) (name, pattern string, err error) {
	switch {
	case text == "":
		return "", "", nil
	case strings.HasPrefix(text, "*"):
		parsed, err := policy.ParsePattern(text)
		if err != nil {
			return "", "", failure.New(failure.Malformed, "%v", err)
		}
		return "", parsed.String(), nil
	}
	id, err := identifier.ParseText(text)
	if err != nil {
		return "", "", failure.New(failure.Malformed, "the name %.80q is not well formed: %v", text, err)
	}
	return id.Value, "", nil
}

// shortestPart is the shortest part of a name that an index can find.
const shortestPart = 3

func selectPart(text string) (string, error) {
	if text != "" && len(text) < shortestPart {
		return "", failure.New(failure.Malformed, "%q is too short a part of a name; give %d characters or more", text, shortestPart)
	}
	return strings.ToLower(text), nil
}

func parseHash(what, text string) (*[32]byte, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // a field that is not set
	}
	hash, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(hash) != 32 {
		return nil, failure.New(failure.Malformed, "the %s %.80q is no SHA-256 in hexadecimal, which has 64 digits", what, text)
	}
	return (*[32]byte)(hash), nil
}

// ParseKey reads a certificate's issuer and serial, ISSUER:SERIAL.
func ParseKey(text string) (*store.CertificateKey, error) {
	issuer, number, _ := strings.Cut(text, ":")
	parsed, err := serial.Parse(number)
	if err != nil || issuer == "" {
		return nil, failure.New(failure.Malformed, "%.80q is no ISSUER:SERIAL", text)
	}
	return &store.CertificateKey{IssuerID: issuer, Serial: parsed}, nil
}

// FormatKey writes what ParseKey reads.
func FormatKey(key store.CertificateKey) string { return key.IssuerID + ":" + key.Serial.String() }
