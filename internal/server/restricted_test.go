package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/admin"
)

// A restricted profile is warned of until a key that holds names it.
func TestUnnamedProfilesAreWarnedOf(t *testing.T) {
	const warning = "nobody may use a restricted profile"
	dir := newDir(t)
	content := "profiles:\n  closed:\n    restricted: true\n  tokens:\n    restricted: true\n    doors: [token]\n"
	path := filepath.Join(dir, "chancery.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir)
	if log := r.log.String(); strings.Count(log, warning) != 1 || !strings.Contains(log, "chancery.yaml:3") || !strings.Contains(log, "eab create --profiles closed") {
		t.Errorf("at start:\n%s", log)
	}
	told := 1
	reload := func(what string, warned bool) {
		t.Helper()
		if _, err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if warned {
			told++
		}
		if got := strings.Count(r.log.String(), warning); got != told {
			t.Errorf("%s: warned %d times, want %d", what, got, told)
		}
	}
	reload("without a key", true)
	client := admin.Dial(filepath.Join(dir, "admin.sock"))
	defer client.Close()
	key, err := client.CreateBinding(t.Context(), admin.NewBinding{Expires: time.Now().Add(time.Hour), Grant: admin.Grant{Profiles: []string{"closed"}}})
	if err != nil {
		t.Fatal(err)
	}
	reload("with a key", false)
	if _, err := client.RevokeBinding(t.Context(), key.KID); err != nil {
		t.Fatal(err)
	}
	reload("with a key that was revoked", true)
}
