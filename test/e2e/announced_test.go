package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Ports for programs that listen on all addresses, and so can't share those that
// every site has.
const (
	anyAddressPort     = "5102"
	anyAddressALPNPort = "5101"
)

// TestAnnouncedCommands runs what `up` prints for people to copy.
func TestAnnouncedCommands(t *testing.T) {
	t.Parallel()
	s := start(t, "validation.http_port="+anyAddressPort, "validation.tls_port="+anyAddressALPNPort)
	printed := s.server.log.String()

	t.Run("certbot", func(t *testing.T) {
		settings := fmt.Sprintf("config-dir = %[1]s\nwork-dir = %[1]s-work\nlogs-dir = %[1]s-log\n", filepath.Join(s.work, "letsencrypt"))
		s.writeHome(t, ".config/letsencrypt/cli.ini", settings)
		s.runAnnounced(t, printed, "certbot")
		s.verify(t, read(t, filepath.Join(s.work, "letsencrypt", "live", "localhost", "fullchain.pem")), []string{"localhost"})
	})
	t.Run("lego", func(t *testing.T) {
		s.runAnnounced(t, printed, "lego")
		s.verify(t, read(t, filepath.Join(s.work, ".lego", "certificates", "localhost.crt")), []string{"localhost"})
	})
	t.Run("caddy", func(t *testing.T) {
		_, block, _ := strings.Cut(printed, "Caddy, in a Caddyfile\n")
		block = block[:strings.Index(block, "\n    }\n")+len("\n    }\n")]
		options := fmt.Sprintf("{\nadmin off\nstorage file_system %s\nhttp_port %s\nhttps_port %s\n}\n",
			filepath.Join(s.work, "caddy"), anyAddressPort, anyAddressALPNPort)
		s.writeHome(t, "Caddyfile", options+block)
		server := s.launch(t, "caddy", "run", "--config", filepath.Join(s.work, "Caddyfile"), "--adapter", "caddyfile")
		var chain []byte
		s.await(t, server, "Caddy to serve HTTPS", func() (err error) {
			chain, err = s.visit(t, "127.0.0.1:"+anyAddressALPNPort, "localhost")
			return err
		})
		s.verify(t, chain, []string{"localhost"})
	})
}

// runAnnounced runs the line of a program, without sudo.
func (s *site) runAnnounced(t *testing.T, printed, program string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^ +(?:sudo )?(\w+=\S+ ` + program + ` .*)$`).FindStringSubmatch(printed)
	if line == nil {
		t.Fatalf("no line for %s in:\n%s", program, printed)
	}
	s.run(t, nil, "sh", "-c", line[1])
}

// writeHome writes a file into the home folder of the programs.
func (s *site) writeHome(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(s.work, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path, []byte(content))
}
