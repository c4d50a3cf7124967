package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// caddy is Debian's Caddy serving HTTPS at the site's own address. It takes care
// of certificates by itself: obtaining is visiting it.
type caddy struct {
	*site
	storage string
	eab     *eab
}

func newCaddy(_ *testing.T, s *site, eab *eab) session {
	return caddy{s, filepath.Join(s.work, "caddy"), eab}
}

// caddyfile is what README tells people to write, ports and addresses apart.
func (c caddy) caddyfile(o order) string {
	var options strings.Builder
	for _, line := range []string{
		"admin off", "storage file_system " + c.storage, "default_bind " + c.own,
		"http_port " + challengePort, "https_port " + alpnPort,
		"email " + contact, "acme_ca " + c.directory, "acme_ca_root " + c.root,
	} {
		fmt.Fprintln(&options, "\t"+line)
	}
	if c.eab != nil {
		fmt.Fprintf(&options, "\tacme_eab {\n\t\tkey_id %s\n\t\tmac_key %s\n\t}\n", c.eab.KID, c.eab.HMAC)
	}
	other := "disable_tlsalpn_challenge"
	if o.how == "standalone-tls" {
		other = "disable_http_challenge"
	}
	return fmt.Sprintf("{\n%s}\n%s {\n\trespond hello\n\ttls {\n\t\tissuer acme {\n\t\t\t%s\n\t\t}\n\t}\n}\n", &options, o.names[0], other)
}

func (c caddy) obtain(t *testing.T, o order) []byte {
	file := filepath.Join(c.work, "Caddyfile")
	write(t, file, []byte(c.caddyfile(o)))
	server := c.launch(t, "caddy", "run", "--config", file, "--adapter", "caddyfile")
	var chain []byte
	c.await(t, server, "Caddy to serve HTTPS", func() (err error) {
		chain, err = c.visit(t, c.own+":"+alpnPort, o.names[0])
		return err
	})
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	return chain
}

// renew takes Caddy's certificate away, so that it asks for another with the
// account it has.
func (c caddy) renew(t *testing.T, o order, _ []byte) []byte {
	if err := os.RemoveAll(filepath.Join(c.storage, "certificates")); err != nil {
		t.Fatal(err)
	}
	return c.obtain(t, o)
}

func (c caddy) revoke(t *testing.T, _ order, chain []byte) { c.revokeByOperator(t, chain) }
