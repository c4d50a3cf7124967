package config

import (
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/profile"
)

func TestDefaults(t *testing.T) {
	dir := t.TempDir()
	c, err := Load(LoadOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ got, want any }{
		{c.Listen, "127.0.0.1:9443"},
		{c.HTTPListen, "127.0.0.1:9480"},
		{c.MetricsListen, ""},
		{c.ExternalURL, "https://127.0.0.1:9443"},
		{c.Store.Path, filepath.Join(dir, "chancery.db")},
		{c.Validation.HTTPPort, 80},
		{c.Validation.Timeout.Std(), 5 * time.Second},
		{c.Validation.CAA, "off"},
		{c.ACME.EABRequired, false},
		{c.ACME.Challenges, []string{"http-01", "dns-01", "tls-alpn-01", "dns-account-01"}},
		{c.Retention.Certificates.Std(), time.Duration(0)},
		{c.DefaultProfile, "tls-server"},
		{slices.Sorted(maps.Keys(c.Profiles)), slices.Sorted(maps.Keys(profile.Defaults()))},
		{len(c.Compiled), len(c.Profiles)},
		{c.Profiles["shortlived"].NoRevocation, true},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("got %v, want %v", test.got, test.want)
		}
	}
	for _, setting := range c.Settings() {
		if setting.Source != "default" {
			t.Errorf("%s comes from %s", setting.Key, setting.Source)
		}
	}
}

// sample sets something of every type.
const sample = `# A comment.
listen: ca.corp:443
names: [ca.corp, 10.0.0.1, "FE80::1"]
former_urls:
- https://Old.corp:443/
log:
validation:
  resolvers: [10.0.0.53, "[fd00::53]", ns.corp:5353]
  zone_resolvers:
    Lab.Corp.: [10.1.0.53]
  allow: [127.0.0.1, "::1", 10.0.0.0/8]
  wait: 0
  caa: on
  caa_identities: [ca.corp.]
acme: {eab_required: true, fault: {nonce_reject: 0.05}, terms_of_service: "https://ca.corp/terms"}
default_profile: web
profiles:
  web:
    description: |
      For the web
    validity: {default: 30d}
    key_types: [P-256, RSA-2048]
  tls-client: {backdate: 5m}
retention: {orders: 1w}
policy:
  default: deny
  rules:
  - name: web
    allow: ["**.corp", 10.0.0.0/8]
    max_validity: 30d
  - {deny: [secret.corp], accounts: [x]}
limits: {preset: letsencrypt, new_orders: 1000/h, new_accounts: off}
`

