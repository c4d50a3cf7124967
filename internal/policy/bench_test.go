package policy_test

import (
	"fmt"
	"testing"

	"chancery/internal/policy"
)

const ruleCount, grantCount = 100_000, 10_000

// manyRules are about everybody, grants, profiles and provisioners.
func manyRules() policy.Spec {
	spec := policy.Spec{DenyByDefault: true}
	for i := range ruleCount {
		r := policy.RuleSpec{Allow: []string{fmt.Sprintf("**.t%d.corp", i), fmt.Sprintf("10.%d.%d.0/24", i/256%256, i%256)}}
		switch i % 5 {
		case 1:
			r.Deny = []string{fmt.Sprintf("secret%d.corp", i), fmt.Sprintf("*.no%d.corp", i)}
		case 2:
			r.Grants = []string{fmt.Sprintf("g%d", i%grantCount)}
		case 3:
			r.Allow, r.Profiles = []string{"**.common.corp"}, []string{fmt.Sprintf("p%d", i%8)}
		case 4:
			r.Allow, r.Provisioners = []string{"**.tokens.corp"}, []string{fmt.Sprintf("v%d", i)}
		}
		spec.Rules = append(spec.Rules, r)
	}
	return spec
}

// BenchmarkDecide asks 100,000 rules and 10,000 grants about requests of two
// names: those of the grants, those that only rules speak of, and some that
// every rule of an account, a grant or a provisioner has a say in.
func BenchmarkDecide(b *testing.B) {
	judge := policy.Policy{Grants: make(book, grantCount)}
	for i := range grantCount {
		id := fmt.Sprintf("g%d", i)
		grant, err := policy.CompileGrant(policy.GrantSpec{
			ID: id, Allow: []string{fmt.Sprintf("*.g%d.corp", i), fmt.Sprintf("**.x%d.corp", i)}, Deny: []string{"secret.corp"},
		})
		if err != nil {
			b.Fatal(err)
		}
		judge.Grants.(book)[id] = grant
	}
	judge.SetRules(compile(b, manyRules()))
	for _, test := range []struct {
		name     string
		question func(i int) policy.Question
	}{
		{"rules", func(i int) policy.Question {
			return policy.Question{Door: "acme", AccountID: "nobody", Profile: "p", Identifiers: names(fmt.Sprintf("www.a.t%d.corp", i%ruleCount/5*5), "ip:10.7.4.9")}
		}},
		{"grants", func(i int) policy.Question {
			return policy.Question{Door: "acme", AccountID: fmt.Sprintf("g%d", i%grantCount), Profile: "p", Identifiers: names(
				fmt.Sprintf("www.g%d.corp", i%grantCount), fmt.Sprintf("*.a.x%d.corp", i%grantCount))}
		}},
		{"provisioners", func(i int) policy.Question {
			return policy.Question{Door: "token", Provisioner: fmt.Sprintf("v%d", i%(ruleCount/5)*5+4), Profile: "p", Identifiers: names("a.tokens.corp", "b.c.tokens.corp")}
		}},
		{"common", func(i int) policy.Question {
			return policy.Question{Door: "acme", AccountID: "nobody", Profile: fmt.Sprintf("p%d", i%2*4+3), Identifiers: names("a.common.corp", "b.c.common.corp")}
		}},
	} {
		b.Run(test.name, func(b *testing.B) {
			questions := make([]policy.Question, 1000)
			for i := range questions {
				questions[i] = test.question(i)
			}
			refused := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := judge.Decide(b.Context(), questions[i%len(questions)]); err != nil {
					refused++
				}
			}
			if refused > 0 {
				b.Errorf("%d of %d are refused", refused, b.N)
			}
		})
	}
}
