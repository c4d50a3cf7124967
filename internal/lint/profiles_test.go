package lint

import (
	"strings"
	"testing"

	"chancery/internal/expr"
	"chancery/internal/profile"
)

// Servers are held to the Baseline Requirements; code, people, workloads and
// CAs are not, but all to the RFCs.
func TestProfile(t *testing.T) {
	nowhere := profile.Subject{Country: []profile.Text{expr.Literal("ZZ")}, CommonName: []profile.Text{expr.Literal("x")}}
	for name, test := range map[string]struct {
		spec profile.Spec
		says string
	}{
		"server":   {profile.Spec{Subject: nowhere}, "e_subject_country_not_iso"},
		"code":     {profile.Spec{Subject: nowhere, ExtendedKeyUsages: []string{"codeSigning"}}, ""},
		"mail":     {profile.Spec{Subject: nowhere, ExtendedKeyUsages: []string{"emailProtection"}, SAN: profile.SAN{Types: []string{"email"}}}, ""},
		"ca":       {profile.Spec{Subject: nowhere, BasicConstraints: profile.BasicConstraints{CA: true}}, ""},
		"workload": {profile.Spec{SAN: profile.SAN{OmitIdentifiers: true, URIs: []profile.Text{expr.CEL[string]("token.sub")}}}, ""},
		"san": {profile.Spec{ExtendedKeyUsages: []string{"codeSigning"}, Extensions: []profile.Extension{{
			OID: "2.5.29.54", Value: profile.Typed{Int: new(expr.Value[int])}, // inhibitAnyPolicy must be critical
		}}}, "e_inhibit_any_policy_not_critical"},
	} {
		shape, err := profile.Compile(name, test.spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New().Profile(shape, newIssuer(t, false), now)
		switch {
		case test.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%s: %v; want %s", name, err, test.says)
		}
	}
}
