package ca_test

import (
	"strings"
	"testing"

	"chancery/internal/ca"
	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/policy"
	"chancery/internal/profile"
)

// Names that a profile adds are held against the rules that deny, and nobody
// needs to allow them.
func TestAddedNames(t *testing.T) {
	rules, err := policy.Compile(policy.Spec{DenyByDefault: true, Rules: []policy.RuleSpec{
		{Name: "orders", Allow: []string{"*.example"}}, {Name: "vault", Deny: []string{"**.vault.corp"}},
	}}, policy.Known{})
	if err != nil {
		t.Fatal(err)
	}
	for added, refused := range map[string]string{"a.corp": "", "a.vault.corp": `"a.vault.corp": the rule "vault" denies **.vault.corp`} {
		r := newRoad(t, nil, func(deps *ca.Deps) {
			judge := new(policy.Policy)
			judge.SetRules(rules)
			shape, err := profile.Compile("tls-server", profile.Spec{SAN: profile.SAN{DNS: []profile.Text{expr.CEL[string]("'" + added + "'")}}})
			if err != nil {
				t.Fatal(err)
			}
			deps.Policy, deps.Profiles = judge, map[string]*profile.Profile{"tls-server": shape}
		})
		_, err := r.Issue(t.Context(), r.order(t, "one"))
		if (err == nil) != (refused == "") || err != nil && (failure.KindOf(err) != failure.Rejected || !strings.Contains(failure.ReportOf(err).Text, refused)) {
			t.Errorf("with %s: %v", added, err)
		}
	}
}
