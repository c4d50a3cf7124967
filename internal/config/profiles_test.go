package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/expr"
	"chancery/internal/profile"
)

// A profile with a setting of every form.
const forms = `
profiles:
  mesh:
    subject:
      organization: Corp
      organizational_unit: {cel: 'grant.labels.team'}
      common_name:
        - {cel: "profile + ' CA'"}
      extra: [{oid: 2.5.4.12, value: {cel: 'token.title'}}]
    basic_constraints: {ca: true, path_length: 1}
    name_constraints:
      permitted: {dns: [corp.example, {cel: 'grant.labels.zone'}]}
    policies: [{oid: 1.2.3, cps: "http://ca/cps"}]
    extensions:
      - oid: 1.3.6.1.4.1.55555.1
        critical: true
        value:
          sequence:
            - utf8: x
            - int: -7
            - bool: {cel: 'token.ok'}
            - sequence: [{bytes: "0102"}, {oid: 1.2.3}]
`

func TestProfileForms(t *testing.T) {
	c, err := Parse("forms.yaml", []byte(forms))
	if err != nil {
		t.Fatal(err)
	}
	text, number := expr.Literal("x"), expr.Literal(-7)
	truth, octets, oid := expr.CEL[bool]("token.ok"), expr.Literal("0102"), expr.Literal("1.2.3")
	want := profile.Spec{
		Subject: profile.Subject{
			Organization: []profile.Text{expr.Literal("Corp")}, OrganizationalUnit: []profile.Text{expr.CEL[string]("grant.labels.team")},
			CommonName: []profile.Text{expr.CEL[string]("profile + ' CA'")},
			Extra:      []profile.Attribute{{OID: "2.5.4.12", Value: expr.CEL[string]("token.title")}},
		},
		BasicConstraints: profile.BasicConstraints{CA: true, PathLength: 1},
		NameConstraints:  profile.NameConstraints{Permitted: profile.Subtrees{DNS: []profile.Text{expr.Literal("corp.example"), expr.CEL[string]("grant.labels.zone")}}},
		Policies:         []profile.Policy{{OID: "1.2.3", CPS: "http://ca/cps"}},
		Extensions: []profile.Extension{{OID: "1.3.6.1.4.1.55555.1", Critical: true, Value: profile.Typed{Sequence: []profile.Typed{
			{UTF8: &text}, {Int: &number}, {Bool: &truth}, {Sequence: []profile.Typed{{Bytes: &octets}, {OID: &oid}}},
		}}}},
	}.WithDefaults("mesh")
	if got := c.Profiles["mesh"]; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// What is shown of each setting says the same when it is set.
	var set []string
	for _, setting := range c.Settings() {
		if strings.HasPrefix(setting.Key, "profiles.mesh.") {
			set = append(set, setting.Key+"="+setting.Value)
		}
	}
	again, err := load(LoadOptions{Set: set}, FileName, nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, setting := range c.byKey() {
		if got := again.byKey()[key].Value; got != setting.Value {
			t.Errorf("set again, %s is %s; want %s", key, got, setting.Value)
		}
	}
	short, err := load(LoadOptions{Set: []string{"profiles.p.subject.organization=Corp", "profiles.p.san.uris={cel: 'token.sub'}"}}, FileName, nil)
	if err != nil || short.Profiles["p"].Subject.Organization[0].Literal != "Corp" || short.Profiles["p"].SAN.URIs[0].Expression != "token.sub" {
		t.Errorf("%+v, %v", short, err)
	}
}

// Each mistake is told with its line and column.
func TestProfileMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"subject: {organizational_unit: {cel: 'grant.label.team'}}":                                  `x.yaml:2:44: profiles.p.subject.organizational_unit[0]: in the expression, line 1, column 6: undefined field 'label'; there are identifiers,`,
		"subject: {organization: [a, {cel: 'nope'}]}":                                                `x.yaml:2:41: profiles.p.subject.organization[1]: in the expression, line 1, column 1: undeclared reference to 'nope'`,
		`subject: {organization: {cel: "['a', 1]"}}`:                                                 `x.yaml:2:37: profiles.p.subject.organization[0]: in the expression, line 1, column 7: this is of type int and what comes before it of type string`,
		`san: {dns: {cel: "'a..corp'"}}`:                                                             `x.yaml:2:24: profiles.p.san.dns[0]: the expression reads nothing of a request, and it gives "a..corp": `,
		"subject: {organization: {sel: 'nope'}}":                                                     `profiles.p.subject.organization[0]: an expression is expected here, as in {cel: 'token.sub'}`,
		"subject: {organization: {cel: ''}}":                                                         `profiles.p.subject.organization[0]: an expression is expected here`,
		"subject: {organization: 7}":                                                                 `profiles.p.subject.organization[0]: a text (a number in quotes is one) is expected here; found the number "7"`,
		"subject: {country: Germany}":                                                                `x.yaml:2:26: profiles.p.subject.country[0]: a country is two capital letters`,
		"subject: {nickname: x}":                                                                     `unknown key "profiles.p.subject.nickname"`,
		"extensions: [{oid: 1.2.x, value: {utf8: x}}]":                                               `x.yaml:2:21: profiles.p.extensions[0].oid: "1.2.x" is no OID; write it like 1.3.6.1.4.1.55555.1`,
		"extensions: [{oid: 1.2.3, value: {utf8: x, int: 1}}]":                                       `profiles.p.extensions[0].value: there are 2 values; write one of`,
		"extensions: [{oid: 1.2.3, value: {int: x}}]":                                                `profiles.p.extensions[0].value.int: a whole number is expected here; found the text "x"`,
		"extensions: [{oid: 1.2.3, value: {sequence: [{bytes: 'xyz'}]}}]":                            `profiles.p.extensions[0].value.sequence[0].bytes: "xyz" is not bytes`,
		"extensions: [{oid: 2.5.29.17, value: {utf8: x}}]":                                           `profiles.p.extensions[0].oid: this extension has a setting of its own; use san`,
		"basic_constraints: {ca: true}":                                                              `x.yaml:2:27: profiles.p.basic_constraints.ca: a CA needs a subject`,
		"basic_constraints: {path_length: 2}":                                                        `x.yaml:2:27: profiles.p.basic_constraints.path_length: only CAs have a path length`,
		"basic_constraints: {path_length: -1}":                                                       `profiles.p.basic_constraints.path_length: -1 is too little; make it 0 or more`,
		"doors: [acme, fax]":                                                                         `profiles.p.doors[1]: there is no door "fax"; write acme`,
		"{doors: [acme], san: {types: [email]}}":                                                     `x.yaml:2:7: profiles.p.doors: nobody may use this profile: these doors prove no names of the types email`,
		"{key_usages: [digitalSignature], basic_constraints: {ca: true}, subject: {common_name: x}}": `profiles.p.key_usages: a certificate authority needs keyCertSign`,
		"issuer: other": `x.yaml:2:7: profiles.p.issuer: there is no issuer "other"`,
		"{must_staple: true, no_revocation: true}":           `profiles.p.must_staple: there is nothing to staple with no_revocation`,
		"{extended_key_usages: [timeStamping, codeSigning]}": `profiles.p.extended_key_usages: timeStamping must be the only one`,
	} {
		_, err := Parse("x.yaml", []byte("profiles:\n  p: "+wrapped(text)+"\n"))
		if err == nil {
			t.Errorf("%s: no error", text)
			continue
		}
		if problem, ok := errors.AsType[*Problem](err); !ok || !strings.Contains(err.Error(), want) || problem.from.line != 2 {
			t.Errorf("%s:\n%v\nwant %s", text, err, want)
		}
	}
}

