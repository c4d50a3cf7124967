package servertest_test

import (
	"crypto/x509"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/admin"
	"chancery/internal/inventory"
	"chancery/internal/server/servertest"
)

// TestPostgreSQL has the whole server on PostgreSQL: certificates by ACME and
// by token, a restart, and the operator's questions.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	ca := servertest.Start(t, "store.url="+theServer(t).Database(t), provisioners(t, key, []string{"anybody"}))
	client := ca.Client()
	for _, name := range []string{"www.example.test", "ftp.example.test"} {
		chain, err := client.Issue(t.Context(), acmetest.DNS(name), newKey(t), "http-01", ca.Web.HTTP01)
		check(t, err)
		if leaf, err := x509.ParseCertificate(chain[0]); err != nil || leaf.VerifyHostname(name) != nil {
			t.Errorf("the certificate is not for %s: %v", name, err)
		}
		if allowed, reason := sign(t, ca, key, "", "", []string{"token-" + name}); !allowed {
			t.Errorf("no certificate by token: %s", reason)
		}
		ca.Restart()
		client.ForgetNonces()
	}
	operator := admin.Dial(filepath.Join(ca.Dir, "admin.sock"))
	t.Cleanup(func() { _ = operator.Close() })
	counts, err := operator.CountCertificates(t.Context(), inventory.Query{})
	check(t, err)
	if counts.Valid < 4 {
		t.Errorf("the operator is told of %+v", counts)
	}
	if size, external, err := operator.Backup(t.Context(), io.Discard); size == 0 || !external || err != nil {
		t.Errorf("the answer to a backup is %d octets, %v, %v", size, external, err)
	}
	if present, err := filepath.Glob(filepath.Join(ca.Dir, "chancery.db*")); err != nil || len(present) > 0 {
		t.Errorf("there is %s beside PostgreSQL (%v)", strings.Join(present, ", "), err)
	}
}
