package hierarchy

import (
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

func guess(t *testing.T, text string) identifier.Identifier {
	t.Helper()
	id, err := identifier.Guess(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// What Permits says of a constrained CA is what Go and OpenSSL then do.
func TestConstraintsAreEnforced(t *testing.T) {
	for _, test := range []struct {
		permit      []string
		good, wrong []string
	}{
		{nil, []string{"www.example.com", "*.corp", "8.8.8.8", "2001:db8::1"}, nil},
		{
			[]string{"corp.example"},
			[]string{"corp.example", "www.corp.example", "a.b.corp.example", "*.corp.example", "*.a.corp.example"},
			[]string{"example", "*.example", "xcorp.example", "corp.example.com", "10.0.0.1", "2001:db8::1"},
		},
		{
			[]string{"Corp.Example", "10.0.0.0/8"},
			[]string{"www.corp.example", "10.0.0.1", "10.255.255.255"},
			[]string{"www.example.com", "11.0.0.1", "2001:db8::1"},
		},
		{
			[]string{"10.0.0.0/8", "192.168.1.1"},
			[]string{"10.1.2.3", "192.168.1.1"},
			[]string{"192.168.1.2", "www.example.com", "*.corp", "fd00::1"},
		},
		{
			[]string{"fd00::/8"},
			[]string{"fd12::1"},
			[]string{"fe80::1", "10.0.0.1", "localhost"},
		},
		{
			[]string{"a.corp", "b.corp", "10.0.0.0/8", "fd00::/8"},
			[]string{"x.a.corp", "x.b.corp", "10.0.0.1", "fd12::1"},
			[]string{"corp", "c.corp", "*.corp", "9.9.9.9", "::1"},
		},
	} {
		h, dir := newCA(t, func(o *Options) { o.Permit = test.permit })
		for _, name := range test.good {
			wantVerdict(t, h, dir, guess(t, name), true)
		}
		for _, name := range test.wrong {
			wantVerdict(t, h, dir, guess(t, name), false)
		}
	}
}

func wantVerdict(t *testing.T, h *Hierarchy, dir string, id identifier.Identifier, permitted bool) {
	t.Helper()
	cert := leaf(t, h, id)
	for who, err := range map[string]error{
		"Permits": Permits(h.Chain(), []identifier.Identifier{id}),
		"Go":      verifyGo(h, cert),
		"openssl": verifyOpenSSL(t, dir, cert),
	} {
		if permitted && err != nil || !permitted && err == nil {
			t.Errorf("root %v/%v excluding %q/%v: %s says of %v: %v", h.Root.PermittedDNSDomains, h.Root.PermittedIPRanges,
				h.Root.ExcludedDNSDomains, h.Root.ExcludedIPRanges, who, id, err)
		}
	}
}

// Constraints are on the root and, for relying parties that take a root for
// its key only, on the intermediate; on both they are critical.
func TestConstraintsAreOnBoth(t *testing.T) {
	h, _ := newCA(t, func(o *Options) { o.Permit = []string{"corp.example"} })
	for _, cert := range h.Chain() {
		if !cert.PermittedDNSDomainsCritical || len(cert.PermittedDNSDomains) != 1 || len(cert.ExcludedIPRanges) != 2 {
			t.Errorf("%q: critical %v, permits %v, excludes %v", cert.Subject.CommonName,
				cert.PermittedDNSDomainsCritical, cert.PermittedDNSDomains, cert.ExcludedIPRanges)
		}
	}
}

func TestPermitRefuses(t *testing.T) {
	for entry, says := range map[string]string{
		"":                   "empty",
		".corp.example":      "write corp.example",
		"*.corp.example":     "write corp.example",
		"corp_example":       "'_'",
		"10.0.0.1/8":         "write 10.0.0.0/8",
		"10.0.0.0/33":        "no address range",
		"corp.example/8":     "no address range",
		"::ffff:10.0.0.0/96": "write the IPv4 range",
		"::ffff:10.0.0.1":    "write the IPv4 range",
	} {
		err := constrain(&x509.Certificate{}, []string{entry})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want an error that says %q", entry, err, says)
		}
	}
}

// Constraints that other CAs' certificates may have.
func TestPermitsExclusions(t *testing.T) {
	_, ten, _ := net.ParseCIDR("10.0.0.0/8")
	_, lab, _ := net.ParseCIDR("10.66.0.0/16")
	chain := []*x509.Certificate{
		{},
		{PermittedDNSDomains: []string{"Corp.Example"}, PermittedIPRanges: []*net.IPNet{ten}},
		{ExcludedDNSDomains: []string{"secret.corp.example", ".lab.corp.example"}, ExcludedIPRanges: []*net.IPNet{lab}},
	}
	for name, want := range map[string]string{
		"www.corp.example":        "",
		"*.www.corp.example":      "",
		"lab.corp.example":        "",
		"10.1.1.1":                "",
		"secret.corp.example":     "excludes secret.corp.example",
		"a.secret.corp.example":   "excludes secret.corp.example",
		"*.secret.corp.example":   "excludes secret.corp.example",
		"*.corp.example":          "excludes secret.corp.example",
		"nosecret.corp.example":   "",
		"a.lab.corp.example":      "excludes .lab.corp.example",
		"*.lab.corp.example":      "excludes .lab.corp.example",
		"example":                 "permits only Corp.Example",
		"xcorp.example":           "permits only Corp.Example",
		"secret.corp.example.org": "permits only Corp.Example",
		"10.66.1.1":               "excludes 10.66.0.0/16",
		"11.0.0.1":                "permits only 10.0.0.0/8",
		"::a00:1":                 "permits only 10.0.0.0/8",
	} {
		err := Permits(chain, []identifier.Identifier{guess(t, name)})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestPermitsReportsEach(t *testing.T) {
	chain := []*x509.Certificate{{PermittedDNSDomains: []string{"a.corp", "b.corp"}}}
	ids := []identifier.Identifier{guess(t, "x.a.corp"), guess(t, "x.c.corp"), guess(t, "x.d.corp"), guess(t, "10.0.0.1")}
	err, ok := errors.AsType[*failure.Error](Permits(chain, ids))
	if !ok || err.Kind != failure.Rejected || len(err.Parts) != 2 || err.Parts[0].Identifier != ids[1] || err.Parts[1].Identifier != ids[2] {
		t.Fatalf("%+v, want a failure of kind Rejected for %v", err, ids[1:3])
	}
	if !strings.Contains(err.Public, "2 identifiers") || !strings.Contains(err.Parts[1].Public, "permits only a.corp, b.corp") {
		t.Errorf("%q, %q", err.Public, err.Parts[1].Public)
	}
}

func FuzzSubtree(f *testing.F) {
	f.Add("*.corp.example", "secret.corp.example")
	f.Add("a.corp", ".corp")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, name, domain string) {
		if inSubtree(name, domain) && !reachesSubtree(name, domain) {
			t.Errorf("%q is in %q but does not reach it", name, domain)
		}
		if domain != "" && domain[0] != '.' && !inSubtree("x."+domain, domain) {
			t.Errorf("a name below %q is not in it", domain)
		}
	})
}
