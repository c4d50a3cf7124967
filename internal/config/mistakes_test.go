package config

import (
	"errors"
	"strings"
	"testing"
)

// fileMistakes has one mistake a file, and all that is said about it.
var fileMistakes = []struct{ file, says string }{
	// What is no configuration at all.
	{"listen: [", "chancery.yaml:1:9: this is not YAML: sequence end token ']' not found\n    1 | listen: ["},
	{"log:\n\tlevel: info", "chancery.yaml:2:1: this is not YAML: found character '\t' that cannot start any token\n    2 |  level: info"},
	{"listen", `chancery.yaml:1:1: keys are expected here, as in "name: value"; found the text "listen"`},
	{"- listen", `chancery.yaml:1:1: keys are expected here, as in "name: value"; found a list`},
	{"log: {}\n---\nlog: {}", "chancery.yaml:3:4: a second document begins here; a configuration is one document"},
	{strings.Repeat("[", 1000), "chancery.yaml:1:33: this is not YAML: this is nested too deep"},
	{strings.Repeat("#", 1<<25), "chancery.yaml:1:1: the file has more than 16 MiB; is it the right one?"},

	// Keys.
	{"validation:\n  http_prot: 80", `chancery.yaml:2:3: unknown key "validation.http_prot"; did you mean "validation.http_port"?` + "\n    2 |   http_prot: 80"},
	{"http_port: 80", `chancery.yaml:1:1: unknown key "http_port"; did you mean "validation.http_port"?`},
	{"validaton:\n  wait: 1s", `chancery.yaml:1:1: unknown key "validaton"; did you mean "validation"?`},
	{"profiles:\n  web:\n    validty: {default: 1d}", `chancery.yaml:3:5: unknown key "profiles.web.validty"; did you mean "profiles.web.validity"?`},
	{"profiles: {web: {validity: {least: 1d}}}", `chancery.yaml:1:29: unknown key "profiles.web.validity.least"; did you mean`},
	{"listen: \"[::1]:1\"\nlisten: \"[::1]:2\"", "chancery.yaml:2:1: listen: this key is there twice; keep one of them"},
	{"validation: {zone_resolvers: {corp: [], Corp.: []}}", "chancery.yaml:1:41: validation.zone_resolvers.corp: this key is there twice"},
	{"<<: {listen: x}", `chancery.yaml:1:1: unknown key "<<"`},
	{"? listen\n: x", `chancery.yaml:1:1: a plain key is expected here; found "?"`},
	{"log: &a {}", "chancery.yaml:1:6: log: anchors, aliases and tags are not read here; write the value itself"},
	{"names: !!seq []", "chancery.yaml:1:8: names: anchors, aliases and tags are not read here"},

	// The store.
	{"store: {url: \"postgres://ca:word@db.corp/ca\"}", "chancery.yaml:1:9: store.url: it has a password in it"},
	{"store: {url: \"mysql://ca@db.corp/ca\"}", "chancery.yaml:1:9: store.url: it is not the URL of a PostgreSQL database"},
	{"store: {partition: 30d}", "chancery.yaml:1:9: store.partition: only a database that store.url names has partitions"},
	{"store: {url: 'postgres://db/ca', partition: 5m}", "store.partition: that would be very many tables; write 1h or more"},
	{"store: {password_file: word}", "chancery.yaml:1:9: store.password_file: there is no store.url that it is for"},

	// Types.
	{"log: info", `chancery.yaml:1:6: log: keys are expected here, as in "name: value"; found the text "info"`},
	{"names: ca.corp", `chancery.yaml:1:8: names: a list is expected here, as in [one, two]; found the text "ca.corp"`},
	{"names: [ca.corp, 7]", `chancery.yaml:1:18: names[1]: a text (a number in quotes is one) is expected here; found the number "7"`},
	{"names: [[ca.corp]]", `chancery.yaml:1:9: names[0]: a text (a number in quotes is one) is expected here; found a list`},
	{"default_profile: {a: b}", "default_profile: a text (a number in quotes is one) is expected here; found keys"},
	{"acme: {eab_required: yes}", `acme.eab_required: true or false is expected here; found the text "yes"`},
	{"acme: {max_identifiers: ten}", `acme.max_identifiers: a whole number is expected here; found the text "ten"`},
	{"acme: {max_identifiers: 1.5}", `acme.max_identifiers: a whole number is expected here; found the number "1.5"`},
	{"acme: {max_identifiers: 0x10}", `acme.max_identifiers: "0x10" is no whole number; write it in digits, like 10`},
	{"acme: {fault: {nonce_reject: x}}", `acme.fault.nonce_reject: a number is expected here; found the text "x"`},
	{"acme: {fault: {nonce_reject: .nan}}", `acme.fault.nonce_reject: a number is expected here; found ".nan"`},
	{"profiles: []", `profiles: keys are expected here, as in "name: value"; found a list`},

	// Bounds and words.
	{"acme: {fault: {nonce_reject: 1.5}}", "acme.fault.nonce_reject: 1.5 is too much; make it 1 or less"},
	{"acme: {fault: {nonce_reject: -0.1}}", "acme.fault.nonce_reject: -0.1 is too little; make it 0 or more"},
	{"validation: {attempts: 0}", "validation.attempts: 0 is too little; make it 1 or more"},
	{"validation: {http_port: 65536}", "validation.http_port: 65536 is too much; make it 65535 or less"},
	{"validation: {http_port: 99999999999999999999}", "validation.http_port: "},
	{"validation: {timeout: 0}", "validation.timeout: 0 is too little; make it 100ms or more"},
	{"validation: {timeout: 5}", `validation.timeout: "5" is no duration; write it like 90d, 8h, 30m or 5s`},
	{"validation: {timeout: true}", `validation.timeout: a text (a number in quotes is one) is expected here; found "true"`},
	{"validation: {retry_interval: 0s}", "validation.retry_interval: 0s is too little"},
	{"validation: {wait: -1s}", `validation.wait: "-1s" is no duration`},
	{"acme: {order_lifetime: 2w3}", `acme.order_lifetime: "2w3" is no duration`},
	{"acme: {order_lifetime: 30s}", "acme.order_lifetime: 30s is too little; make it 1m or more"},
	{"log: {level: loud}", `log.level: "loud" is unknown; write debug, info, warn or error`},
	{"log: {format: xml}", `log.format: "xml" is unknown; write text, json or auto`},
	{"validation: {caa: true}", `validation.caa: a text (a number in quotes is one) is expected here; found "true"`},
	{"validation: {caa: maybe}", `validation.caa: "maybe" is unknown; write off or on`},
	{"acme: {challenges: [dns-02]}", `chancery.yaml:1:21: acme.challenges[0]: "dns-02" is unknown; write http-01, dns-01, tls-alpn-01 or dns-account-01`},
	{"store: {path: \"a\\0b\"}", "store.path: the text has control characters or is not UTF-8; leave them out"},

	// Addresses, names, URLs.
	{"listen: 9443", `listen: a text (a number in quotes is one) is expected here; found the number "9443"`},
	{"listen: \"\"", `listen: "" is no HOST:PORT; write it like 127.0.0.1:9443 or [::1]:9443`},
	{"listen: localhost", `listen: "localhost" is no HOST:PORT`},
	{"listen: ::1:9443", `listen: "::1:9443" is no HOST:PORT`},
	{"listen: localhost:https", `listen: "https" is no port; write a number from 0 to 65535`},
	{"listen: a_b:9443", `listen: "a_b" is no host`},
	{"listen: \"*.corp:9443\"", `listen: "*.corp" is no host, but a wildcard`},
	{"http_listen: 224.0.0.1:80", "http_listen: 224.0.0.1 is no host's address"},
	{"names: [a..b]", "chancery.yaml:1:9: names[0]: the name has an empty label"},
	{"names: [\"*.corp\"]", "names[0]: a server has no wildcard name; write the whole name"},
	{"external_url: http://ca.corp", `external_url: "http://ca.corp" is no URL that begins with https:// and a host`},
	{"external_url: ca.corp", `external_url: "ca.corp" is no URL that begins with https:// and a host`},
	{"external_url: https://ca.corp/acme", `external_url: "https://ca.corp/acme" has more than a host and a port; write https://ca.corp`},
	{"external_url: https://ca.corp?x=1", "external_url: \"https://ca.corp?x=1\" has more than a host and a port"},
	{"external_url: https://ca.corp:0", `external_url: "0" is no port; write a number from 1 to 65535`},
	{"external_url: https://ca_1.corp", `external_url: "ca_1.corp" is no host`},
	{"external_url: https://u:p@ca.corp", "external_url: "},
	{"former_urls: [https://a.corp, ftp://b.corp]", `chancery.yaml:1:31: former_urls[1]: "ftp://b.corp" is no URL`},
	{"acme: {terms_of_service: /terms}", `acme.terms_of_service: "/terms" is no URL that begins with https:// or http:// and a host`},
	{"acme: {dns_persist_issuers: [10.0.0.1]}", "acme.dns_persist_issuers[0]: the name reads as an IP address"},
	{"validation: {caa_identities: [\"*.corp\"]}", "validation.caa_identities[0]: a wildcard does not fit here; write the name alone"},
	{"validation: {resolvers: [\"10.0.0.1:0\"]}", `validation.resolvers[0]: "0" is no port; write a number from 1 to 65535`},
	{"validation: {resolvers: [0.0.0.0]}", "validation.resolvers[0]: 0.0.0.0 is no host's address; write a resolver like"},
	{"validation: {zone_resolvers: {a..b: [10.0.0.1]}}", "validation.zone_resolvers.a..b: the name has an empty label"},
	{"validation: {zone_resolvers: {corp: [\"\"]}}", `validation.zone_resolvers.corp[0]: "" is no host`},
	{"validation: {allow: [10.0.0.0/33]}", `validation.allow[0]: "10.0.0.0/33" is neither an address nor a network; write it like 10.0.0.7, 10.0.0.0/8 or 2001:db8::/32`},
	{"validation: {deny: [10.0.0.1/8]}", "validation.deny[0]: 10.0.0.1/8 has bits set after its first 8; write 10.0.0.0/8 for the network or 10.0.0.1 for the address"},
	{"validation: {only: [corp]}", `validation.only[0]: "corp" is neither an address nor a network`},

	// What does not go together.
	{"http_listen: 127.0.0.1:9443", "chancery.yaml:1:1: http_listen: 127.0.0.1:9443 is taken by listen (127.0.0.1:9443); choose another port"},
	{"listen: 127.0.0.1:9480", "http_listen: 127.0.0.1:9480 is taken by listen (127.0.0.1:9480)"},
	{"metrics_listen: \":9480\"", "metrics_listen: :9480 is taken by http_listen (127.0.0.1:9480)"},
	{"listen: 0.0.0.0:9443", "listen: 0.0.0.0:9443 is all addresses, so clients can't be told one; set names or external_url"},
	{"default_profile: web", `default_profile: there is no profile "web"; write shortlived, tls-client, tls-mutual or tls-server`},
	{"validation: {caa: on}", "validation.caa: CAA records can't allow a CA without a name; set validation.caa_identities"},
	{"acme: {challenges: []}", "acme.challenges: nothing could be proved without a challenge; name one"},
	{"acme: {order_lifetime: 2m}\nvalidation: {attempts: 10, timeout: 30s}", "chancery.yaml:1:8: acme.order_lifetime: 2m is less than the 5m45s that all attempts of a validation may take"},
	{"profiles:\n  tls-server:\n    validity:\n      longest: 1d", "chancery.yaml:4:7: profiles.tls-server.validity.longest: 1d is less than validity.default, 90d"},
	{"profiles:\n  web:\n    key_types: [P-256, P-257]", "chancery.yaml:3:5: profiles.web.key_types[1]: \"P-257\" is no type of key"},
	{"policy:\n  rules:\n  - name: web\n    allow: [a..b]", `chancery.yaml:4:5: policy.rules[0].allow[0]: "a..b" is no pattern of names`},
	{"policy:\n  rules:\n  - {allow: [a.corp], deny: [\"*.corp\"]}", "chancery.yaml:3:6: policy.rules[0].allow[0]: a.corp is denied by the same rule (*.corp), and deny wins; leave one of them out"},
	{"policy:\n  rules:\n  - allow: [\"**.corp\"]\n    profiles: [webb]", `chancery.yaml:4:5: policy.rules[0].profiles[0]: there is no profile "webb"`},
	{"policy:\n  rules:\n  - {deny: [a.corp], doors: [ssh]}", `chancery.yaml:3:22: policy.rules[0].doors[0]: there is no door "ssh"`},
	{"policy:\n  rules:\n  - {deny: [\"**.corp\"]}\n  - allow: [a.corp]", `chancery.yaml:4:5: policy.rules[1].allow[0]: a.corp can never be allowed: the rule "rule 1" denies it`},
	{"policy: {rules: {}}", "policy.rules: a list is expected here, as in [{key: value}]; found keys"},
	{"policy: {rules: [x]}", `policy.rules[0]: keys are expected here, as in "name: value"; found the text "x"`},
	{"policy: {rules: [{alow: [x]}]}", `unknown key "policy.rules[0].alow"; did you mean "policy.rules[0].allow"?`},
	{"policy: {rules: [{deny: [x], key_types: [DSA]}]}", `policy.rules[0].key_types[0]: "DSA" is unknown`},
	{"policy: {rules: [{}]}", `chancery.yaml:1:18: policy.rules[0]: the rule "rule 1" says nothing`},
	{"limits: {new_orders: 300}", "limits.new_orders: a text (a number in quotes is one) is expected here"},
	{"limits: {new_orders: 300/x}", `limits.new_orders: "300/x" is no rate; write it like 300/3h, 1000/h or off`},
	{"profiles:\n  \"a/b\": {}", "chancery.yaml:2:3: profiles.a/b: a profile's name"},
}