func TestParse(t *testing.T) {
	c, err := Parse("chancery.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	settings := c.byKey()
	for key, want := range map[string]Setting{
		"listen":                                  {Value: "ca.corp:443", Source: "chancery.yaml:2", Restart: true},
		"http_listen":                             {Value: "ca.corp:9480", Source: "default", Restart: true},
		"names":                                   {Value: "ca.corp,10.0.0.1,fe80::1", Source: "chancery.yaml:3"},
		"external_url":                            {Value: "https://ca.corp", Source: "default"},
		"former_urls":                             {Value: "https://old.corp", Source: "chancery.yaml:4"},
		"log.level":                               {Value: "info", Source: "default"},
		"validation.resolvers":                    {Value: "10.0.0.53:53,[fd00::53]:53,ns.corp:5353", Source: "chancery.yaml:8"},
		"validation.zone_resolvers.lab.corp":      {Value: "10.1.0.53:53", Source: "chancery.yaml:10"},
		"validation.allow":                        {Value: "127.0.0.1/32,::1/128,10.0.0.0/8", Source: "chancery.yaml:11"},
		"validation.wait":                         {Value: "0s", Source: "chancery.yaml:12"},
		"validation.caa_identities":               {Value: "ca.corp", Source: "chancery.yaml:14"},
		"acme.fault.nonce_reject":                 {Value: "0.05", Source: "chancery.yaml:15"},
		"profiles.web.description":                {Value: "For the web", Source: "chancery.yaml:19"},
		"profiles.web.validity.default":           {Value: "30d", Source: "chancery.yaml:21"},
		"profiles.web.validity.longest":           {Value: "30d", Source: "default"},
		"profiles.web.key_types":                  {Value: "P-256,RSA-2048", Source: "chancery.yaml:22"},
		"profiles.tls-client.backdate":            {Value: "5m", Source: "chancery.yaml:23"},
		"profiles.tls-client.extended_key_usages": {Value: "clientAuth", Source: "default"},
		"retention.orders":                        {Value: "7d", Source: "chancery.yaml:24"},
		"policy.rules":                            {Value: `[{"name":"web","allow":["**.corp","10.0.0.0/8"],"max_validity":"30d"},{"accounts":["x"],"deny":["secret.corp"]}]`, Source: "chancery.yaml:27"},
		"limits.new_orders":                       {Value: "1000/1h", Source: "chancery.yaml:32"},
	} {
		want.Key = key
		if settings[key] != want {
			t.Errorf("got %+v, want %+v", settings[key], want)
		}
	}
	if c.Rates.NewOrders.Count != 1000 || c.Rates.NewAccounts.Count != 0 || c.Rates.CertificatesPerSet.Count != 5 {
		t.Errorf("the rates are %+v", c.Rates)
	}
	if c.Compiled["web"] == nil || !c.Validation.Allow[2].Contains(netip.MustParseAddr("10.9.9.9")) {
		t.Errorf("web %v, allow %v", c.Compiled["web"], c.Validation.Allow)
	}
}

func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, FileName), "acme: {max_identifiers: 1, eab_required: true}\nvalidation: {attempts: 1}\nlog: {level: warn}")
	c, err := Load(LoadOptions{
		Dir: dir,
		Environ: []string{
			"PATH=/bin", "CHANCERY_ACME_MAX_IDENTIFIERS=2", "CHANCERY_VALIDATION_ATTEMPTS=2", "CHANCERY_HTTP_LISTEN=",
			"CHANCERY_PROFILES_TLS_SERVER_BACKDATE=2m", "CHANCERY_VALIDATION_ZONE_RESOLVERS={corp: [10.0.0.1], lab.corp: []}",
			"CHANCERY_DIR=/nowhere", "CHANCERY_CONFIG=/nowhere",
		},
		Set: []string{
			"validation.attempts=3", "validation.attempts=4", "validation.zone_resolvers.Lab.corp=10.0.0.2, 10.0.0.3:54",
			"profiles.a.backdate=3m", "profiles={a.b: {}}", "profiles.a.b.validity.default=1d", "names=",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	settings := c.byKey()
	for key, want := range map[string][2]string{
		"log.level":                          {"warn", "chancery.yaml:3"},
		"acme.eab_required":                  {"true", "chancery.yaml:1"},
		"acme.max_identifiers":               {"2", "environment CHANCERY_ACME_MAX_IDENTIFIERS"},
		"validation.attempts":                {"4", "--set"},
		"http_listen":                        {"", "environment CHANCERY_HTTP_LISTEN"},
		"names":                              {"", "--set"},
		"profiles.tls-server.backdate":       {"2m", "environment CHANCERY_PROFILES_TLS_SERVER_BACKDATE"},
		"profiles.a.backdate":                {"3m", "--set"},
		"profiles.a.b.validity.default":      {"1d", "--set"},
		"validation.zone_resolvers.corp":     {"10.0.0.1:53", "environment CHANCERY_VALIDATION_ZONE_RESOLVERS"},
		"validation.zone_resolvers.lab.corp": {"10.0.0.2:53,10.0.0.3:54", "--set"},
	} {
		if got := settings[key]; got.Value != want[0] || got.Source != want[1] {
			t.Errorf("%s: got %q from %s, want %q from %s", key, got.Value, got.Source, want[0], want[1])
		}
	}
}

// What Kubernetes puts in the environment of a container next to services
// named chancery, chancery-metrics and chancery-validation-http.
func TestServiceVariables(t *testing.T) {
	_, err := Load(LoadOptions{Dir: t.TempDir(), Environ: []string{
		"CHANCERY_SERVICE_HOST=10.96.0.10",
		"CHANCERY_SERVICE_PORT=443",
		"CHANCERY_SERVICE_PORT_HTTPS=443",
		"CHANCERY_PORT=tcp://10.96.0.10:443",
		"CHANCERY_PORT_443_TCP=tcp://10.96.0.10:443",
		"CHANCERY_PORT_443_TCP_PROTO=tcp",
		"CHANCERY_PORT_443_TCP_PORT=443",
		"CHANCERY_PORT_443_TCP_ADDR=10.96.0.10",
		"CHANCERY_METRICS_SERVICE_HOST=10.96.0.11",
		"CHANCERY_METRICS_SERVICE_PORT_WEB=80",
		"CHANCERY_METRICS_PORT_53_UDP=udp://10.96.0.11:53",
		"CHANCERY_METRICS_PORT_53_UDP_PROTO=udp",
		"CHANCERY_VALIDATION_HTTP_PORT=tcp://10.96.0.12:80",
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestLoadFindsItsFile(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other", "my.yaml")
	if _, err := Load(LoadOptions{Dir: dir, File: other}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing --config gives %v, want fs.ErrNotExist", err)
	}
	if _, err := Load(LoadOptions{Dir: dir, File: dir}); err == nil {
		t.Error("a directory was read as a file")
	}
	if err := os.Mkdir(filepath.Dir(other), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, other, "log: {level: debug}\nstore: {path: /db/ca.db}")
	c, err := Load(LoadOptions{File: other})
	if err != nil {
		t.Fatal(err)
	}
	if c.Dir != filepath.Dir(other) || c.Store.Path != "/db/ca.db" {
		t.Errorf("Dir %s, Store.Path %s", c.Dir, c.Store.Path)
	}
	if c.at("log.level").String() != "my.yaml:1" {
		t.Errorf("log.level is from %s", c.at("log.level"))
	}
}

func TestDefaultsOfTheCaller(t *testing.T) {
	for _, test := range []struct{ file, allow, source string }{
		{"", "127.0.0.0/8,::1/128", "default"},
		{"validation: {allow: [10.0.0.0/8]}", "10.0.0.0/8", FileName + ":1"},
		{"validation: {allow: []}", "", FileName + ":1"},
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, FileName), test.file)
		c, err := Load(LoadOptions{Dir: dir, Defaults: []string{"validation.allow=127.0.0.0/8,::1/128"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.byKey()["validation.allow"]; got.Value != test.allow || got.Source != test.source {
			t.Errorf("%q: %+v", test.file, got)
		}
	}
}

func TestReloadAndChanges(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	writeFile(t, path, "profiles: {web: {}}\nvalidation: {zone_resolvers: {corp: []}}")
	old, err := Load(LoadOptions{Dir: dir, Set: []string{"acme.max_identifiers=5"}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "log: {level: loud}")
	if _, err := old.Reload(); err == nil {
		t.Error("a bad file was loaded again")
	}
	writeFile(t, path, "log: {level: debug, format: json}\nvalidation: {zone_resolvers: {lab: [10.0.0.1]}}\nacme: {max_identifiers: 7}")
	next, err := old.Reload()
	if err != nil {
		t.Fatal(err)
	}
	want := []Change{
		{"log.format", "text", "json", true},
		{"log.level", "info", "debug", false},
		{"validation.zone_resolvers.lab", "", "10.0.0.1:53", false},
	}
	got := slices.DeleteFunc(old.Changes(next), func(c Change) bool { return strings.HasPrefix(c.Key, "profiles.web.") })
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Only a restart moves the listener, and until then URLs must lead to it.
func TestReloadKeepsURLsOfListener(t *testing.T) {
	for _, test := range []struct{ before, after, external string }{
		{"listen: 10.0.0.1:443", "listen: 10.0.0.2:8443", "https://10.0.0.1"},
		{"listen: :8443\nnames: [a.corp]", "listen: :9443\nnames: [b.corp]", "https://b.corp:8443"},
		{"listen: :8443\nnames: [a.corp]", "listen: 10.0.0.1:443", "https://a.corp:8443"},
		{"listen: 127.0.0.1:0", "listen: 127.0.0.1:8443", ""},
		{"listen: 10.0.0.1:443", "listen: 10.0.0.2:443\nexternal_url: https://c.corp", "https://c.corp"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, FileName)
		writeFile(t, path, "http_listen: ''\n"+test.before)
		old, err := Load(LoadOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, "http_listen: ''\n"+test.after)
		next, err := old.Reload()
		if err != nil {
			t.Fatal(err)
		}
		if next.ExternalURL != test.external {
			t.Errorf("from %q to %q: %q, want %q", test.before, test.after, next.ExternalURL, test.external)
		}
	}
}

func TestURLsAndNames(t *testing.T) {
	for _, test := range []struct{ set, external, plain, names string }{
		{"", "https://127.0.0.1:9443", "http://127.0.0.1:9480", "ip:127.0.0.1"},
		{"listen=[::1]:443 http_listen=[::1]:80", "https://[::1]", "http://[::1]", "ip:::1"},
		{"listen=:9443 names=Ca.corp,10.0.0.1", "https://ca.corp:9443", "http://ca.corp:9480", "dns:ca.corp ip:10.0.0.1"},
		{"listen=0.0.0.0:9443 external_url=https://CA.corp/", "https://ca.corp", "http://ca.corp:9480", "dns:ca.corp"},
		{"listen=10.0.0.1:1 http_listen=10.0.0.2:2", "https://10.0.0.1:1", "http://10.0.0.2:2", "ip:10.0.0.1"},
		{"listen=[::]:1 names=fd00::1 http_listen=", "https://[fd00::1]:1", "", "ip:fd00::1"},
		{"listen=127.0.0.1:0 http_listen=127.0.0.1:0", "", "", "ip:127.0.0.1"},
		{"external_url=https://a.corp:8443 ", "https://a.corp:8443", "", "dns:a.corp ip:127.0.0.1"},
		{"listen=:443 names=a.corp http_listen=127.0.0.1:80", "https://a.corp", "", "dns:a.corp"},
		{"listen=:443 names=a.corp http_listen= http_url=http://CRL.corp:80/", "https://a.corp", "http://crl.corp", "dns:a.corp"},
	} {
		c, err := Load(LoadOptions{Dir: t.TempDir(), Set: strings.Fields(test.set)})
		if err != nil {
			t.Errorf("%s: %v", test.set, err)
			continue
		}
		names := fields(c.ServerNames())
		if c.ExternalURL != test.external || c.HTTPURL != test.plain || names != test.names {
			t.Errorf("%s: %s, %s, %s", test.set, c.ExternalURL, c.HTTPURL, names)
		}
	}
	c := &Config{}
	if got := c.BaseURL("https", "127.0.0.1:40001"); got != "https://127.0.0.1:40001" {
		t.Errorf("BaseURL gives %q", got)
	}
}

func fields(ids []identifier.Identifier) string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return strings.Join(texts, " ")
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRevocationIsWarnedOf(t *testing.T) {
	for set, warned := range map[string]bool{
		"":                                    false,
		"listen=:1 names=a.corp":              false,
		"http_listen=":                        true,
		"names=a.corp":                        true, // on loopback
		"http_listen= http_url=http://a.corp": false,
		"http_listen=127.0.0.1:0":             false, // known later
	} {
		c, err := Load(LoadOptions{Dir: t.TempDir(), Set: strings.Fields(set)})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(c.Warnings) == 1 && strings.Contains(c.Warnings[0].Error(), "http_url"); got != warned {
			t.Errorf("%s: %v", set, c.Warnings)
		}
	}
}

func TestWarnings(t *testing.T) {
	c, err := Parse("chancery.yaml", []byte("policy:\n  rules:\n  - {allow: [\"**.corp\"]}\n  - name: again\n    allow: [a.corp]"))
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Error(), "chancery.yaml:5:5: policy.rules[1].allow[0]: a.corp is never asked") {
		t.Errorf("%v, %v", c, err)
	}
}
