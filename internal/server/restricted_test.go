package server_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/admin"
)

// A restricted profile is warned of until a key that holds, or a provisioner,
// names it at one of its doors.
func TestUnnamedProfilesAreWarnedOf(t *testing.T) {
	const warning = "nobody may use a restricted profile"
	dir := newDir(t)
	path := filepath.Join(dir, "chancery.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const profiles = "profiles:\n  closed:\n    restricted: true\n  tokens:\n    restricted: true\n    doors: [token]\n"
	write(profiles)
	r := start(t, dir)
	if log := r.log.String(); strings.Count(log, warning) != 2 || !strings.Contains(log, "chancery.yaml:3") || !strings.Contains(log, "eab create --profiles closed") {
		t.Errorf("at start:\n%s", log)
	}
	reload := func(what string, warned ...string) {
		t.Helper()
		before := len(r.log.String())
		if _, err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		told := r.log.String()[before:]
		for _, name := range []string{"closed", "tokens"} {
			if strings.Contains(told, "profile="+name+" ") != slices.Contains(warned, name) {
				t.Errorf("%s: profile %s:\n%s", what, name, told)
			}
		}
	}
	reload("with nobody", "closed", "tokens")
	client := admin.Dial(filepath.Join(dir, "admin.sock"))
	defer client.Close()
	key, err := client.CreateBinding(t.Context(), admin.NewBinding{Expires: time.Now().Add(time.Hour), Grant: admin.Grant{Profiles: []string{"closed", "tokens"}}})
	if err != nil {
		t.Fatal(err)
	}
	reload("with a key", "tokens")
	if _, err := client.RevokeBinding(t.Context(), key.KID); err != nil {
		t.Fatal(err)
	}
	reload("with a key that was revoked", "closed", "tokens")
	write(profiles + "provisioners:\n  ci: {type: oidc, issuer: https://idp.corp.example, client_id: chancery, profiles: [closed, tokens]}\n")
	reload("with a provisioner")
}
