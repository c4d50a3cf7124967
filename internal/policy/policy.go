// Package policy answers one question: may this requester have these
// identifiers? Every answer names the rule that gave it. It does not look into
// certificates, and it proves nothing.
package policy

import (
	"context"

	"chancery/internal/identifier"
)

// Question is what a rule looks at.
type Question struct {
	Door        string // the door that asks: "acme", "self"
	AccountID   string // the ACME account, if any
	Profile     string
	Identifiers []identifier.Identifier
}

// Decision is an answer that allows. Refusals are errors: a failure of kind
// Rejected whose public text names the rule.
type Decision struct {
	Rule string // the rule that allowed it
}

// NameConstraints reports whether the issuing chain may certify the
// identifiers: a failure of kind Rejected if not.
type NameConstraints func(ids []identifier.Identifier) error

// Policy is the rules in force. The zero value allows what the door has proven.
type Policy struct {
	// Constraints are those of the CA's own certificates; nil for none.
	Constraints NameConstraints
}

// Decide answers q.
func (p *Policy) Decide(_ context.Context, q Question) (Decision, error) {
	if p.Constraints != nil {
		if err := p.Constraints(q.Identifiers); err != nil {
			return Decision{}, err
		}
	}
	return Decision{Rule: "default: proven names are allowed"}, nil
}
