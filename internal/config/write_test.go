package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	set := []string{
		"listen=0.0.0.0:9443", "names=ca.corp,10.0.0.1,fd00::1", "metrics_listen=:9100", "store.path=db/ca.db",
		"validation.allow=127.0.0.0/8,::1", "validation.caa=on", "validation.caa_identities=ca.corp", "validation.wait=0",
		"validation.zone_resolvers.corp.example=10.0.0.53", "acme.eab_required=true", "acme.fault.nonce_reject=0.05",
		"acme.dns_persist_issuers=true.corp,no", "profiles.web.description=It's \"web\": # yes \\ é", "profiles.tls-server.validity.default=30d",
		"profiles.true.key_types=P-256", "profiles={none: {}, 007: {}}", "default_profile=007", "retention.orders=0", "former_urls=",
		`policy.rules=[{name: "it's: web", allow: ["**.corp"], times: ["mon-fri 08:00-18:00"]}]`, "limits.preset=letsencrypt",
	}
	path := filepath.Join(t.TempDir(), FileName)
	if err := Write(path, set); err != nil {
		t.Fatal(err)
	}
	want, err := Load(LoadOptions{Dir: filepath.Dir(path), File: os.DevNull, Set: set})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(LoadOptions{Dir: filepath.Dir(path)})
	if err != nil {
		t.Fatal(err)
	}
	if changes := want.Changes(got); len(changes) != 0 {
		t.Errorf("what was written is not what was meant: %v", changes)
	}
	for _, setting := range want.Settings() {
		wrote := got.at(setting.Key).kind == fromFile && strings.HasPrefix(got.byKey()[setting.Key].Source, FileName)
		if wrote != (setting.Source == "--set") {
			t.Errorf("%s is from %s and was written: %v", setting.Key, setting.Source, wrote)
		}
	}
	if err := Write(path, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("writing over a file gives %v, want fs.ErrExist", err)
	}
}

// A reader who takes a comment away gets what the comment said: the default.
func TestWriteCommentsHaveDefaults(t *testing.T) {
	text, err := render(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^( *)# ([a-z_-]+: .*)$`).ReplaceAllString(text, "$1$2")
	c, err := Parse(FileName, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Parse(FileName, nil)
	if err != nil {
		t.Fatal(err)
	}
	if changes := plain.Changes(c); len(changes) != 0 {
		t.Errorf("the comments say something else than the defaults: %v", changes)
	}
	for _, setting := range c.Settings() { // what is empty is shown with the first profile only
		empty := slices.Contains([]string{"", "[]", "false", "0"}, setting.Value)
		later := strings.HasPrefix(setting.Key, "profiles.") && !strings.HasPrefix(setting.Key, "profiles.shortlived.")
		if setting.Source == "default" && !(empty && later) {
			t.Errorf("%s is not in the file", setting.Key)
		}
	}
	if long := regexp.MustCompile(`(?m)^.{101,}$`).FindString(text); long != "" {
		t.Errorf("a long line: %s", long)
	}
}

func TestWriteRefusesMistakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if err := Write(path, []string{"lisen=x"}); err == nil || !strings.Contains(err.Error(), `did you mean "listen"?`) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
	if err := Write(filepath.Join(path, FileName), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory gives %v", err)
	}
}

func TestSchema(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	c, err := Parse("sample.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	c.root().walk(func(p place) {
		sub := lookUp(schema, c.root(), p.key)
		if sub == nil || p.field != "" && sub["description"] == "" {
			t.Errorf("the schema lacks %s or its description: %v", p.key, sub)
		}
	})
	for key, want := range map[string]string{
		"validation.http_port":           `{"default":80,"maximum":65535,"minimum":1,"type":"integer"}`,
		"log.level":                      `{"default":"info","enum":["debug","info","warn","error"],"type":"string"}`,
		"acme.order_lifetime":            `{"default":"1d","maximum":0,"minimum":0,"pattern":"` + durationPattern + `","type":["string","integer"]}`,
		"acme.eab_required":              `{"default":false,"type":"boolean"}`,
		"validation.allow":               `{"items":{"type":"string"},"type":"array"}`,
		"validation.zone_resolvers.corp": `{"items":{"type":"string"},"type":"array"}`,
		"profiles.web.key_types":         `{"items":{"type":"string"},"type":"array"}`,
	} {
		sub := lookUp(schema, c.root(), key)
		delete(sub, "description")
		if got := encode(t, sub); got != want {
			t.Errorf("%s: got  %s\nwant %s", key, got, want)
		}
	}
}

// lookUp finds the schema of a key: properties by name, maps by any name.
func lookUp(schema map[string]any, p place, key string) map[string]any {
	if key == "" || schema == nil {
		return schema
	}
	if p.isMap() {
		name, after := p.cutName(key)
		sub, _ := schema["additionalProperties"].(map[string]any)
		return lookUp(sub, p.entry(name), after)
	}
	name, after, _ := strings.Cut(key, ".")
	properties, _ := schema["properties"].(map[string]any)
	sub, _ := properties[name].(map[string]any)
	child, _ := p.child(name)
	return lookUp(sub, child, after)
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
