package admin_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/failure"
	"chancery/internal/grant"
	"chancery/internal/limits"
	"chancery/internal/policy"
	"chancery/internal/store"
)

// withPolicy gives the fixture what only a server has.
func (f *fixture) withPolicy(t *testing.T) (changed *[]string) {
	t.Helper()
	rules, err := policy.Compile(policy.Spec{DenyByDefault: true, Rules: []policy.RuleSpec{{Name: "web", Allow: []string{"**.corp", "email:@corp", "ssh:root"}}}}, policy.Known{})
	if err != nil {
		t.Fatal(err)
	}
	book := grant.NewBook(f.Store)
	judge := &policy.Policy{Grants: book, Now: f.deps.Now}
	judge.SetRules(rules)
	f.deps.Decide = judge.Decide
	f.deps.Profile = func(name string) (string, error) {
		if name == "none" {
			return "", failure.New(failure.Malformed, "there is no profile %q", name)
		}
		return name, nil
	}
	f.deps.Limits = limits.New(limits.Config{NewOrders: limits.Rate{Count: 10, Per: time.Hour}}, f.deps.Now)
	changed = new([]string)
	f.deps.GrantChanged = func(id string) { book.Forget(id); *changed = append(*changed, id) }
	return changed
}

func TestGrantsAreChanged(t *testing.T) {
	f := newFixture(t)
	changed := f.withPolicy(t)
	client, ctx := f.overSocket(t), t.Context()
	made, err := client.CreateBinding(ctx, admin.NewBinding{Name: "team-a", Grant: admin.Grant{
		Allow: []string{"*.a.corp"}, Profiles: []string{"web"}, Labels: map[string]string{"team": "a"}, MaxAccounts: 5, MaxRate: "1000/h",
	}})
	if err != nil || made.MaxAccounts != 5 || made.Labels["team"] != "a" {
		t.Fatalf("%+v, %v", made, err)
	}
	allow, none, rate := []string{"*.b.corp"}, []string{}, "off"
	updated, err := client.UpdateBinding(ctx, made.KID, admin.BindingChange{Allow: &allow, Profiles: &none, MaxRate: &rate})
	if err != nil || !slices.Equal(updated.Allow, allow) || len(updated.Profiles) != 0 || updated.Labels["team"] != "a" || updated.HMAC != "" {
		t.Errorf("%+v, %v", updated, err)
	}
	if shown, err := client.Binding(ctx, made.KID); err != nil || shown.HMAC != "" || !slices.Equal(shown.Allow, allow) || shown.Name != "team-a" {
		t.Errorf("%+v, %v", shown, err)
	}
	if _, err := client.RevokeBinding(ctx, made.KID); err != nil || len(*changed) != 2 {
		t.Errorf("%v; told of %v", err, *changed)
	}
	for _, action := range []string{"eab.created", "eab.updated", "eab.revoked"} {
		if !strings.Contains(f.audit.String(), action) {
			t.Errorf("%s is not in the audit trail", action)
		}
	}

	past, bad, less := epoch.Add(-time.Hour), []string{"a..b"}, -1
	other, err := client.CreateBinding(ctx, admin.NewBinding{Grant: admin.Grant{Deny: []string{"**.corp"}}})
	if err != nil {
		t.Fatal(err)
	}
	profiles, inside := []string{"none"}, []string{"a.corp"}
	for kid, change := range map[string]admin.BindingChange{made.KID: {}, "none": {}} {
		if _, err := client.UpdateBinding(ctx, kid, change); err == nil {
			t.Errorf("%s was changed", kid)
		}
	}
	for _, change := range []admin.BindingChange{
		{Expires: &past}, {Allow: &bad}, {Allow: &inside}, {MaxAccounts: &less}, {Profiles: &profiles}, {MaxRate: &bad[0]},
	} {
		if _, err := client.UpdateBinding(ctx, other.KID, change); err == nil {
			t.Errorf("%+v was taken", change)
		}
	}
}

func TestPolicyIsAsked(t *testing.T) {
	f := newFixture(t)
	f.withPolicy(t)
	client, ctx := f.inProcess(t), t.Context()
	key, err := client.CreateBinding(ctx, admin.NewBinding{Name: "team-a", Grant: admin.Grant{Allow: []string{"*.a.corp"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		question admin.PolicyQuestion
		rules    []string // of the names, refused ones with a "-"
	}{
		{admin.PolicyQuestion{Names: []string{"a.corp", "A.B.corp", "dns:c.corp", "email:x@corp", "ssh:root"}}, []string{`rule "web"`, `rule "web"`, `rule "web"`, `rule "web"`, `rule "web"`}},
		{admin.PolicyQuestion{Names: []string{"a.corp", "10.0.0.1", "_x.corp"}}, []string{`rule "web"`, "-default", "-allow_underscores"}},
		{admin.PolicyQuestion{Names: []string{"a.a.corp"}, Grant: "team-a"}, []string{`grant "team-a" (*.a.corp)`}},
		{admin.PolicyQuestion{Names: []string{"a.corp"}, Grant: key.KID}, []string{`-grant "team-a"`}},
	} {
		answer, err := client.TestPolicy(ctx, test.question)
		if err != nil {
			t.Error(err)
			continue
		}
		var rules []string
		for _, verdict := range answer.Names {
			rule := verdict.Rule
			if !verdict.Allowed {
				rule = "-" + rule
			}
			rules = append(rules, rule)
		}
		refused := slices.ContainsFunc(rules, func(rule string) bool { return rule[0] == '-' })
		if !slices.Equal(rules, test.rules) || answer.Allowed == refused {
			t.Errorf("%+v: %+v", test.question, answer)
		}
	}
	for _, question := range []admin.PolicyQuestion{
		{}, {Names: []string{"a..b"}}, {Names: []string{"a.corp"}, Door: "ssh"}, {Names: []string{"a.corp"}, Profile: "none"},
		{Names: []string{"a.corp"}, Account: "nobody"}, {Names: []string{"a.corp"}, Grant: "nobody"},
	} {
		if answer, err := client.TestPolicy(ctx, question); err == nil {
			t.Errorf("%+v: %+v", question, answer)
		}
	}
}

func TestLimitsAreShown(t *testing.T) {
	f := newFixture(t)
	f.withPolicy(t)
	client, ctx := f.inProcess(t), t.Context()
	account := store.Account{ID: "a1", Key: store.AccountKey{Thumbprint: "t", JWK: []byte("{}")}, Status: store.AccountValid, Created: epoch}
	if _, _, err := f.CreateAccount(ctx, account); err != nil {
		t.Fatal(err)
	}
	if _, err := f.deps.Limits.Order(ctx, limits.Order{AccountID: "a1"}); err != nil {
		t.Fatal(err)
	}
	all, err := client.Limits(ctx, "")
	if err != nil || len(all.Limits) != 1 || all.Limits[0].Rate != "10/1h" || all.Counted != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	mine, err := client.Limits(ctx, "a1")
	if err != nil || len(mine.Limits) != 1 || mine.Limits[0].Used != 1 || mine.Limits[0].Of != "a1" {
		t.Errorf("%+v, %v", mine, err)
	}
	if _, err := client.Limits(context.WithoutCancel(ctx), "nobody"); err == nil {
		t.Error("nobody has limits")
	}
}
