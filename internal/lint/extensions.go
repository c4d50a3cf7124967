package lint

import (
	"strings"

	zlint "github.com/zmap/zlint/v3/lint"
)

// rareExtensions are the extensions of RFC 5280 §4.2 that most certificates do
// not have, by what the names of the lints begin with that are about nothing
// else. Each such lint would find out by itself that it does not apply.
func rareExtensions() map[string]string {
	return map[string]string{
		"e_ext_cert_policy_":            "2.5.29.32",
		"e_ext_policy_map_":             "2.5.29.33",
		"e_ext_ian_":                    "2.5.29.18",
		"e_ext_subject_directory_attr_": "2.5.29.9",
		"e_ext_name_constraints_":       "2.5.29.30",
		"e_name_constraint_":            "2.5.29.30",
		"e_ext_policy_constraints_":     "2.5.29.36",
		"e_inhibit_any_policy_":         "2.5.29.54",
		"e_ext_freshest_crl_":           "2.5.29.46",
		"e_subject_info_access_":        "1.3.6.1.5.5.7.1.11",
	}
}

// aboutRare returns, by the names of lints, the rare extension that each is
// about; lints that are about anything else are not in it.
func aboutRare(lints []*zlint.CertificateLint) map[string]string {
	about, rare := map[string]string{}, rareExtensions()
	for _, lint := range lints {
		for beginning, extension := range rare {
			if strings.HasPrefix(lint.Name, beginning) {
				about[lint.Name] = extension
			}
		}
	}
	return about
}