func TestUnusableProfilesAreWarnedOf(t *testing.T) {
	c, err := Parse("x.yaml", []byte("profiles:\n  tls-server:\n    restricted: true\n"))
	const want = "x.yaml:3:5: profiles.tls-server.restricted: "
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Error(), want) {
		t.Errorf("%v, %v; want %q", err, c, want)
	}
}

// A trust domain brings a profile for SPIFFE IDs with it.
func TestTrustDomainMakesAProfile(t *testing.T) {
	c, err := Parse("x.yaml", []byte("spiffe: {trust_domain: corp.example}\nprofiles:\n  svid:\n    validity: {default: 1h}\n"))
	if err != nil {
		t.Fatal(err)
	}
	svid := c.Compiled["svid"]
	if svid == nil || svid.Spec.TrustDomain != "corp.example" || !slices.Equal(svid.Spec.SAN.Types, []string{"uri"}) || svid.Spec.Validity.Default.Std() != time.Hour {
		t.Errorf("the profile svid is %+v", svid)
	}
	if c, err = Parse("x.yaml", nil); err != nil || c.Compiled["svid"] != nil {
		t.Errorf("without a trust domain: %v, %v", c.Compiled["svid"], err)
	}
	if _, err = Parse("x.yaml", []byte("spiffe: {trust_domain: Corp/a}\n")); err == nil || !strings.Contains(err.Error(), "no SPIFFE trust domain") {
		t.Errorf("a bad trust domain: %v", err)
	}
}

func wrapped(text string) string {
	if strings.HasPrefix(text, "{") {
		return text
	}
	return "{" + text + "}"
}
