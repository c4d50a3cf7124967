package provisioner

import (
	"maps"
	"slices"
	"strings"

	"chancery/internal/expr"
)

// Recognizer is a Verifier that knows its tokens by what they say of
// themselves, so that requests need not name the provisioner. Nothing in the
// claims is verified yet.
type Recognizer interface {
	Recognizes(claims expr.Claims) bool
}

// Set is the provisioners that are in force together. It does not change.
type Set struct{ byName map[string]*Provisioner }

// NewSet makes a set. A provisioner that is made of the same as one in former
// is replaced by that, which may have fetched what is not to be had just now;
// former may be nil.
func NewSet(list []*Provisioner, former *Set) *Set {
	s := &Set{make(map[string]*Provisioner, len(list))}
	for _, p := range list {
		if former != nil {
			if old := former.byName[p.Name]; old != nil && old.inputs == p.inputs && old.Created.Equal(p.Created) {
				p = old
			}
		}
		s.byName[p.Name] = p
	}
	return s
}

// Get returns the provisioner of that name; nil when there is none.
func (s *Set) Get(name string) *Provisioner { return s.byName[name] }

// All are the provisioners, by name.
func (s *Set) All() []*Provisioner {
	list := make([]*Provisioner, 0, len(s.byName))
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		list = append(list, s.byName[name])
	}
	return list
}

// Find is the provisioner of a token: the one named, or else the one that the
// token is of by its own words. Its errors are failures of kind Malformed or
// Unauthorized.
func (s *Set) Find(name, token string) (*Provisioner, error) {
	if name != "" {
		if found := s.byName[name]; found != nil {
			return found, nil
		}
		return nil, unauthorized("there is no provisioner %.60q", name)
	}
	t, err := parseJWT(token)
	if err != nil {
		return nil, err
	}
	issuer, err := textOf(t.claims, "iss")
	if err != nil {
		return nil, err
	}
	if found := s.byName[issuer]; found != nil {
		return found, nil
	}
	var found []*Provisioner
	for _, p := range s.byName {
		if verifier, ok := p.verifier.(Recognizer); ok && verifier.Recognizes(t.claims) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, unauthorized("the token is from %.100q, which is no provisioner of this CA", issuer)
	}
	names := make([]string, len(found))
	for i, p := range found {
		names[i] = p.Name
	}
	slices.Sort(names)
	return nil, malformed("the token may be one of the provisioners %s; name the one that is meant in \"provisioner\"", strings.Join(names, ", "))
}
