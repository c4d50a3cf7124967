package docs

import (
	"net"
	"regexp"
	"strings"
	"testing"
)

var fenced = regexp.MustCompile("(?s)```.*?```")

// typed are the commands of a page that shows them with what they write: those
// after a prompt, and lines that begin with one of the programs.
func typed(text string, programs ...string) (commands []string) {
	text = strings.ReplaceAll(fenced.ReplaceAllString(text, ""), " |\n", " | \\\n")
	for _, line := range shown(text) {
		line = strings.TrimPrefix(line, "$ ")
		for _, program := range programs {
			if strings.HasPrefix(line, program+" ") {
				commands = append(commands, line)
			}
		}
	}
	return commands
}

// TestToken gets and revokes certificates as docs/token.md tells it, and has the
// server check the configurations there.
func TestToken(t *testing.T) {
	const path = "docs/token.md"
	p := newPlace(t)
	here := net.JoinHostPort(p.address, freePort(t))
	lib := []string{"/var/lib/chancery", "lib"}
	p.output(t, "chancery init --dir lib --listen "+here+" --set names="+p.address+" --set http_listen=")
	p.serve(t, "chancery serve --dir lib", here)
	p.output(t, "cp lib/root.pem root.pem")
	server := []string{"ca.corp.example:9443", here, "/etc/web/tls", "web"}
	const (
		people  = "it needs somebody who logs in; test/e2e has one"
		machine = "it is for other machines; the tests of the command have their services"
	)
	token := func(name string) {
		t.Helper()
		p.output(t, "chancery token --key deploy.jwk --provisioner deploy --server https://"+here+" --san "+name+" > token")
	}
	followAll(t, p, path, typed(page(t, path), "chancery", "openssl", "jq"), []step{
		{command: "chancery provisioner create deploy --type jwk --out deploy.jwk --dir /var/lib/chancery", change: lib, want: "provisioner deploy of type jwk is made"},
		{command: "chancery token --key deploy.jwk --provisioner deploy --server https://HOST:PORT --san NAME", change: []string{"HOST:PORT", here, "NAME", "a.corp.example"}, want: "."},
		{
			command: "chancery token --key deploy.jwk --provisioner deploy --server https://ca.corp.example:9443 --root root.pem --san web.corp.example --san 10.0.0.7 > token",
			change:  server,
		},
		{
			command: "chancery cert issue --token - --server https://ca.corp.example:9443 --root root.pem --out /etc/web/tls < token",
			change:  server, want: "names        web.corp.example 10.0.0.7",
		},
		{
			command: "chancery cert issue --x5c old.pem --x5c-key old.key --server https://ca.corp.example:9443 --root root.pem",
			change:  server, prepare: func() []string { p.oldCA(t); return nil }, want: "host.corp.example",
		},
		{command: "chancery cert issue --oidc --server https://ca.corp.example:9443 --root root.pem --out me", never: people},
		{command: "chancery cert issue --oidc --device …", never: people},
		{command: "chancery cert issue --k8s-token /var/run/ca/token --server https://ca.corp.example:9443 --root root.pem --out /tls", never: machine},
		{command: "chancery cert issue --aws --server https://ca.corp.example:9443 --root root.pem --out /etc/tls", never: machine},
		{command: "chancery cert issue --gcp …", never: machine},
		{command: "chancery cert issue --azure --audience api://chancery …", never: machine},
		{command: "chancery cert revoke /etc/web/tls --reason keyCompromise", change: server, want: "is revoked"},
		{
			command: "chancery cert revoke SERIAL --token - --server https://ca.corp.example:9443 --root root.pem < token",
			change:  server, want: "is revoked", prepare: func() []string {
				token("lost.corp.example")
				p.output(t, "chancery cert issue --token - --server https://"+here+" --root root.pem --out lost < token")
				serial := p.output(t, "openssl x509 -in lost/cert.pem -noout -serial")
				return []string{"SERIAL", strings.TrimSpace(strings.TrimPrefix(serial, "serial="))}
			},
		},
		{command: "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj / -out csr.pem"},
		{
			command: `jq -n --rawfile csr csr.pem --rawfile token token '{csr: $csr, token: ($token | rtrimstr("\n"))}' | curl --cacert root.pem --json @- https://ca.corp.example:9443/api/v1/sign`,
			change:  server, prepare: func() []string { token("api.corp.example"); return nil }, want: `"names":["dns:api.corp.example"]`,
		},
	})
	p.configurations(t, path)
}

// configurations has the CA check what a page shows of chancery.yaml.
func (p *place) configurations(t *testing.T, path string) {
	t.Helper()
	p.stop(t)
	p.output(t, "jq 'del(.d)' deploy.jwk > lib/deploy.pub.jwk")
	p.output(t, "cp old-root.pem lib/old-root.pem")
	p.output(t, "chancery provisioner remove deploy --dir lib")
	p.output(t, "chancery provisioner remove old --dir lib")
	for _, block := range yamlBlock.FindAllStringSubmatch(page(t, path), -1) {
		p.write(t, "lib/more.yaml", []byte(block[1]))
		p.output(t, "chancery config check --dir lib --config lib/more.yaml")
	}
}

// oldCA makes a CA of somebody else, a certificate from it, and the provisioner
// that takes that.
func (p *place) oldCA(t *testing.T) {
	t.Helper()
	const make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
	p.output(t, make+"-keyout old-root.key -out old-root.pem -subj '/CN=Old CA'")
	p.output(t, make+"-CA old-root.pem -CAkey old-root.key -keyout old.key -out old.pem -subj /CN=host.corp.example "+
		"-addext subjectAltName=DNS:host.corp.example -addext basicConstraints=CA:FALSE -addext keyUsage=digitalSignature")
	p.output(t, "chancery provisioner create old --type x5c --roots old-root.pem --dir lib")
}
