package expr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"net"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"chancery/internal/identifier"
)

func newEnv(t testing.TB) *Env {
	t.Helper()
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func input(t testing.TB) *Input {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "web", OrganizationalUnit: []string{"Ops"}},
		DNSNames: []string{"a.corp"}, EmailAddresses: []string{"x@a.corp"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
		URIs:            []*url.URL{{Scheme: "spiffe", Host: "corp", Path: "/web"}},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &Input{
		Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: "a.corp"}, {Type: identifier.IP, Value: "10.0.0.1"}},
		Facts: Facts{
			Account: &Account{ID: "acc1"},
			Grant:   &Grant{ID: "g1", Name: "team-a", Labels: map[string]string{"team": "a"}},
			Token:   Claims{"sub": "web", "uid": 1000.0, "groups": []string{"x", "y"}, "nested": map[string]any{"n": json.Number("7")}, "ok": true},
		},
		CSR: csr, Now: time.Unix(1_800_000_000, 0).UTC(), Profile: "p",
	}
}

func TestEval(t *testing.T) {
	env, in := newEnv(t), input(t)
	for _, test := range []struct {
		text string
		kind Kind
		want any
	}{
		{`"spiffe://corp/" + token.sub`, Texts, []string{"spiffe://corp/web"}},
		{`grant.labels.team`, Texts, []string{"a"}},
		{`grant.name + "/" + account.id`, Texts, []string{"team-a/acc1"}},
		{`token.groups`, Texts, []string{"x", "y"}},
		{`token.groups.filter(g, g != "x")`, Texts, []string{"y"}},
		{`"team" in grant.labels ? [grant.labels.team] : []`, Texts, []string{"a"}},
		{`has(token.missing) ? [string(token.missing)] : []`, Texts, []string{}},
		{`has(csr.subject.serial_number) ? "yes" : "no"`, Texts, []string{"no"}},
		{`dns + ips + emails + uris`, Texts, []string{"a.corp", "10.0.0.1"}},
		{`identifiers.map(i, i.type + ":" + i.value)`, Texts, []string{"dns:a.corp", "ip:10.0.0.1"}},
		{`csr.subject.common_name.upperAscii()`, Texts, []string{"WEB"}},
		{`csr.subject.organizational_unit + csr.dns_names + csr.ips + csr.emails + csr.uris`, Texts, []string{"Ops", "a.corp", "10.0.0.1", "x@a.corp", "spiffe://corp/web"}},
		{`csr.extensions["1.2.3"]`, Bytes, []byte{5, 0}},
		{`b"\x01\x02"`, Bytes, []byte{1, 2}},
		{`token.uid`, Int, int64(1000)},
		{`string(token.uid)`, Texts, []string{"1000"}},
		{`int(token.nested.n) + 1`, Int, int64(8)},
		{`token.ok && profile == "p"`, Bool, true},
		{`string(now.getFullYear())`, Texts, []string{"2027"}},
		{`[identifiers[0]][0].value`, Texts, []string{"a.corp"}},
		{`["a", token.sub] + [token.sub] + dns`, Texts, []string{"a", "web", "web", "a.corp"}},
		{`"%s has %d".format([profile, 1])`, Texts, []string{"p has 1"}},
		{`{"a": "b", "c": token.sub}["c"]`, Texts, []string{"web"}},
		{`token.ok ? [token.sub] : []`, Texts, []string{"web"}},
		{`[dns, []][0]`, Texts, []string{"a.corp"}},
		{`token.uid in [1000, 2000] ? "staff" : "guest"`, Texts, []string{"staff"}},
	} {
		program, err := env.Compile(test.text, test.kind)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if got, err := program.Eval(in); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s = %#v, %v; want %#v", test.text, got, err, test.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	env := newEnv(t)
	for _, test := range []struct {
		text string
		kind Kind
		says string
	}{
		{`grnt.labels.team`, Texts, "line 1, column 1: undeclared reference to 'grnt' (did you mean 'grant'?); there are identifiers, dns, ips, emails, uris, account.{contact, id}, grant."},
		{`"a" + accont.id`, Texts, "line 1, column 7: "},
		{"dns +\n  nope", Texts, "line 2, column 3: "},
		{`account.name`, Texts, "line 1, column 8: undefined field 'name'; there are "},
		{`"a" +`, Texts, "line 1, column 6: "},
		{`1 + 1`, Texts, "gives int; a string or a list of strings is needed"},
		{`[1]`, Texts, "gives list(int)"},
		{`"a"`, Int, "gives string; an int is needed"},
		{`"a"`, Bytes, "bytes is needed"},
		{`"a" + 1`, Texts, "no matching overload"},
		{`['a', 1]`, Texts, "line 1, column 7: this is of type int and what comes before it of type string"},
		{"dns +\n  ['a', null]", Texts, "line 2, column 9: "},
		{`{'a': 1, 'b': 'c'}[profile]`, Texts, "line 1, column 15: "},
		{`{'a': 'b', 1: 'c'}[profile]`, Texts, "line 1, column 12: "},
		{`['a', 1].exists(x, x == profile) ? 'a' : 'b'`, Texts, "line 1, column 7: "},
		{`[token.sub, 1]`, Texts, "line 1, column 13: this gives int; a string is needed"},
		{`[token.sub] + [1]`, Texts, "line 1, column 16: this gives int; a string is needed"},
		{`[token.sub] + ips.map(i, 1)`, Texts, "gives list(int); a string or a list of strings is needed"},
		{`token.ok ? [token.sub] : [1]`, Texts, "line 1, column 27: "},
		{`[token.sub, ["a"]]`, Texts, "line 1, column 13: this gives list(string); a string is needed"},
		{`dyn(1)`, Texts, "line 1, column 5: this gives int"},
		{`token.ok ? token.uid : dyn("a")`, Int, "line 1, column 28: this gives string; an int is needed"},
		{`identifier{type: "dns", value: "a"}.value`, Texts, "line 1, column 11: values of the type identifier can't be made"},
		{`profile.matches("[")`, Bool, "line 1, column 17: invalid matches argument"},
		{`string(timestamp("soon"))`, Texts, "line 1, column 18: invalid timestamp argument"},
		{`["a"][1]`, Texts, "line 1, column 1: index out of bounds"},
		{`1 / 0`, Int, "line 1, column 1: division by zero"},
		{`""` + strings.Repeat(`+"a"`, 2000), Texts, "line 1, column "},
		{strings.Repeat("(", 100) + `"a"` + strings.Repeat(")", 100), Texts, "line "},
	} {
		if _, err := env.Compile(test.text, test.kind); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%.60s: %v; want an error that says %q", test.text, err, test.says)
		}
	}
}

