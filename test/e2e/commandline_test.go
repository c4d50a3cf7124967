package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCommandLine walks through an operator's day on one CA.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	s := start(t)
	name := "cli.own." + zoneName

	s.checkAnnouncement(t)
	file := s.issue(t, name)
	chain := read(t, file)
	s.verify(t, chain, []string{name})

	t.Run("certs", func(t *testing.T) { s.checkInventory(t, chain, name) })
	t.Run("inspect", func(t *testing.T) {
		for _, what := range []string{file, serial(t, chain), s.ca + ":" + httpsPort} {
			expectContains(t, s.chancery(t, "cert", "inspect", "--dir", s.dir, "--root", s.root, what), "issuer", "Intermediate", "serverAuth")
		}
	})
	t.Run("orders", func(t *testing.T) { s.checkTranscript(t, name) })
	t.Run("failure", s.checkFailure)
	t.Run("accounts", s.checkAccounts)
	t.Run("renew", func(t *testing.T) {
		s.chancery(t, "cert", "renew", "--force", file)
		if renewed := read(t, file); serial(t, renewed) == serial(t, chain) {
			t.Error("the file still has the old certificate")
		}
	})
	t.Run("revoke", func(t *testing.T) {
		s.chancery(t, "cert", "revoke", "--dir", s.dir, "--reason", "keyCompromise", serial(t, chain))
		s.expectStatus(t, chain, "revoked")
	})
	t.Run("usage", s.checkUsage)
	t.Run("restart", s.checkRestart)
}

// checkAnnouncement looks for what a person needs next in what `up` printed.
func (s *site) checkAnnouncement(t *testing.T) {
	t.Helper()
	sum := sha256.Sum256(leafOf(t, read(t, s.root)).Raw)
	printed := s.server.log.String()
	plain := strings.ToLower(strings.ReplaceAll(printed, ":", ""))
	if !strings.Contains(plain, hex.EncodeToString(sum[:])) {
		t.Errorf("the root's fingerprint %x is missing:\n%s", sum, printed)
	}
	expectContains(t, printed, s.directory, s.root, "certbot", "lego", "Caddy")
}

// issue gets a certificate with `cert issue` and returns its file.
func (s *site) issue(t *testing.T, name string) string {
	t.Helper()
	out := filepath.Join(s.work, "issued", name)
	s.chancery(t, "cert", "issue", name, "--server", s.directory, "--root", s.root,
		"--http", s.own+":"+challengePort, "--out", out)
	return filepath.Join(out, "fullchain.pem")
}

// checkInventory finds a certificate by each of its marks, and not by others.
func (s *site) checkInventory(t *testing.T, chain []byte, name string) {
	for _, test := range []struct {
		filter string
		value  string
		found  bool
	}{
		{"--name", name, true},
		{"--name", "nobody." + zoneName, false},
		{"--profile", "tls-server", true},
		{"--profile", "tls-client", false},
		{"--expires-before", "91d", true},
		{"--expires-before", "30d", false},
		{"--status", "valid", true},
		{"--status", "revoked", false},
	} {
		var listed []struct{ Serial string }
		printed := s.chancery(t, "certs", "list", "--dir", s.dir, "--json", test.filter, test.value)
		if err := json.Unmarshal([]byte(printed), &listed); err != nil {
			t.Fatalf("certs list --json: %v\n%s", err, printed)
		}
		found := slices.ContainsFunc(listed, func(c struct{ Serial string }) bool { return c.Serial == serial(t, chain) })
		if found != test.found {
			t.Errorf("certs list %s %s: found is %v", test.filter, test.value, found)
		}
	}
	expectContains(t, s.chancery(t, "certs", "show", "--dir", s.dir, strings.ToUpper(serial(t, chain))), serial(t, chain), name)
}

type orderView struct {
	ID     string
	Status string
	Names  []string
}

// orderOf returns the newest order for a name.
func (s *site) orderOf(t *testing.T, name string) orderView {
	t.Helper()
	var listed []orderView
	printed := s.chancery(t, "orders", "list", "--dir", s.dir, "--json")
	if err := json.Unmarshal([]byte(printed), &listed); err != nil {
		t.Fatalf("orders list --json: %v\n%s", err, printed)
	}
	i := slices.IndexFunc(listed, func(o orderView) bool { return slices.Contains(o.Names, name) })
	if i < 0 {
		t.Fatalf("no order for %s in %s", name, printed)
	}
	return listed[i]
}

// checkTranscript reads how a name was validated.
func (s *site) checkTranscript(t *testing.T, name string) {
	order := s.orderOf(t, name)
	if order.Status != "valid" {
		t.Errorf("the order is %s", order.Status)
	}
	expectContains(t, s.chancery(t, "orders", "show", "--dir", s.dir, order.ID), name, "http-01", s.own, "200")
}

