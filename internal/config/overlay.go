package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// applySet applies KEY=VALUE texts in their order.
func (l *loader) applySet(set []string, from source) {
	for _, text := range set {
		key, value, found := strings.Cut(text, "=")
		if key = strings.TrimSpace(key); !found || key == "" {
			l.add(from, "", "%.60q lacks its value; write KEY=VALUE, as in --set listen=127.0.0.1:9443", text)
			continue
		}
		l.assign(l.config.root(), key, value, from)
	}
}

// assign sets what rest names inside p.
func (l *loader) assign(p place, rest, text string, from source) {
	name, after, _ := strings.Cut(rest, ".")
	child, known := p.child(name)
	switch {
	case rest == "":
		l.assignText(p, text, from)
	case p.isMap() && !strings.HasSuffix(rest, "."):
		l.assignEntry(p, rest, text, from)
	case known && !strings.HasSuffix(rest, "."):
		l.assign(child, after, text, from)
	default:
		l.unknown(from, join(p.key, rest), p)
	}
}

// assignEntry sets a map's entry, or a value in it.
func (l *loader) assignEntry(p place, rest, text string, from source) {
	name, after := p.cutName(rest)
	name, err := p.normalName(name)
	if err != nil {
		l.add(from, join(p.key, rest), "%v", err)
		return
	}
	entry := p.entry(name)
	l.assign(entry, after, text, from)
	p.put(name, entry)
}

// cutName parts the name of a map's entry from the key of what is inside it.
// Names may have dots: a value is named by all of rest, a section by the name
// that the map has already, or else by what is before the first dot.
func (p place) cutName(rest string) (name, after string) {
	if p.value.Type().Elem().Kind() != reflect.Struct {
		return rest, ""
	}
	name, after, _ = strings.Cut(rest, ".")
	for _, known := range p.value.MapKeys() {
		if inside, ok := strings.CutPrefix(rest, known.String()+"."); ok && known.Len() > len(name) {
			name, after = known.String(), inside
		}
	}
	return name, after
}

func (l *loader) assignText(p place, text string, from source) {
	l.config.sources[p.key] = from
	if p.key == storeKey && !strings.HasPrefix(strings.TrimSpace(text), "{") {
		l.setStore(text, from)
		return
	}
	if !p.isValue() || p.isFlow() {
		l.setYAML(p, text, from)
		return
	}
	if err := p.set(text); err != nil {
		l.add(from, p.key, "%v", err)
	}
}

const environPrefix = "CHANCERY_"

// applyEnviron applies the variables that begin with CHANCERY_.
func (l *loader) applyEnviron(environ []string) {
	places := map[string]place{}
	l.config.root().walk(func(p place) {
		if name := environName(p.key); p.key != "" && places[name].key == "" {
			places[name] = p
		}
	})
	for _, variable := range slices.Sorted(slices.Values(environ)) { // a map comes before its entries
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, environPrefix) || isForeign(name, value) {
			continue
		}
		from := source{kind: fromEnviron, name: name}
		if p, ok := places[name]; ok {
			l.assign(l.config.root(), p.key, value, from)
		} else {
			l.add(from, "", "no key has this variable; did you mean %s?", nearest(name, places))
		}
	}
}

// environName is the variable of a key: VALIDATION_HTTP_PORT after the prefix.
func environName(key string) string {
	return environPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// The variables that Kubernetes sets in every container for every service
// around it; one named "chancery…" would otherwise be a mistake. And those
// that belong to the command line.
var (
	serviceName  = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	serviceValue = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

func isForeign(name, value string) bool {
	return slices.Contains([]string{"DIR", "CONFIG", "ADMIN_TOKEN", "OIDC_SECRET"}, strings.TrimPrefix(name, environPrefix)) ||
		serviceName.MatchString(name) || strings.HasSuffix(name, "_PORT") && serviceValue.MatchString(value)
}

// unknown adds a problem for a key that is not in p, with the nearest one there
// is, there or elsewhere.
func (l *loader) unknown(from source, key string, p place) {
	keys := map[string]place{}
	note := func(p place) { keys[p.key] = p }
	for _, p := range append(l.config.root().children(), p.children()...) {
		p.walk(note)
	}
	l.add(from, "", "unknown key %.80q; did you mean %q?", key, nearest(key, keys))
}

// nearest returns the word most like the given one. The right last part in the
// wrong section is nearly as good as a letter that is wrong.
func nearest(word string, words map[string]place) string {
	best, least := "", 0
	for _, candidate := range slices.Sorted(maps.Keys(words)) {
		d := min(distance(word, candidate), 1+distance(lastPart(word), lastPart(candidate)))
		if best == "" || d < least {
			best, least = candidate, d
		}
	}
	return best
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance is how many letters have to be put in, left out or changed to make
// a into b (Levenshtein). Words beyond any key's length are cut.
func distance(a, b string) int {
	a, b = a[:min(len(a), 100)], b[:min(len(b), 100)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
