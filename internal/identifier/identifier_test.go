package identifier

import (
	"errors"
	"strings"
	"testing"
)

func TestParseDNS(t *testing.T) {
	for value, want := range map[string]string{
		"a":                      "a",
		"localhost":              "localhost",
		"WWW.Example.Corp":       "www.example.corp",
		"*.example.corp":         "*.example.corp",
		"*.corp":                 "*.corp",
		"xn--mnchen-3ya.example": "xn--mnchen-3ya.example",
		"1.example":              "1.example",
		"3com":                   "3com",
	} {
		got, err := Parse(DNS, value)
		if err != nil || got != (Identifier{DNS, want}) {
			t.Errorf("Parse(%q) = %v, %v; want %q", value, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct {
		typ         Type
		value, says string
	}{
		{DNS, "", "empty"},
		{DNS, "foo..bar", "empty label"},
		{DNS, ".bar", "empty label"},
		{DNS, "foo.", "dot"},
		{DNS, "*", "wildcard"},
		{DNS, "a.*.b", "wildcard"},
		{DNS, "*.*.b", "wildcard"},
		{DNS, "a*.b", "wildcard"},
		{DNS, "-a.b", "hyphen"},
		{DNS, "a-.b", "hyphen"},
		{DNS, "a_b.c", "'_'"},
		{DNS, "a b", "' '"},
		{DNS, "a\x00.b", `'\x00'`},
		{DNS, "münchen.example", "A-labels"},
		{DNS, "xn--0.example", "A-label"},
		{DNS, "ab--cd.example", "A-label"},
		{DNS, "10.0.0.1", "IP address"},
		{DNS, "1.2.3", "IP address"},
		{DNS, "a.0x7f", "IP address"},
		{DNS, "::1", "':'"},
		{DNS, strings.Repeat("a", 64) + ".b", "64 characters"},
		{DNS, strings.Repeat("a.", 127) + "b", "characters"},
		{IP, "", "no IP address"},
		{IP, "example.corp", "no IP address"},
		{IP, "010.0.0.1", "no IP address"},
		{IP, "10.0.0.1/8", "no IP address"},
		{IP, "::FFFF:1:2", "mapped into IPv6"},
		{IP, "2001:DB8::1", "write 2001:db8::1"},
		{IP, "2001:db8:0:0::1", "write 2001:db8::1"},
		{IP, "::ffff:10.0.0.1", "write 10.0.0.1"},
		{IP, "fe80::1%eth0", "zone"},
		{IP, "0.0.0.0", "no host"},
		{IP, "ff02::1", "no host"},
	} {
		_, err := Parse(test.typ, test.value)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("Parse(%s, %q): %v; want an error that says %q", test.typ, test.value, err, test.says)
		}
	}
	if _, err := Parse("telepathy", "x"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("unknown type: %v, want ErrUnsupported", err)
	}
}

func TestWildcardBase(t *testing.T) {
	id := Identifier{DNS, "*.example.corp"}
	if !id.IsWildcard() || id.Base() != (Identifier{DNS, "example.corp"}) || id.Base().IsWildcard() {
		t.Errorf("%v: IsWildcard %v, Base %v", id, id.IsWildcard(), id.Base())
	}
}

func TestNormalize(t *testing.T) {
	got := Normalize([]Identifier{{IP, "10.0.0.1"}, {DNS, "b"}, {DNS, "a"}, {DNS, "b"}})
	want := []Identifier{{DNS, "a"}, {DNS, "b"}, {IP, "10.0.0.1"}}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What Parse accepts it must accept again unchanged, whatever came in.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"example.corp", "*.Example.corp", "xn--mnchen-3ya.de", "10.0.0.1", "2001:db8::1", "foo..bar",
		"o'hara+x@Example.corp", "spiffe://Corp.example/ns/a", "https://[2001:db8::1]:8443/a%2Fb?c#d", "urn:uuid:f81d4fae",
	} {
		for typ := range Types() {
			f.Add(uint8(typ), seed)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		types := Types()
		id, err := Parse(types[int(which)%len(types)], value)
		if err != nil {
			return
		}
		again, err := Parse(id.Type, id.Value)
		if err != nil || again != id {
			t.Fatalf("Parse(%q) = %v, but parsing that gives %v, %v", value, id, again, err)
		}
		for i := range len(id.Value) {
			if id.Value[i] <= ' ' || id.Value[i] >= 0x7f {
				t.Fatalf("Parse(%q) = %q, which no IA5String of a certificate should hold", value, id.Value)
			}
		}
		if base := id.Base(); base != id {
			if _, err := Parse(base.Type, base.Value); err != nil {
				t.Fatalf("base of %v: %v", id, err)
			}
		}
		if id.Type != DNS && id.Type != IP {
			return
		}
		if guess, err := Guess(id.Value); err != nil || guess != id {
			t.Fatalf("Guess(%q) = %v, %v", id.Value, guess, err)
		}
	})
}
