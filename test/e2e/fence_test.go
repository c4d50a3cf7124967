package e2e

import (
	"testing"
)

// TestInitAndServe makes a CA and serves it as on a server: validations may then
// reach loopback addresses only when that is configured.
func TestInitAndServe(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.chancery(t, "init", "--dir", s.dir, "--name", s.ca)
	root := string(read(t, s.root))
	s.chancery(t, "config", "check", "--dir", s.dir)

	s.serve(t, "serve", "validation.attempts=1")
	o := order{"http-01", []string{"inside." + zoneName}}
	_, err := connectAcmez(t, s, nil).request(t, o, "", nil)
	if err == nil {
		t.Fatal("a loopback address was reached")
	}
	expectContains(t, err.Error(), s.web, "loopback", "validation.allow")
	if err := s.server.stop(); err != nil {
		t.Fatal(err)
	}

	s.serve(t, "serve", "validation.allow=127.0.0.0/8")
	s.verify(t, connectAcmez(t, s, nil).obtain(t, o), o.names)
	_, stderr, err := s.try(t, nil, chancery, "init", "--dir", s.dir)
	expectExit(t, err, 1)
	expectContains(t, stderr, s.dir)
	if string(read(t, s.root)) != root {
		t.Error("the root changed")
	}
}
