package profile_test

import (
	"strings"
	"testing"

	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/profile"
)

func TestSVIDMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		spec profile.Spec
		want string
	}{
		"a domain with a path":  {profile.Spec{TrustDomain: "corp.example/a"}, "is no SPIFFE trust domain"},
		"a domain in capitals":  {profile.Spec{TrustDomain: "Corp"}, "is no SPIFFE trust domain"},
		"a domain with a port":  {profile.Spec{TrustDomain: "corp.example:8443"}, "is no SPIFFE trust domain"},
		"a CA":                  {profile.Spec{TrustDomain: "corp", BasicConstraints: profile.BasicConstraints{CA: true}}, "is not a CA's"},
		"only for servers":      {profile.Spec{TrustDomain: "corp", ExtendedKeyUsages: []string{"serverAuth"}}, "add clientAuth"},
		"without signatures":    {profile.Spec{TrustDomain: "corp", KeyUsages: []string{"keyAgreement"}, KeyTypes: []string{"P-256"}}, "digitalSignature"},
		"without any URI":       {profile.Spec{TrustDomain: "corp", SAN: profile.SAN{Types: []string{"dns"}}}, "add uri here"},
		"nothing but a domain":  {profile.Spec{TrustDomain: "corp.example"}, ""},
		"with DNS names, too":   {profile.Spec{TrustDomain: "corp", SAN: profile.SAN{Types: []string{"dns", "uri"}}}, ""},
		"a URI from expression": {profile.Spec{TrustDomain: "corp", SAN: profile.SAN{Types: []string{"dns"}, URIs: []profile.Text{expr.CEL[string](`"spiffe://corp/" + token.sub`)}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := profile.Compile("svid", test.spec)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestSVIDHasExactlyOneURIOfItsTrustDomain(t *testing.T) {
	ca := newAuthority(t)
	shape, err := profile.Compile("svid", profile.Spec{TrustDomain: "corp", SAN: profile.SAN{Types: []string{"dns", "uri"}}})
	if err != nil {
		t.Fatal(err)
	}
	for text, fits := range map[string]bool{
		"spiffe://corp/a":                 true,
		"spiffe://corp/a www.corp":        true,
		"www.corp":                        false,
		"spiffe://corp/a spiffe://corp/b": false,
		"spiffe://corp":                   false,
		"spiffe://other/a":                false,
		"https://corp/a":                  false,
	} {
		var ids []identifier.Identifier
		for _, name := range strings.Fields(text) {
			typ := identifier.DNS
			if strings.Contains(name, ":") {
				typ = identifier.URI
			}
			ids = append(ids, identifier.Identifier{Type: typ, Value: name})
		}
		_, err := shape.ToBeSigned(ca.input(t, ids, expr.Facts{}))
		if fits && err != nil || !fits && failure.KindOf(err) != failure.Unsupported {
			t.Errorf("%s: %v", text, err)
		}
	}
}
