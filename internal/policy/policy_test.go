package policy_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/policy"
)

// monday is a Monday at noon.
var monday = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// book is the grants of a test, by identifier; the account of each has the
// same name.
type book map[string]*policy.Grant

func (b book) GrantOf(_ context.Context, account string) (*policy.Grant, error) {
	return b[account], nil
}
func (b book) Grant(_ context.Context, id string) (*policy.Grant, error) { return b[id], nil }

func grants(t testing.TB, specs ...policy.GrantSpec) book {
	t.Helper()
	b := book{}
	for _, spec := range specs {
		grant, err := policy.CompileGrant(spec)
		if err != nil {
			t.Fatal(err)
		}
		b[spec.ID] = grant
	}
	return b
}

func compile(t testing.TB, spec policy.Spec) *policy.Rules {
	t.Helper()
	rules, err := policy.Compile(spec, policy.Known{})
	if err != nil && rules == nil {
		t.Fatal(err)
	}
	return rules
}

// name makes an identifier of DNS:a.corp, ip:…, email:…, uri:… or ssh:….
func name(text string) identifier.Identifier {
	if kind, value, found := strings.Cut(text, ":"); found {
		return identifier.Identifier{Type: identifier.Type(kind), Value: value}
	}
	return identifier.Identifier{Type: identifier.DNS, Value: text}
}