func TestMistakesInFile(t *testing.T) {
	for _, test := range fileMistakes {
		c, err := Parse("chancery.yaml", []byte(test.file))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%.80q:\n%v\nwant %s", test.file, err, test.says)
			continue
		}
		if problem, ok := errors.AsType[*Problem](err); !ok || c != nil || len(unwrap(err)) != 1 {
			t.Errorf("%.80q: %v and %v, want one problem alone", test.file, c, problem)
		}
	}
}

func unwrap(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return nil
	}
	return joined.Unwrap()
}

func TestMistakesOutsideFile(t *testing.T) {
	for _, test := range []struct{ set, environ, says string }{
		{"listen", "", `--set: "listen" lacks its value; write KEY=VALUE, as in --set listen=127.0.0.1:9443`},
		{"=x", "", `--set: "=x" lacks its value`},
		{"validation.http_prot=80", "", `--set: unknown key "validation.http_prot"; did you mean "validation.http_port"?`},
		{"listen.x=80", "", `--set: unknown key "listen.x"`},
		{"log.=x", "", `--set: unknown key "log."`},
		{"profiles.web.=x", "", `--set: unknown key "profiles.web."`},
		{"profiles.web.backdat=1m", "", `--set: unknown key "profiles.web.backdat"; did you mean "profiles.web.backdate"?`},
		{"validation.http_port=80a", "", `--set: validation.http_port: "80a" is no whole number`},
		{"acme.eab_required=yes", "", `--set: acme.eab_required: "yes" is neither true nor false`},
		{"acme.fault.nonce_reject=NaN", "", `--set: acme.fault.nonce_reject: "NaN" is no number; write it like 0.05`},
		{"validation.allow=10.0.0.0/8,,x", "", `--set: validation.allow: "" is neither an address nor a network`},
		{"store.path=a\nb", "", "--set: store.path: the text has control characters"},
		{"store.path=\xff", "", "--set: store.path: the text has control characters or is not UTF-8"},
		{"log=info", "", `--set: log: keys are expected here`},
		{"log={level: [", "", `--set: log: "{level: [" is no map`},
		{"log={level: loud}", "", `--set: log.level: "loud" is unknown`},
		{"validation.zone_resolvers.a..b=10.0.0.1", "", "--set: validation.zone_resolvers.a..b: the name has an empty label"},
		{"listen=0.0.0.0:1", "", "--set: listen: 0.0.0.0:1 is all addresses"},
		{"", "CHANCERY_ACME_EAB_REQIRED=true", "environment CHANCERY_ACME_EAB_REQIRED: no key has this variable; did you mean CHANCERY_ACME_EAB_REQUIRED?"},
		{"", "CHANCERY_VALIDATION_HTTP_PORT=tls", `environment CHANCERY_VALIDATION_HTTP_PORT: validation.http_port: "tls" is no whole number`},
		{"", "CHANCERY_PORT=9443", "environment CHANCERY_PORT: no key has this variable"},
		{"", "CHANCERY_=x", "environment CHANCERY_: no key has this variable"},
		{"", "CHANCERY_PROFILES_TLS_SERVER_VALIDITY_LONGEST=1d", "environment CHANCERY_PROFILES_TLS_SERVER_VALIDITY_LONGEST: profiles.tls-server.validity.longest: 1d is less than"},
	} {
		o := LoadOptions{Dir: t.TempDir()}
		if test.set != "" {
			o.Set = []string{test.set}
		} else {
			o.Environ = []string{test.environ}
		}
		if _, err := Load(o); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q %q: %v\nwant %s", test.set, test.environ, err, test.says)
		}
	}
}

func TestAllMistakesAreToldInOrder(t *testing.T) {
	_, err := load(LoadOptions{Dir: ".", Set: []string{"nam=x"}, Environ: []string{"CHANCERY_LISTEN=x"}}, "my.yaml",
		[]byte("default_profile: none\nlog: {level: x, format: y}\nlisen: x\n"))
	var got []string
	for _, err := range unwrap(err) {
		problem := new(Problem)
		if errors.As(err, &problem) {
			got = append(got, problem.Source)
		}
	}
	const want = "my.yaml:1:1 my.yaml:2:14 my.yaml:2:25 my.yaml:3:1 environment CHANCERY_LISTEN --set"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s\n%v", strings.Join(got, " "), want, err)
	}
}
