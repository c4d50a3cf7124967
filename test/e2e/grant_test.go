package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestGrant gets certificates with nothing but a key for external account
// binding: no client here can prove anything, and nothing answers for the names.
func TestGrant(t *testing.T) {
	t.Parallel()
	s := start(t)
	key := s.createEAB(t, "team-a", "--allow", "*.team-a.corp", "--allow", "10.2.0.0/16", "--preauthorize", "*.team-a.corp")
	for name, unable := range map[string]unable{"certbot": newUnableCertbot(s, key), "lego": newUnableLego(s, key)} {
		t.Run(name, func(t *testing.T) {
			for _, names := range [][]string{{"*.team-a.corp"}, {"www.team-a.corp", "*.team-a.corp"}} {
				chain, output, err := unable(t, names)
				if err != nil {
					t.Fatalf("%v: %v: %s", names, err, output)
				}
				s.verify(t, chain, names)
				s.expectStatus(t, chain, "valid")
			}
			_, output, err := unable(t, []string{"www.team-b.corp"})
			if err == nil || !strings.Contains(output, `grant "team-a" allows only *.team-a.corp, 10.2.0.0/16`) {
				t.Errorf("a name outside the grant: %v: %s", err, output)
			}
		})
	}
	s.chancery(t, "policy", "test", "--dir", s.dir, "x.team-a.corp", "--grant", "team-a")
	if _, _, err := s.try(t, nil, chancery, "policy", "test", "--dir", s.dir, "x.team-b.corp", "--grant", "team-a"); err == nil {
		t.Error("policy test allows a name outside the grant")
	}
}

// unable is a client that asks for names, and fails as soon as it is to prove one.
type unable func(t *testing.T, names []string) (chain []byte, output string, err error)

func newUnableCertbot(s *site, key *eab) unable {
	config := filepath.Join(s.work, "unable-certbot")
	return func(t *testing.T, names []string) ([]byte, string, error) {
		args := []string{
			"certonly", "--non-interactive", "--agree-tos", "--email", contact, "--server", s.directory,
			"--config-dir", config, "--work-dir", config + "-work", "--logs-dir", config + "-log",
			"--eab-kid", key.KID, "--eab-hmac-key", key.HMAC, "--cert-name", "unable", "--renew-with-new-domains",
			"--manual", "--preferred-challenges", "dns", "--manual-auth-hook", "/bin/false",
		}
		for _, name := range names {
			args = append(args, "--domain", name)
		}
		stdout, stderr, err := s.try(t, []string{"REQUESTS_CA_BUNDLE=" + s.root}, "certbot", args...)
		if err != nil {
			// certbot 2.1 trips over its own error, and tells in its log only what it was told.
			log := strings.ReplaceAll(string(read(t, filepath.Join(config+"-log", "letsencrypt.log"))), `\"`, `"`)
			return nil, stdout + stderr + log, err
		}
		return read(t, filepath.Join(config, "live", "unable", "fullchain.pem")), stdout + stderr, nil
	}
}

func newUnableLego(s *site, key *eab) unable {
	path := filepath.Join(s.work, "unable-lego")
	return func(t *testing.T, names []string) ([]byte, string, error) {
		args := []string{
			"--server", s.directory, "--path", path, "--email", contact, "--accept-tos", "--dns", "exec", "--dns.disable-cp",
			"--eab", "--kid", key.KID, "--hmac", key.HMAC,
		}
		for _, name := range names {
			args = append(args, "--domains", name)
		}
		stdout, stderr, err := s.try(t, []string{"LEGO_CA_CERTIFICATES=" + s.root, "EXEC_PATH=/bin/false"}, "lego", append(args, "run")...)
		if err != nil {
			return nil, stdout + stderr, err
		}
		return read(t, filepath.Join(path, "certificates", strings.Replace(names[0], "*", "_", 1)+".crt")), stdout + stderr, nil
	}
}
