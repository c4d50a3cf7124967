package docs

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestReadme gets a first certificate as the README says, and runs everything
// else it shows.
func TestReadme(t *testing.T) {
	p := newPlace(t)
	here := p.address + ":9443"
	port := freePort(t)
	follow(t, p, "README.md", slices.Concat(firstCertificate(here, port), byToken(here), afterwards(t, p, port)))
}

// firstCertificate is everything up to the certificates of other clients.
func firstCertificate(here, port string) []step {
	return []step{
		{
			command: "go run ./cmd/chancery up", change: []string{" up", " up --listen " + here + " --set http_listen="},
			serves: here, want: "SHA-256",
		},
		{command: "make test", never: "it runs this test"},
		{
			command: "go run ./cmd/chancery up --set validation.http_port=8080", change: []string{"8080", port},
			serves: here, want: "--http-01-port " + port,
		},
		{
			command: "go run ./cmd/chancery cert issue localhost --http :8080 --out /tmp/first",
			change:  []string{":8080", ":" + port, "/tmp/first", "first"}, want: "fullchain.pem",
		},
		{
			command: "openssl verify -CAfile chancery-ca/root.pem -untrusted /tmp/first/chain.pem /tmp/first/cert.pem",
			change:  []string{"/tmp/first", "first"}, want: "OK",
		},
		{
			command: "REQUESTS_CA_BUNDLE=chancery-ca/root.pem certbot certonly --standalone --server https://127.0.0.1:9443/acme/directory -d app.corp.example",
			change: []string{
				"127.0.0.1:9443", here, "app.corp.example", "localhost",
				"--standalone", "--standalone --http-01-port " + port + // and nobody to ask, and nothing outside this directory:
					" -n --agree-tos --register-unsafely-without-email --config-dir le --work-dir le --logs-dir le",
			},
			want: "Successfully received certificate",
		},
	}
}

// byToken gets a certificate by a token, with the server that still runs.
func byToken(here string) []step {
	const address = "127.0.0.1:9443"
	return []step{
		{command: "chancery provisioner create deploy --type jwk --out deploy.jwk", want: "deploy.jwk"},
		{
			command: "chancery token --key deploy.jwk --provisioner deploy --server https://127.0.0.1:9443 --root chancery-ca/root.pem --san web.corp.example --san uri:spiffe://corp.example/web > token",
			change:  []string{address, here},
		},
		{
			command: "chancery cert issue --token - --server https://127.0.0.1:9443 --root chancery-ca/root.pem --out web < token",
			change:  []string{address, here}, want: "web.corp.example",
		},
		{command: "chancery cert renew web", change: []string{"renew web", "renew web --force"}, want: "renewed"},
	}
}

// afterwards is what the README does with what was issued, and a CA on a server.
func afterwards(t *testing.T, p *place, port string) []step {
	var order, serial string
	return []step{
		{command: "chancery certs list", want: "localhost"},
		{
			command: "chancery certs list --name '**.corp.example' --expires-before 30d --json",
			change:  []string{"'**.corp.example'", "localhost", "30d", "100d"}, want: `"serial"`,
			check: func(out string) {
				var list []struct{ Serial, Order string }
				if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) < 2 {
					t.Fatalf("%v: %s", err, out)
				}
				for _, c := range list {
					if c.Order != "" { // not the server's own
						serial, order = c.Serial, c.Order
					}
				}
			},
		},
		{command: "chancery services list --unhealthy", change: []string{" --unhealthy", ""}, want: "web.corp.example"},
		{
			command: "chancery orders show ID", prepare: func() []string { return []string{"ID", order} },
			want: "connect localhost at 127.0.0.1:" + port,
		},
		{
			command: "chancery certs revoke --name '*.old.corp.example' --dry-run", change: []string{"*.old.corp.example", "*.corp.example"},
			want: "web.corp.example",
		},
		{
			command: "chancery cert revoke SERIAL --reason keyCompromise", prepare: func() []string { return []string{"SERIAL", serial} },
			want: "revoked",
		},
		{command: "chancery incident open --profile tls-server --explanation https://wiki.corp.example/7", want: "incident"},
		{command: "chancery backup ca.tar", want: "ca.tar"},
		{
			command: "chancery init --dir /var/lib/chancery --name ca.corp.example --permit corp.example,10.0.0.0/8 --set listen=0.0.0.0:443",
			change:  []string{"/var/lib/chancery", "ca", "0.0.0.0:443", p.address + ":9543 --set http_listen="}, want: "root-passphrase.txt",
		},
		{
			command: "chancery serve --dir /var/lib/chancery", change: []string{"/var/lib/chancery", "ca"},
			serves: p.address + ":9543", want: "https://ca.corp.example:9543/acme/directory",
		},
	}
}