func names(texts ...string) []identifier.Identifier {
	ids := make([]identifier.Identifier, len(texts))
	for i, text := range texts {
		ids[i] = name(text)
	}
	return ids
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct{ pattern, holds, not string }{
		{"a.corp", "a.corp", "b.corp x.a.corp *.a.corp corp"},
		{"*.corp", "a.corp *.corp", "corp a.b.corp *.b.corp acorp"},
		{"**.corp", "a.corp a.b.corp *.corp *.b.corp", "corp acorp corp.a ip:10.0.0.1"},
		{"**", "a localhost a.b.c *.a.b", "ip:10.0.0.1 email:a@b"},
		{"A.Corp", "a.corp", "b.corp"},
		{"dns:a.corp", "a.corp", "b.corp"},
		{"_x.corp", "_x.corp", "x.corp"},
		{"10.2.0.0/16", "ip:10.2.0.1 ip:10.2.255.255", "ip:10.3.0.0 a.corp ip:::ffff"},
		{"10.2.0.7", "ip:10.2.0.7", "ip:10.2.0.8"},
		{"ip:fd00::/8", "ip:fd00::1 ip:fdff::1", "ip:fe00::1 ip:10.0.0.1"},
		{"0.0.0.0/0", "ip:10.0.0.1", "ip:fd00::1"},
		{"email:@corp", "email:a@corp email:b@corp", "email:a@b.corp email:corp a.corp"},
		{"email:a@corp", "email:a@corp", "email:b@corp"},
		{"uri:spiffe://c/", "uri:spiffe://c/a uri:spiffe://c/", "uri:spiffe://c uri:http://c/"},
		{"ssh:deploy", "ssh:deploy", "ssh:root deploy"},
	} {
		p, err := policy.ParsePattern(test.pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		grant := grants(t, policy.GrantSpec{ID: "g", Allow: []string{test.pattern}})
		judge := policy.Policy{Grants: grant}
		judge.SetRules(compile(t, policy.Spec{AllowUnderscores: true}))
		for _, text := range strings.Fields(test.holds + " | " + test.not) {
			want := strings.Contains(" "+test.holds+" ", " "+text+" ")
			if text == "|" {
				continue
			}
			_, err := judge.Decide(t.Context(), policy.Question{GrantID: "g", Identifiers: names(text)})
			if p.Matches(name(text)) != want || (err == nil) != want {
				t.Errorf("%s holds %s: %v, by the index %v, want %v", test.pattern, text, p.Matches(name(text)), err, want)
			}
		}
	}
}

func TestBadPatterns(t *testing.T) {
	for _, text := range []string{
		"", "*", "***.corp", "a.*.corp", "*a.corp", "a..corp", "10.0.0.1/8", "10.0.0.0/40", "fe80::1%eth0", "email:corp", "email:a@b@c",
		"uri:corp", "ssh:", "ssh:a b", "*.**.corp", "a b.corp", "300.1.1.1", "*.", "**.",
	} {
		if p, err := policy.ParsePattern(text); err == nil {
			t.Errorf("%q is a pattern: %v", text, p)
		}
	}
}

// decisions is the rule table: the same as the doors give.
var decisions = []struct {
	name     string
	rules    []policy.RuleSpec
	question policy.Question
	deny     bool   // the default
	rule     string // that allows, of one word or more
	refused  string // what the refusal says
}{
	{name: "nothing said", question: policy.Question{Identifiers: names("a.corp")}, rule: "default"},
	{name: "nothing said, deny", deny: true, question: policy.Question{Identifiers: names("a.corp")}, refused: "default is deny"},
	{
		name: "allowed by name", deny: true, rule: `rule "web"`,
		rules:    []policy.RuleSpec{{Name: "web", Allow: []string{"*.corp"}}},
		question: policy.Question{Identifiers: names("a.corp")},
	},
	{
		name: "the first names it", deny: true, rule: `rule "one"`,
		rules:    []policy.RuleSpec{{Name: "one", Allow: []string{"*.corp"}}, {Name: "two", Allow: []string{"a.corp"}}},
		question: policy.Question{Identifiers: names("a.corp")},
	},
	{
		name: "two names, two rules", deny: true, rule: `rule "one"; rule "two"`,
		rules:    []policy.RuleSpec{{Name: "one", Allow: []string{"a.corp"}}, {Name: "two", Allow: []string{"b.corp"}}},
		question: policy.Question{Identifiers: names("a.corp", "b.corp")},
	},
	{
		name: "deny wins", refused: `the rule "no" denies a.corp`,
		rules:    []policy.RuleSpec{{Name: "yes", Allow: []string{"**.corp"}}, {Name: "no", Deny: []string{"a.corp"}}},
		question: policy.Question{Identifiers: names("a.corp")},
	},
	{
		name: "a wildcard reaches a denied name", refused: `the rule "no" denies a.corp`,
		rules:    []policy.RuleSpec{{Name: "no", Deny: []string{"a.corp"}}},
		question: policy.Question{Identifiers: names("*.corp")},
	},
	{
		name: "of two denials the first is named", refused: `the rule "one" denies **.corp`,
		rules:    []policy.RuleSpec{{Name: "one", Deny: []string{"**.corp"}}, {Name: "two", Deny: []string{"a.corp"}}},
		question: policy.Question{Identifiers: names("a.corp")},
	},
	{
		name: "another door", rule: "default",
		rules:    []policy.RuleSpec{{Name: "no", Doors: []string{"est"}, Deny: []string{"**"}}},
		question: policy.Question{Door: "acme", Identifiers: names("a.corp")},
	},
	{
		name: "this account", refused: `rule "no"`,
		rules:    []policy.RuleSpec{{Name: "no", Accounts: []string{"x", "alice"}, Deny: []string{"**"}}},
		question: policy.Question{AccountID: "alice", Identifiers: names("a.corp")},
	},
	{
		name: "another account", rule: "default",
		rules:    []policy.RuleSpec{{Name: "no", Accounts: []string{"x", "alice"}, Deny: []string{"**"}}},
		question: policy.Question{AccountID: "bob", Identifiers: names("a.corp")},
	},
	{
		name: "this provisioner", refused: `rule "no"`,
		rules:    []policy.RuleSpec{{Name: "no", Provisioners: []string{"ci", "people"}, Deny: []string{"**"}}},
		question: policy.Question{Door: "token", Provisioner: "people", Identifiers: names("a.corp")},
	},
	{
		name: "another provisioner", rule: "default",
		rules:    []policy.RuleSpec{{Name: "no", Provisioners: []string{"ci", "people"}, Deny: []string{"**"}}},
		question: policy.Question{Door: "token", Provisioner: "machines", Identifiers: names("a.corp")},
	},
	{
		name: "no provisioner", deny: true, refused: "the default is deny",
		rules:    []policy.RuleSpec{{Name: "yes", Provisioners: []string{"ci"}, Allow: []string{"**"}}},
		question: policy.Question{Door: "acme", AccountID: "ci", Identifiers: names("a.corp")},
	},
	{
		name: "what one provisioner may have is no other's", deny: true, refused: "the default is deny",
		rules: []policy.RuleSpec{
			{Name: "ci", Provisioners: []string{"ci"}, Allow: []string{"**.ci.corp"}},
			{Name: "people", Provisioners: []string{"people"}, Allow: []string{"**.people.corp"}},
		},
		question: policy.Question{Door: "token", Provisioner: "ci", Identifiers: names("a.people.corp")},
	},
	{
		name: "the same pattern of a grant and of one at a provisioner", rule: `rule "here"`, deny: true,
		rules: []policy.RuleSpec{
			{Name: "there", Grants: []string{"team-a"}, Provisioners: []string{"ci"}, Allow: []string{"a.team-a.corp"}},
			{Name: "here", Provisioners: []string{"people"}, Allow: []string{"a.team-a.corp"}},
		},
		question: policy.Question{Door: "token", Provisioner: "people", Identifiers: names("a.team-a.corp")},
	},
	{
		name: "a provisioner's keys", refused: `the rule "ec" takes P-256`,
		rules:    []policy.RuleSpec{{Name: "ec", Provisioners: []string{"ci"}, KeyTypes: []string{"P-256"}}},
		question: policy.Question{Door: "token", Provisioner: "ci", KeyType: "RSA-2048", Identifiers: names("a.corp")},
	},
	{
		name: "this profile", refused: `rule "no"`,
		rules:    []policy.RuleSpec{{Name: "no", Profiles: []string{"web"}, Deny: []string{"**"}}},
		question: policy.Question{Profile: "web", Identifiers: names("a.corp")},
	},
	{
		name: "no profile yet", rule: "default",
		rules:    []policy.RuleSpec{{Name: "no", Profiles: []string{"web"}, Deny: []string{"**"}}},
		question: policy.Question{Identifiers: names("a.corp")},
	},
	{
		name: "by the grant's name", refused: `rule "no"`,
		rules:    []policy.RuleSpec{{Name: "no", Grants: []string{"team-a"}, Deny: []string{"**"}}},
		question: policy.Question{AccountID: "ga", Identifiers: names("x.team-a.corp")},
	},
	{
		name: "the grant allows", deny: true, rule: `grant "team-a" (*.team-a.corp)`,
		question: policy.Question{AccountID: "ga", Identifiers: names("x.team-a.corp", "*.team-a.corp")},
	},
	{
		name: "the grant allows only", refused: `the grant "team-a" allows only *.team-a.corp`,
		rules:    []policy.RuleSpec{{Name: "all", Allow: []string{"**"}}},
		question: policy.Question{AccountID: "ga", Identifiers: names("x.corp")},
	},
	{
		name: "the grant denies", refused: `the grant "denying" denies secret.corp`,
		question: policy.Question{AccountID: "gd", Identifiers: names("secret.corp")},
	},
	{name: "the grant has other profiles", refused: `does not have the profile "web"`, question: policy.Question{AccountID: "ga", Profile: "web", Identifiers: names("a.team-a.corp")}},
	{name: "the grant is revoked", refused: "was revoked at 2026-11-23T11:00:00Z", question: policy.Question{AccountID: "gone", Identifiers: names("a.corp")}},
	{name: "the grant has expired", refused: "expired at 2026-11-23T12:00:00Z", question: policy.Question{AccountID: "old", Identifiers: names("a.corp")}},
	{
		name: "preauthorized", rule: `grant "team-a"`,
		question: policy.Question{AccountID: "ga", Identifiers: names("a.team-a.corp"), Preauthorized: names("a.team-a.corp")},
	},
	{
		name: "no longer preauthorized", refused: "no longer does",
		question: policy.Question{AccountID: "plain", Identifiers: names("a.corp"), Preauthorized: names("a.corp")},
	},
	{name: "underscores", refused: "allow_underscores", question: policy.Question{Identifiers: names("_a.corp")}},
	{
		name: "in the window", refused: `rule "noon"`,
		rules:    []policy.RuleSpec{{Name: "noon", Times: []string{"mon 11:00-13:00"}, Deny: []string{"**"}}},
		question: policy.Question{Identifiers: names("a.corp")},
	},
	{
		name: "outside the window", rule: "default",
		rules:    []policy.RuleSpec{{Name: "night", Times: []string{"22:00-06:00", "tue"}, Deny: []string{"**"}}},
		question: policy.Question{Identifiers: names("a.corp")},
	},
	{
		name: "another key", refused: `the key is RSA-2048; the rule "ec" takes P-256`,
		rules:    []policy.RuleSpec{{Name: "ec", Allow: []string{"**.corp"}, KeyTypes: []string{"P-256"}}},
		question: policy.Question{KeyType: "RSA-2048", Identifiers: names("a.corp")},
	},
	{
		name: "another key, for all names", refused: `the rule "ec" takes P-256`,
		rules:    []policy.RuleSpec{{Name: "ec", KeyTypes: []string{"P-256"}}},
		question: policy.Question{KeyType: "Ed25519", Identifiers: names("a.corp")},
	},
	{
		name: "such a key", rule: `rule "rsa"`,
		rules:    []policy.RuleSpec{{Name: "rsa", Allow: []string{"**.corp"}, KeyTypes: []string{"RSA"}}},
		question: policy.Question{KeyType: "RSA-2048", Identifiers: names("a.corp")},
	},
	{name: "outside of the CA's constraints", refused: "name constraints of the CA", question: policy.Question{Identifiers: names("evil.test")}},
	{name: "the CA itself", deny: true, rule: "the CA's own", question: policy.Question{Door: policy.SelfDoor, Identifiers: names("ca.corp")}},
}

func constraints(_ string, ids []identifier.Identifier) error {
	if strings.HasSuffix(ids[0].Value, ".test") {
		return failure.New(failure.Rejected, "%s is outside", ids[0].Value)
	}
	return nil
}

func TestDecisions(t *testing.T) {
	given := grants(
		t,
		policy.GrantSpec{
			ID: "ga", Name: "team-a", Allow: []string{"*.team-a.corp", "10.2.0.0/16"},
			Preauthorize: []string{"a.team-a.corp"}, Profiles: []string{"tls-server"},
		},
		policy.GrantSpec{ID: "gd", Name: "denying", Deny: []string{"secret.corp"}},
		policy.GrantSpec{ID: "gone", Revoked: monday.Add(-time.Hour)},
		policy.GrantSpec{ID: "old", Expires: monday},
		policy.GrantSpec{ID: "plain", Labels: map[string]string{"a": "b"}},
	)
	for _, test := range decisions {
		judge := policy.Policy{Constraints: constraints, Grants: given, Now: func() time.Time { return monday }}
		judge.SetRules(compile(t, policy.Spec{DenyByDefault: test.deny, Rules: test.rules}))
		decision, err := judge.Decide(t.Context(), test.question)
		switch {
		case test.refused == "" && (err != nil || !strings.Contains(decision.Rule, test.rule)):
			t.Errorf("%s: %+v, %v", test.name, decision, err)
		case test.refused != "" && (err == nil || !strings.Contains(failure.ReportOf(err).Text, test.refused)):
			t.Errorf("%s: %+v, %v", test.name, decision, err)
		}
		if len(decision.Names) != len(test.question.Identifiers) {
			t.Errorf("%s: the verdicts are %+v", test.name, decision.Names)
		}
	}
}

// Names that a profile adds need not be allowed, but nobody may deny them.
func TestAddedNames(t *testing.T) {
	judge := policy.Policy{Constraints: constraints, Grants: grants(
		t,
		policy.GrantSpec{ID: "ga", Allow: []string{"*.team-a.corp"}}, policy.GrantSpec{ID: "gd", Name: "denying", Deny: []string{"secret.corp"}},
	)}
	judge.SetRules(compile(t, policy.Spec{DenyByDefault: true, RefuseSingle: true, Rules: []policy.RuleSpec{
		{Name: "vault", Deny: []string{"**.vault.corp", "uri:spiffe://corp/vault"}},
		{Name: "ci", Provisioners: []string{"ci"}, Deny: []string{"prod.corp"}},
	}}))
	for _, test := range []struct {
		question policy.Question
		refused  string
	}{
		{policy.Question{AccountID: "ga", Identifiers: names("b.corp", "localhost", "10.0.0.1")}, ""},
		{policy.Question{Identifiers: names("a.corp", "a.vault.corp")}, `the rule "vault" denies **.vault.corp`},
		{policy.Question{Identifiers: names("uri:spiffe://corp/vault/a")}, `the rule "vault" denies`},
		{policy.Question{AccountID: "gd", Identifiers: names("secret.corp")}, `the grant "denying" denies secret.corp`},
		{policy.Question{Identifiers: names("a.test")}, "name constraints of the CA"},
		{policy.Question{Door: "token", Provisioner: "ci", Identifiers: names("prod.corp")}, `the rule "ci" denies prod.corp`},
		{policy.Question{Door: "token", Provisioner: "people", Identifiers: names("prod.corp")}, ""},
		{policy.Question{Door: policy.SelfDoor, Identifiers: names("a.vault.corp")}, ""},
	} {
		err := judge.DecideAdded(t.Context(), test.question)
		if (err == nil) != (test.refused == "") || err != nil && (failure.KindOf(err) != failure.Rejected || !strings.Contains(failure.ReportOf(err).Text, test.refused)) {
			t.Errorf("%+v: %v", test.question, err)
		}
	}
}

func TestRefusalsNameEachRule(t *testing.T) {
	var judge policy.Policy
	judge.SetRules(compile(t, policy.Spec{Rules: []policy.RuleSpec{
		{Name: "one", Deny: []string{"a.corp"}}, {Name: "two", Deny: []string{"10.0.0.0/8"}},
	}}))
	_, err := judge.Decide(t.Context(), policy.Question{Identifiers: names("a.corp", "ok.corp", "ip:10.0.0.1")})
	failed := new(failure.Error)
	if !errors.As(err, &failed) || failed.Kind != failure.Rejected || len(failed.Parts) != 2 ||
		!strings.Contains(failed.Parts[0].Public, `"one"`) || !strings.Contains(failed.Parts[1].Public, `"two"`) {
		t.Errorf("the error is %+v", err)
	}
}

func TestValidityIsBound(t *testing.T) {
	var judge policy.Policy
	judge.SetRules(compile(t, policy.Spec{Rules: []policy.RuleSpec{
		{Allow: []string{"**.corp"}}, {Allow: []string{"*.lab.corp"}, MaxValidity: time.Hour}, {MaxValidity: 24 * time.Hour, Profiles: []string{"web"}},
	}}))
	for _, test := range []struct {
		name, profile string
		want          time.Duration
	}{{"a.corp", "x", 0}, {"a.corp", "web", 24 * time.Hour}, {"a.lab.corp", "web", time.Hour}} {
		decision, err := judge.Decide(t.Context(), policy.Question{Profile: test.profile, Identifiers: names(test.name)})
		if err != nil || decision.MaxValidity != test.want {
			t.Errorf("%+v: %v, %v", test, decision.MaxValidity, err)
		}
	}
}

func TestMistakesInRules(t *testing.T) {
	allow := func(patterns ...string) policy.RuleSpec { return policy.RuleSpec{Allow: patterns} }
	deny := func(patterns ...string) policy.RuleSpec { return policy.RuleSpec{Deny: patterns} }
	for _, test := range []struct {
		rules []policy.RuleSpec
		field string
		says  string
	}{
		{[]policy.RuleSpec{{}}, "rules[0]", "says nothing"},
		{[]policy.RuleSpec{allow("a..b")}, "rules[0].allow[0]", "no pattern"},
		{[]policy.RuleSpec{{Allow: []string{"x.corp", "a.corp"}, Deny: []string{"*.corp"}}}, "rules[0].allow[0]", "denied by the same rule"},
		{[]policy.RuleSpec{{Name: "a", Allow: []string{"x"}}, {Name: "a", Allow: []string{"y"}}}, "rules[1].name", "already"},
		{[]policy.RuleSpec{{Doors: []string{"ssh"}, Deny: []string{"x"}}}, "rules[0].doors[0]", "there is no door"},
		{[]policy.RuleSpec{{Profiles: []string{"webb"}, Deny: []string{"x"}}}, "rules[0].profiles[0]", "there is no profile"},
		{[]policy.RuleSpec{{Provisioners: []string{"ci"}, Accounts: []string{"a"}, Deny: []string{"x"}}}, "rules[0].provisioners", "make two rules of it"},
		{[]policy.RuleSpec{{Provisioners: []string{"ci"}, Doors: []string{"acme"}, Deny: []string{"x"}}}, "rules[0].provisioners", "add it there"},
		{[]policy.RuleSpec{{Deny: []string{"x"}, Times: []string{"someday"}}}, "rules[0].times[0]", "no part of a week"},
		{[]policy.RuleSpec{{Deny: []string{"x"}, KeyTypes: []string{"P-256"}}}, "rules[0]", "make two rules"},
		{[]policy.RuleSpec{allow("*.lab.corp"), deny("**.corp")}, "rules[0].allow[0]", "can never be allowed"},
		{[]policy.RuleSpec{deny("10.0.0.0/8"), allow("10.2.0.0/16")}, "rules[1].allow[0]", "can never be allowed"},
		{[]policy.RuleSpec{allow("**.corp"), allow("a.b.corp")}, "rules[1].allow[0]", "is never asked"},
	} {
		rules, err := policy.Compile(policy.Spec{Rules: test.rules}, policy.Known{Doors: []string{"acme"}, Profiles: []string{"web"}})
		mistake := new(policy.SpecError)
		if !errors.As(err, &mistake) || mistake.Field != test.field || !strings.Contains(mistake.Problem, test.says) || (rules != nil) != mistake.Warning {
			t.Errorf("%+v: %v", test.rules, err)
		}
	}
}

func TestMistakesInGrants(t *testing.T) {
	for _, spec := range []policy.GrantSpec{
		{Allow: []string{"a..b"}},
		{Allow: []string{"a.corp"}, Deny: []string{"*.corp"}},
		{Preauthorize: []string{"a.corp"}, Deny: []string{"*.corp"}},
		{Allow: []string{"a.corp"}, Preauthorize: []string{"b.corp"}},
	} {
		if _, err := policy.CompileGrant(spec); err == nil {
			t.Errorf("%+v is taken", spec)
		}
	}
}