// Nothing that is missing becomes an empty text, and nothing runs for long.
func TestEvalRefuses(t *testing.T) {
	env := newEnv(t)
	many := make([]any, 1000)
	long := make([]any, len(many)) // costs much in little time, so that a slow machine's clock does not end it first
	for i := range many {
		many[i], long[i] = strings.Repeat("x", 100), strings.Repeat("x", 2000)
	}
	for _, test := range []struct {
		text string
		in   *Input
		says string
	}{
		{`"x/" + token.nope`, input(t), "no such key: nope"},
		{`"x/" + grant.labels.nope`, input(t), "no such key: nope"},
		{`"x/" + grant.name`, &Input{}, "there is no grant.name"},
		{`"x/" + account.id`, &Input{}, "there is no account.id"},
		{`"x/" + csr.subject.common_name`, &Input{}, "there is no csr.subject"},
		{`"x/" + csr.subject.serial_number`, input(t), "there is no subject.serial_number"},
		{`"x/" + token.sub`, &Input{}, "no such key: sub"},
		{`token.uid`, input(t), "the result is of type int; a string or a list of strings is needed"},
		{`[token.sub, token.uid]`, input(t), "an element of type int"},
		{`dns[7]`, input(t), "index"},
		{`token.many`, &Input{Facts: Facts{Token: Claims{"many": many}}}, "too large"},
		{`token.many.join(",")`, &Input{Facts: Facts{Token: Claims{"many": many}}}, "too large"},
		{`token.many.map(a, token.many.map(b, token.many.map(c, a + b + c)[0])[0])`, &Input{Facts: Facts{Token: Claims{"many": long}}}, "limit exceeded"},
	} {
		program, err := env.Compile(test.text, Texts)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		start := time.Now()
		if got, err := program.Eval(test.in); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s = %.60v, %v; want an error that says %q", test.text, got, err, test.says)
		}
		if took := time.Since(start); took > 2*maxTime {
			t.Errorf("%s took %v", test.text, took)
		}
	}
}

