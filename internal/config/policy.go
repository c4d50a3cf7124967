package config

import (
	"errors"
	"maps"
	"slices"

	"chancery/internal/limits"
	"chancery/internal/policy"
)

// compilePolicy makes the rules ready.
func (l *loader) compilePolicy() {
	c := l.config
	spec := policy.Spec{
		DenyByDefault: c.Policy.Default == "deny", RefuseSingle: !c.Policy.AllowSingleLabel,
		AllowUnderscores: c.Policy.AllowUnderscores,
	}
	for _, r := range c.Policy.Rules {
		spec.Rules = append(spec.Rules, policy.RuleSpec{
			Name: r.Name, Doors: r.Doors, Provisioners: r.Provisioners, Grants: r.Grants, Accounts: r.Accounts, Profiles: r.Profiles,
			Allow: r.Allow, Deny: r.Deny, KeyTypes: r.KeyTypes, MaxValidity: r.MaxValidity.Std(), Times: r.Times,
		})
	}
	var err error
	c.Rules, err = policy.Compile(spec, policy.Known{
		Doors: policy.Doors(), Profiles: slices.Sorted(maps.Keys(c.Profiles)),
	})
	l.addPolicyMistakes(err)
}

// addPolicyMistakes takes apart what policy.Compile has joined.
func (l *loader) addPolicyMistakes(err error) {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return
	}
	for _, err := range joined.Unwrap() {
		mistake, ok := errors.AsType[*policy.SpecError](err)
		switch key := "policy"; {
		case !ok:
			l.mistake(key, "%v", err)
		case mistake.Warning:
			l.warn("policy."+mistake.Field, "%s", mistake.Problem)
		default:
			l.mistake("policy."+mistake.Field, "%s", mistake.Problem)
		}
	}
}

// warn keeps what is told, but not refused.
func (l *loader) warn(key, format string, args ...any) {
	warnings := problems{lines: l.lines}
	warnings.add(l.config.at(key), key, format, args...)
	l.config.Warnings = append(l.config.Warnings, warnings.list...)
}

// setRates fills in what the preset has.
func (l *loader) setRates() {
	c := l.config
	c.Rates = limits.Preset(c.Limits.Preset)
	for text, rate := range map[*string]*limits.Rate{
		&c.Limits.NewAccounts:           &c.Rates.NewAccounts,
		&c.Limits.NewAccountsPerNetwork: &c.Rates.NewAccountsPerNetwork,
		&c.Limits.NewOrders:             &c.Rates.NewOrders,
		&c.Limits.FailedValidations:     &c.Rates.FailedValidations,
		&c.Limits.CertificatesPerDomain: &c.Rates.CertificatesPerDomain,
		&c.Limits.CertificatesPerSet:    &c.Rates.CertificatesPerSet,
	} {
		if *text != "" {
			*rate, _ = limits.ParseRate(*text) // checked when it was read
		}
	}
}
