package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const contact = "ops@example.test"

// eab is an external account binding (RFC 8555 §7.3.4) as `eab create` prints it.
type eab struct {
	KID  string `json:"kid"`
	HMAC string `json:"hmac"`
}

// hook returns the absolute path of a script in testdata.
func hook(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

type certbot struct {
	*site
	config string
	eab    []string
}

func newCertbot(_ *testing.T, s *site, eab *eab) session {
	c := certbot{site: s, config: filepath.Join(s.work, "certbot")}
	if eab != nil {
		c.eab = []string{"--eab-kid", eab.KID, "--eab-hmac-key", eab.HMAC}
	}
	return c
}

func (c certbot) certbot(t *testing.T, command string, args ...string) {
	t.Helper()
	common := []string{
		command, "--non-interactive", "--server", c.directory, "--config-dir", c.config,
		"--work-dir", c.config + "-work", "--logs-dir", c.config + "-log",
	}
	c.run(t, []string{"REQUESTS_CA_BUNDLE=" + c.root}, "certbot", append(common, args...)...)
}

func (c certbot) obtain(t *testing.T, o order) []byte {
	args := []string{"--agree-tos", "--email", contact, "--cert-name", o.names[0]}
	for _, name := range o.names {
		args = append(args, "--domain", name)
	}
	switch o.how {
	case "standalone":
		args = append(args, "--standalone", "--http-01-address", c.own, "--http-01-port", challengePort)
	case "webroot":
		args = append(args, "--webroot", "--webroot-path", c.webroot, "--key-type", "rsa")
	case "dns-01":
		record := `"$TXT/_acme-challenge.$CERTBOT_DOMAIN"`
		args = append(args, "--manual", "--preferred-challenges", "dns",
			"--manual-auth-hook", "mkdir -p "+record+` && printf %s "$CERTBOT_VALIDATION" >`+record+`/"$CERTBOT_VALIDATION"`,
			"--manual-cleanup-hook", "rm "+record+`/"$CERTBOT_VALIDATION"`)
	}
	c.certbot(t, "certonly", append(args, c.eab...)...)
	return read(t, filepath.Join(c.config, "live", o.names[0], "fullchain.pem"))
}

func (c certbot) renew(t *testing.T, o order, _ []byte) []byte {
	c.certbot(t, "renew", "--cert-name", o.names[0], "--force-renewal", "--no-random-sleep-on-renew")
	return read(t, filepath.Join(c.config, "live", o.names[0], "fullchain.pem"))
}

func (c certbot) revoke(t *testing.T, o order, _ []byte) {
	c.certbot(t, "revoke", "--cert-path", filepath.Join(c.config, "live", o.names[0], "cert.pem"),
		"--reason", "keycompromise", "--no-delete-after-revoke")
}

type lego struct {
	*site
	path string
	hook string
	eab  []string
}

func newLego(t *testing.T, s *site, eab *eab) session {
	l := lego{site: s, path: filepath.Join(s.work, "lego"), hook: hook(t, "lego-hook")}
	if eab != nil {
		l.eab = []string{"--eab", "--kid", eab.KID, "--hmac", eab.HMAC}
	}
	return l
}

func (l lego) lego(t *testing.T, o order, command ...string) []byte {
	t.Helper()
	args := []string{"--server", l.directory, "--path", l.path, "--email", contact, "--accept-tos"}
	for _, name := range o.names {
		args = append(args, "--domains", name)
	}
	switch o.how {
	case "standalone":
		args = append(args, "--http", "--http.port", l.own+":"+challengePort)
	case "webroot":
		args = append(args, "--http", "--http.webroot", l.webroot, "--key-type", "rsa2048")
	case "standalone-tls":
		args = append(args, "--tls", "--tls.port", l.own+":"+alpnPort)
	case "dns-01":
		args = append(args, "--dns", "exec", "--dns.disable-cp", "--dns.resolvers", l.ca+":"+dnsPort)
	}
	env := []string{"LEGO_CA_CERTIFICATES=" + l.root, "EXEC_PATH=" + l.hook, "EXEC_POLLING_INTERVAL=1", "EXEC_SEQUENCE_INTERVAL=1"}
	l.run(t, env, "lego", append(append(args, l.eab...), command...)...)
	if command[0] == "revoke" {
		return nil
	}
	return read(t, filepath.Join(l.path, "certificates", o.names[0]+".crt"))
}

func (l lego) obtain(t *testing.T, o order) []byte { return l.lego(t, o, "run") }

func (l lego) renew(t *testing.T, o order, _ []byte) []byte {
	return l.lego(t, o, "renew", "--days", "365", "--no-random-sleep")
}

func (l lego) revoke(t *testing.T, o order, _ []byte) {
	l.lego(t, order{o.how, o.names[:1]}, "revoke", "--reason", "4")
}

type dehydrated struct {
	*site
	base string
	hook string
}

func newDehydrated(t *testing.T, s *site, eab *eab) session {
	d := dehydrated{site: s, base: filepath.Join(s.work, "dehydrated"), hook: hook(t, "dehydrated-hook")}
	if err := os.Mkdir(d.base, 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("CA=%q\nCURL_OPTS=\"--cacert %s\"\nBASEDIR=%q\nWELLKNOWN=%q\nKEY_ALGO=prime256v1\nCONTACT_EMAIL=%s\n",
		s.directory, s.root, d.base, s.challenges, contact)
	if eab != nil {
		config += fmt.Sprintf("EAB_KID=%q\nEAB_HMAC_KEY=%q\n", eab.KID, eab.HMAC)
	}
	write(t, filepath.Join(d.base, "config"), []byte(config))
	s.alpn.presentFrom(filepath.Join(d.base, "alpn-certs"))
	d.dehydrated(t, "--register", "--accept-terms")
	return d
}

func (d dehydrated) dehydrated(t *testing.T, args ...string) {
	t.Helper()
	d.run(t, nil, "dehydrated", append([]string{"--config", filepath.Join(d.base, "config")}, args...)...)
}

func (d dehydrated) obtain(t *testing.T, o order) []byte {
	args := []string{"--cron", "--force", "--challenge", o.how}
	if o.how == "dns-01" {
		args = append(args, "--hook", d.hook)
	}
	for _, name := range o.names {
		args = append(args, "--domain", name)
	}
	d.dehydrated(t, args...)
	return read(t, filepath.Join(d.base, "certs", o.names[0], "fullchain.pem"))
}

func (d dehydrated) renew(t *testing.T, o order, _ []byte) []byte { return d.obtain(t, o) }

func (d dehydrated) revoke(t *testing.T, o order, _ []byte) {
	d.dehydrated(t, "--revoke", filepath.Join(d.base, "certs", o.names[0], "cert.pem"))
}

type uacme struct {
	*site
	config  string
	hook    string
	trust   string // a folder that stands in for /etc/ssl/certs
	unshare string // the option that lets the program have its own mounts
}

// newUacme gives uacme a trust store of its own, because it has no option for one:
// the program runs in a mount namespace where /etc/ssl/certs holds the site's root.
func newUacme(t *testing.T, s *site, eab *eab) session {
	u := uacme{
		site: s, config: filepath.Join(s.work, "uacme"), hook: hook(t, "uacme-hook"),
		trust: filepath.Join(s.work, "trust"), unshare: "-m",
	}
	if os.Getuid() != 0 {
		u.unshare = "-rm"
	}
	if err := os.Mkdir(u.trust, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(u.trust, "ca-certificates.crt"), read(t, s.root))
	args := []string{"new", contact}
	if eab != nil {
		args = append([]string{"--eab", eab.KID + ":" + eab.HMAC}, args...)
	}
	u.uacme(t, "", args...)
	return u
}

func (u uacme) uacme(t *testing.T, challenge string, args ...string) {
	t.Helper()
	script := `mount --bind "$TRUST" /etc/ssl/certs && exec uacme "$@"`
	common := []string{
		u.unshare, "sh", "-c", script, "uacme",
		"--acme-url", u.directory, "--confdir", u.config, "--yes", "--verbose",
	}
	u.run(t, []string{"TRUST=" + u.trust, "CHALLENGE=" + challenge}, "unshare", append(common, args...)...)
}

func (u uacme) obtain(t *testing.T, o order) []byte {
	u.uacme(t, o.how, append([]string{"--hook", u.hook, "--force", "--type", "EC", "issue"}, o.names...)...)
	return read(t, filepath.Join(u.config, o.names[0], "cert.pem"))
}

func (u uacme) renew(t *testing.T, o order, _ []byte) []byte { return u.obtain(t, o) }

func (u uacme) revoke(t *testing.T, o order, _ []byte) {
	u.uacme(t, "", "revoke", filepath.Join(u.config, o.names[0], "cert.pem"))
}

// acmeTiny has no command to revoke: the operator does.
type acmeTiny struct {
	*site
	dir string
}

func newAcmeTiny(t *testing.T, s *site, _ *eab) session {
	a := acmeTiny{site: s, dir: filepath.Join(s.work, "acme-tiny")}
	if err := os.Mkdir(a.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.run(t, nil, "openssl", "genrsa", "-out", filepath.Join(a.dir, "account.key"), "2048")
	return a
}

func (a acmeTiny) obtain(t *testing.T, o order) []byte {
	csr := filepath.Join(a.dir, o.names[0]+".csr")
	a.run(t, nil, "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-noenc",
		"-keyout", filepath.Join(a.dir, o.names[0]+".key"), "-out", csr, "-subj", "/",
		"-addext", "subjectAltName=DNS:"+o.names[0]+",DNS:"+o.names[1])
	return []byte(a.run(t, []string{"SSL_CERT_FILE=" + a.root}, "acme-tiny",
		"--account-key", filepath.Join(a.dir, "account.key"), "--csr", csr,
		"--acme-dir", a.challenges,
		"--disable-check", "--directory-url", a.directory, "--contact", "mailto:"+contact))
}

func (a acmeTiny) renew(t *testing.T, o order, _ []byte) []byte { return a.obtain(t, o) }

func (a acmeTiny) revoke(t *testing.T, _ order, chain []byte) { a.revokeByOperator(t, chain) }