// checkFailure asks for a name where nobody listens, and expects to be told why,
// at the terminal and in the transcript.
func (s *site) checkFailure(t *testing.T) {
	name := "down.own." + zoneName
	elsewhere := strings.TrimSuffix(s.own, "3") + "4" // not where the name leads
	_, stderr, err := s.try(t, nil, chancery, "cert", "issue", name, "--server", s.directory, "--root", s.root,
		"--http", elsewhere+":"+challengePort, "--out", filepath.Join(s.work, "none"))
	expectExit(t, err, 1)
	expectContains(t, stderr, name, s.own, "refused")
	order := s.orderOf(t, name)
	if order.Status != "invalid" {
		t.Errorf("the order is %s", order.Status)
	}
	expectContains(t, s.chancery(t, "orders", "show", "--dir", s.dir, order.ID), "refused", s.own)
}

// checkAccounts closes an account; its client must then be refused.
func (s *site) checkAccounts(t *testing.T) {
	c := connectAcmez(t, s, nil)
	id := c.account.Location[strings.LastIndex(c.account.Location, "/")+1:]
	expectContains(t, s.chancery(t, "accounts", "list", "--dir", s.dir), id, contact)
	s.chancery(t, "accounts", "deactivate", "--dir", s.dir, id)
	expectContains(t, s.chancery(t, "accounts", "show", "--dir", s.dir, id), "revoked") // RFC 8555 §7.1.2: by the server
	if _, err := c.request(t, order{"http-01", []string{"closed." + zoneName}}, "", nil); err == nil {
		t.Error("a deactivated account got a certificate")
	}
}

// checkUsage makes mistakes and expects exit codes and remedies.
func (s *site) checkUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"no-such-command"}, 2, "no-such-command"},
		{[]string{"certs", "show"}, 2, "SERIAL"},
		{[]string{"certs", "list", "--no-such-flag"}, 2, "no-such-flag"},
		{[]string{"certs", "show", "--dir", s.dir, "00ff"}, 1, "00ff"},
		{[]string{"config", "check", "--dir", s.dir, "--set", "validation.http_prot=80"}, 1, "validation.http_port"},
		{[]string{"serve", "--dir", s.dir}, 1, "uses it"},
	} {
		stdout, stderr, err := s.try(t, nil, chancery, test.args...)
		expectExit(t, err, test.code)
		if !strings.Contains(stdout+stderr, test.says) {
			t.Errorf("%q doesn't say %q: %s%s", test.args, test.says, stdout, stderr)
		}
	}
	kubernetes := []string{"CHANCERY_PORT=tcp://10.0.0.1:443", "CHANCERY_SERVICE_HOST=10.0.0.1"}
	s.run(t, kubernetes, chancery, "config", "check", "--dir", s.dir)
	expectContains(t, s.chancery(t, "version"), "chancery")
	if printed := s.chancery(t, "config", "schema"); !json.Valid([]byte(printed)) {
		t.Errorf("config schema is not JSON: %s", printed)
	}
	expectContains(t, s.chancery(t, "config", "show", "--dir", s.dir), challengePort, "http_port")
}

// checkRestart backs up while serving, stops, restores, and serves the same CA.
func (s *site) checkRestart(t *testing.T) {
	kept := s.issue(t, "kept.own."+zoneName)
	root := string(read(t, s.root))
	backup := filepath.Join(s.work, "backup")
	s.chancery(t, "backup", "--dir", s.dir, backup)
	_, stderr, err := s.try(t, nil, chancery, "restore", backup, "--dir", s.dir)
	expectExit(t, err, 1)
	expectContains(t, stderr, "uses it")

	lost := s.issue(t, "lost.own."+zoneName)
	s.chancery(t, "reload", "--dir", s.dir)
	if err := s.server.stop(); err != nil {
		t.Fatal(err)
	}
	s.expectStatus(t, read(t, lost), "valid") // from the store, without a server
	s.chancery(t, "restore", backup, "--dir", s.dir)
	s.serve(t, "up")
	s.expectStatus(t, read(t, kept), "valid")
	if _, _, err := s.try(t, nil, chancery, "certs", "show", "--dir", s.dir, serial(t, read(t, lost))); err == nil {
		t.Error("the backup knows a certificate that is younger than it")
	}
	if string(read(t, s.root)) != root {
		t.Error("the root changed")
	}
	s.checkAnnouncement(t)
}

func expectContains(t *testing.T, text string, phrases ...string) {
	t.Helper()
	for _, phrase := range phrases {
		if !strings.Contains(text, phrase) {
			t.Errorf("%q is missing in:\n%s", phrase, text)
		}
	}
}

func expectExit(t *testing.T, err error, code int) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("ended with %v, expected exit code %d", err, code)
	}
}