// Facts say the same before and after they were stored.
func TestFactsRoundTrip(t *testing.T) {
	env, in := newEnv(t), input(t)
	text, err := json.Marshal(in.Facts)
	if err != nil {
		t.Fatal(err)
	}
	again := input(t)
	again.Facts = Facts{}
	if err := json.Unmarshal(text, &again.Facts); err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(again.Facts); err != nil || string(second) != string(text) {
		t.Errorf("%s became %s, %v", text, second, err)
	}
	for _, text := range []string{`string(token.uid)`, `string(token.nested.n)`, `token.groups.join()`, `grant.labels.team`} {
		program, err := env.Compile(text, Texts)
		if err != nil {
			t.Fatal(err)
		}
		before, errBefore := program.Eval(in)
		after, errAfter := program.Eval(again)
		if errBefore != nil || errAfter != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("%s is %v, %v before and %v, %v after", text, before, errBefore, after, errAfter)
		}
	}
	if err := json.Unmarshal([]byte(`{"token": [1]}`), &again.Facts); err == nil {
		t.Error("claims that are a list were taken")
	}
}

func TestValueForms(t *testing.T) {
	type all struct {
		A Value[string] `json:"a"`
		B Value[int64]  `json:"b"`
		C Value[string] `json:"c"`
	}
	value := all{Literal("x"), Literal(int64(7)), CEL[string](`"<" + profile`)}
	text, err := json.Marshal(value)
	if want := `{"a":"x","b":7,"c":{"cel":"\"\u003c`; err != nil || !strings.HasPrefix(string(text), want) {
		t.Errorf("%s, %v; want %s…", text, err, want)
	}
	var again all
	if err := json.Unmarshal(text, &again); err != nil || again != value {
		t.Errorf("%s gives %+v, %v", text, again, err)
	}
	for _, bad := range []string{`{"a":{"cel":""}}`, `{"a":{"sel":"x"}}`, `{"a":[]}`, `{"b":"x"}`} {
		if err := json.Unmarshal([]byte(bad), &again); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// Whatever is configured and known, there is an answer or an error, soon.
func FuzzEval(f *testing.F) {
	env := newEnv(f)
	for _, seed := range []string{`token.sub`, `dns.map(d, d + "x")`, `"%s".format([token])`, `token.a.b[0]`, `base64.decode("AA==")`} {
		f.Add(seed, `{"sub":"a","a":{"b":["c"]}}`)
	}
	f.Fuzz(func(t *testing.T, text, claims string) {
		in := &Input{Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: "a"}}, Now: time.Unix(0, 0)}
		if err := json.Unmarshal([]byte(claims), &in.Facts.Token); err != nil {
			return
		}
		for _, kind := range []Kind{Texts, Int, Bool, Bytes} {
			program, err := env.Compile(text, kind)
			if err != nil {
				continue
			}
			value, err := program.Eval(in)
			if list, ok := value.([]string); err == nil && kind == Texts && (!ok || len(list) > maxResults) {
				t.Errorf("%s = %v", text, value)
			}
		}
	})
}

func BenchmarkEval(b *testing.B) {
	program, err := newEnv(b).Compile(`"spiffe://corp/" + token.sub`, Texts)
	if err != nil {
		b.Fatal(err)
	}
	facts := input(b).Facts
	b.ReportAllocs()
	for b.Loop() {
		if _, err := program.Eval(&Input{Facts: facts}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewEnv(b *testing.B) {
	for b.Loop() {
		newEnv(b)
	}
}
