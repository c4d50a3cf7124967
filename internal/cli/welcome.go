package cli

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/server"
)

// welcomeText is what "up" prints: what a person needs next, and nothing else.
const welcomeText = `ACME directory    {{.Directory}}
Root certificate  {{.Root}}
SHA-256           {{.Fingerprint}}
{{- if .Passphrase}}

The passphrase of the root's key was generated into
  {{.Passphrase}}
Move it, and root.key, to a safe place away from this machine: serving needs neither.
{{- end}}
{{- if .Loopback}}

Validations may reach loopback addresses, because this is "up"; "serve" does not allow it.
{{- end}}

Trust the root on machines that are to accept these certificates:
  Debian, Ubuntu  {{.Sudo}}cp {{.Root}} /usr/local/share/ca-certificates/chancery.crt && {{.Sudo}}update-ca-certificates
  Fedora, RHEL    {{.Sudo}}cp {{.Root}} /etc/pki/ca-trust/source/anchors/chancery.pem && {{.Sudo}}update-ca-trust
  macOS           {{.Sudo}}security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {{.Root}}

Get a certificate for {{.Name}}:
  certbot
    {{.Sudo}}REQUESTS_CA_BUNDLE={{.Root}} certbot certonly --standalone --server {{.Directory}} --agree-tos --register-unsafely-without-email{{.CertbotPort}}{{if .EAB}} --eab-kid KID --eab-hmac-key HMAC{{end}} -d {{.Name}}
  lego
    {{.Sudo}}LEGO_CA_CERTIFICATES={{.Root}} lego --server {{.Directory}} --accept-tos --email admin@{{.Name}} --http{{.LegoPort}}{{if .EAB}} --eab --kid KID --hmac HMAC{{end}} --domains {{.Name}} run
  Caddy, in a Caddyfile
    {{.Name}} {
        tls {
            issuer acme {
                dir {{.Directory}}
                trusted_roots {{.CaddyRoot}}
                {{- range .CaddyPorts}}
                {{.}}
                {{- end}}
                {{- if .EAB}}
                eab KID HMAC
                {{- end}}
            }
        }
        respond "hello"
    }
{{- if .EAB}}

Accounts need a key: "chancery eab create" makes KID and HMAC.
{{- end}}
`

type welcomeFacts struct {
	Directory, Root, Fingerprint, Passphrase string
	Sudo                                     string // "" for root
	Loopback, EAB                            bool
	Name, CertbotPort, LegoPort              string
	CaddyRoot                                string
	CaddyPorts                               []string // lines
}

func (a *app) welcome(s *server.Server, passphrase string) error {
	facts, err := factsFor(s.Config(), s.Root(), s.DirectoryURL(), passphrase)
	if err != nil {
		return err
	}
	text, err := template.New("welcome").Parse(welcomeText)
	if err != nil {
		return err
	}
	return text.Execute(a.Out, facts)
}

func factsFor(c *config.Config, certificate *x509.Certificate, directory, passphrase string) (welcomeFacts, error) {
	root, err := filepath.Abs(filepath.Join(c.Dir, hierarchy.RootFile))
	if err != nil {
		return welcomeFacts{}, err
	}
	facts := welcomeFacts{
		Directory: directory, Root: shellWord(root), CaddyRoot: caddyWord(root), Fingerprint: hierarchy.Fingerprint(certificate),
		Passphrase: passphrase, EAB: c.ACME.EABRequired, Name: exampleName(directory),
	}
	if os.Geteuid() != 0 {
		facts.Sudo = "sudo "
	}
	for _, allowed := range c.Validation.Allow {
		facts.Loopback = facts.Loopback || allowed.Addr().IsLoopback()
	}
	if port := c.Validation.HTTPPort; port != 80 {
		facts.CertbotPort, facts.LegoPort = fmt.Sprintf(" --http-01-port %d", port), fmt.Sprintf(" --http.port :%d", port)
		facts.CaddyPorts = append(facts.CaddyPorts, fmt.Sprintf("alt_http_port %d", port))
	}
	if port := c.Validation.TLSPort; port != 443 {
		facts.CaddyPorts = append(facts.CaddyPorts, fmt.Sprintf("alt_tlsalpn_port %d", port))
	}
	return facts, nil
}

// exampleName is a name of this machine, so that the lines can be tried on it:
// localhost where the server is for this machine only, else the name by which
// clients reach it.
func exampleName(directory string) string {
	u, err := url.Parse(directory)
	if err != nil {
		return "localhost"
	}
	addr, err := netip.ParseAddr(u.Hostname())
	switch {
	case err != nil:
		return u.Hostname()
	case addr.IsLoopback():
		return "localhost"
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return u.Hostname()
}

// isPlain reports whether a path needs no quotes.
func isPlain(path string) bool {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+"
	return strings.Trim(path, plain) == ""
}

// shellWord quotes a path for a shell where it must be.
func shellWord(path string) string {
	if isPlain(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// caddyWord quotes a path for a Caddyfile where it must be.
func caddyWord(path string) string {
	if isPlain(path) {
		return path
	}
	return `"` + strings.ReplaceAll(path, `"`, `\"`) + `"`
}
