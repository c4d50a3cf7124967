package docs

import (
	"net"
	"regexp"
	"testing"
)

// TestClient gets, keeps and revokes certificates as docs/client.md tells it.
func TestClient(t *testing.T) {
	p := newPlace(t)
	port := freePort(t)
	here := net.JoinHostPort(p.address, port)
	lib := []string{"/var/lib/chancery", "lib"}
	p.output(t, "chancery init --dir lib --listen "+here+" --set names="+p.address+" --set http_listen=")
	p.serve(t, "chancery serve --dir lib", here)
	p.output(t, "cp lib/root.pem root.pem")
	fingerprint := regexp.MustCompile(`SHA-256 +([0-9a-f]{64})`).FindStringSubmatch(p.output(t, "chancery cert inspect root.pem"))
	if fingerprint == nil {
		t.Fatal("cert inspect shows no fingerprint")
	}
	server := []string{"ca.corp.example:9443", here, "/etc/web", "web"}
	follow(t, p, "docs/client.md", []step{
		{
			command: "chancery trust install --server https://ca.corp.example:9443 --fingerprint SHA256",
			change:  append([]string{"SHA256", fingerprint[1] + " --nss"}, server...), prepare: func() []string { p.browser(t); return nil },
			want: "nss: installed",
		},
		{command: "chancery provisioner create deploy --type jwk --out deploy.jwk --dir /var/lib/chancery", change: lib, want: "deploy"},
		{
			command: "chancery token --key deploy.jwk --provisioner deploy --server https://ca.corp.example:9443 --root root.pem " +
				"--san web.corp.example --san 10.0.0.7 --profile tls-mutual > token",
			change: server,
		},
		{
			command: "chancery cert issue --token - --server https://ca.corp.example:9443 --root root.pem --out /etc/web/tls " +
				"--exec 'systemctl reload web' < token",
			change: server, want: "web.corp.example 10.0.0.7",
		},
		{command: "chancery provisioner list --dir /var/lib/chancery", change: lib, want: "deploy"},
		{command: "chancery provisioner remove deploy --dir /var/lib/chancery", change: lib, want: "removed"},
		{command: "chancery cert renew", want: "not due"},
		{command: "chancery cert renew --daemon", never: "it serves nothing that could be asked; its own tests run it"},
		{command: "chancery cert revoke /etc/web/tls --reason superseded", change: server, want: "is revoked"},
		{command: "chancery csr app.corp.example --key app.key --out app.csr", want: "app.key"},
	})
}

// browser makes the database that a browser would have made.
func (p *place) browser(t *testing.T) {
	t.Helper()
	p.output(t, "mkdir -p .pki/nssdb")
	p.output(t, "certutil -N -d sql:.pki/nssdb --empty-password")
}
