package docs

import (
	"regexp"
	"testing"
)

// lost is what docs/operating.md does when keys are lost or stolen.
func lost(t *testing.T, p *place, lib []string) []step {
	t.Helper()
	var incident string
	return []step{
		{command: "chancery issuer list --dir /var/lib/chancery", change: lib, want: "default"},
		{
			command: "chancery issuer rotate --root-passphrase-file /var/lib/chancery/root-passphrase.txt --dir /var/lib/chancery",
			change:  lib, want: "Generation   3",
		},
		{
			command: "chancery incident open --issuer ISSUER --within 4h --explanation https://wiki.corp.example/key --dir /var/lib/chancery",
			change:  lib, prepare: func() []string { return []string{"ISSUER", p.keyID(t, "intermediate.pem")} }, want: "remaining",
			check: func(out string) {
				found := regexp.MustCompile(`incident +(\S+)`).FindStringSubmatch(out)
				if found == nil {
					t.Fatalf("no incident in %s", out)
				}
				incident = found[1]
			},
		},
		{
			command: "chancery incident show INCIDENT --remaining --dir /var/lib/chancery",
			change:  lib, prepare: func() []string { return []string{"INCIDENT", incident} }, want: "ca.corp.example",
		},
		{
			command: "chancery root crl --revoke /var/lib/chancery/intermediate.pem --reason keyCompromise --dir /var/lib/chancery",
			change:  lib, want: "Revoked",
		},
	}
}
