package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const storeURL = "postgres://chancery@db.corp/chancery?sslmode=verify-full"

func TestStoreInPlainText(t *testing.T) {
	for name, options := range map[string]LoadOptions{
		"as it is":    {Set: []string{"store=" + storeURL}},
		"its key":     {Set: []string{"store.url=" + storeURL}},
		"a map":       {Set: []string{"store={url: '" + storeURL + "'}"}},
		"environment": {Environ: []string{"CHANCERY_STORE=" + storeURL}},
		"the last":    {Set: []string{"store=sqlite", "store=" + storeURL}},
	} {
		options.Dir = t.TempDir()
		c, err := Load(options)
		if err != nil || c.Store.URL != storeURL || c.Store.Connections != 16 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for text, want := range map[string]string{
		"store: " + storeURL:                        storeURL,
		"store: '" + storeURL + "'":                 storeURL,
		"store: {url: '" + storeURL + "'}":          storeURL,
		"store:\n  url: " + storeURL:                storeURL,
		"store: sqlite":                             "",
		"store:":                                    "",
		"store: postgresql://db1,db2:5433/chancery": "postgresql://db1,db2:5433/chancery",
	} {
		c, err := Parse("chancery.yaml", []byte(text))
		if err != nil || c.Store.URL != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	over, err := Load(LoadOptions{Dir: t.TempDir(), Defaults: []string{"store=" + storeURL}, Set: []string{"store=sqlite"}})
	if err != nil || over.Store.URL != "" {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"store: mysql://db/x", "store: nonsense", "store: 5", "store: [a]", "store: {url: sqlite}"} {
		if _, err := Parse("chancery.yaml", []byte(text)); err == nil {
			t.Errorf("%s: is taken", text)
		}
	}
}

// TestPasswordsAreNotShown writes a password wherever one might, and each time
// there is a mistake to tell of.
func TestPasswordsAreNotShown(t *testing.T) {
	const secret = "s3cr3t-hunter2"
	with := "postgres://chancery:" + secret + "@db.corp:5432/chancery"
	long := "postgres://" + strings.Repeat("x", 40) + ":" + secret + strings.Repeat("y", 40) + "@db.corp/chancery"
	var errs []error
	for _, text := range []string{
		"store: " + with, "store: {url: '" + with + "'}", "store:\n  url: " + with + " # mine", "store: {url: ['" + with + "']}",
		"store: postgres://db/x?password=" + secret, "store: {url: 'postgres://db/x?user=a&password=" + secret + "'}",
		"store: host=db password=" + secret, "store: mysql://root:" + secret + "@db/x", "store: " + long, "listen: " + long,
		"store: {path: 5, url: " + with + "}", "store: {urll: '" + with + "'}", "listen: " + with, "store: " + with + "\n  url: x",
		"store: \"postgres://chancery:" + secret + "@with\\\"quote@db/x\"", "store: [" + with + "]",
	} {
		_, err := Parse("chancery.yaml", []byte(text))
		errs = append(errs, err)
	}
	for _, set := range []string{
		"store=" + with, "store.url=" + with, "store={url: '" + with + "'}", "store={url: " + with, with, "store.uri=" + with,
		"listen=" + with, "store={" + with + "}",
	} {
		_, err := Load(LoadOptions{Dir: t.TempDir(), Set: []string{set}})
		errs = append(errs, err)
	}
	for _, variable := range []string{"CHANCERY_STORE=" + with, "CHANCERY_STORE_URL=" + with, "CHANCERY_STOR=" + with} {
		_, err := Load(LoadOptions{Dir: t.TempDir(), Environ: []string{variable}})
		errs = append(errs, err)
	}
	for i, err := range errs {
		if err == nil {
			t.Errorf("the %d. is taken", i)
			continue
		}
		if text := err.Error(); strings.Contains(text, secret[:6]) || strings.Contains(text, "hunter2") {
			t.Errorf("the %d. shows the password: %s", i, text)
		}
	}
}

func TestOtherURLsAreShown(t *testing.T) {
	for _, text := range []string{
		"http://a.corp:80/x", "https://a.corp:9443", "postgres://db.corp:5432/chancery", "postgres://a@db:5432,db2:5433/x",
		`the text "https://ca.corp:9443"`, "{url: https://ca:1, b: c}", "a: b@c", "mailto:a@b.c", "10.0.0.1:80",
	} {
		if shown := withoutSecrets(text); shown != text {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
}

func TestSharedSettings(t *testing.T) {
	load := func(set ...string) map[string]string {
		c, err := Load(LoadOptions{Dir: t.TempDir(), Set: set})
		if err != nil {
			t.Fatal(err)
		}
		return c.SharedSettings()
	}
	common := load("acme.eab_required=true", "policy.default=deny")
	if common["acme"] == "" || common["policy"] == "" || common["listen"] != "" || common["store"] != "" {
		t.Errorf("%v", common)
	}
	own := load("acme.eab_required=true", "policy.default=deny", "listen=127.0.0.1:1", "node.name=a", "log.level=debug", "names=a.corp",
		"store="+storeURL, "external_url=https://a.corp", "acme.max_identifiers=100")
	if !maps.Equal(own, common) {
		t.Errorf("what is a node's own counts: %v, %v", own, common)
	}
	if other := load("acme.eab_required=true", "acme.website=https://a.corp"); other["acme"] == common["acme"] || other["policy"] == common["policy"] {
		t.Errorf("%v, %v", other, common)
	}
}

func TestPasswordFileIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("ca", 0o700); err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs("ca")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"ca", absolute} {
		for file, want := range map[string][]string{"pw": {"pw"}, filepath.Join(absolute, "pw"): {"pw"}, "/etc/pw": nil, "../pw": nil} {
			c, err := Load(LoadOptions{Dir: dir, Set: []string{"store=" + storeURL, "store.password_file=" + file}})
			if err != nil {
				t.Fatal(err)
			}
			if names := c.NamedFiles(); !slices.Equal(names, want) {
				t.Errorf("%s in %s: %v", file, dir, names)
			}
		}
	}
}
