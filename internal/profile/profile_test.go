package profile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"chancery/internal/failure"
)

// Each mistake is reported with its place and what to do.
func TestCompileRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		name string
		spec Spec
		want string
	}{
		"longest below default":         {spec: Spec{Validity: Validity{Default: 2 * day, Longest: day}}, want: "profiles.p.validity.longest: 1d is less than validity.default, 2d; make it at least as long"},
		"shortest above default":        {spec: Spec{Validity: Validity{Shortest: 91 * day, Longest: 99 * day}}, want: "profiles.p.validity.shortest: 91d is more than validity.default, 90d; make it at most as long"},
		"centuries":                     {spec: Spec{Validity: Validity{Default: 200 * 365 * day}}, want: "profiles.p.validity.longest: 73000d is more than 36500d; make it less"},
		"nothing":                       {spec: Spec{Validity: Validity{Default: 1}}, want: "profiles.p.validity.default: 1ns is too short; make it at least 1s"},
		"backdated a year":              {spec: Spec{Backdate: 365 * day}, want: "profiles.p.backdate: 365d is more than 30d; make it less"},
		"unknown key type":              {spec: Spec{KeyTypes: []string{"P-256", "p256"}}, want: `profiles.p.key_types[1]: "p256" is no type of key; write P-256, P-384`},
		"small RSA":                     {spec: Spec{KeyTypes: []string{"RSA-1024"}}, want: "profiles.p.key_types[0]: "},
		"sloppy RSA":                    {spec: Spec{KeyTypes: []string{"RSA-+2048"}}, want: "profiles.p.key_types[0]: "},
		"unknown key usage":             {spec: Spec{KeyUsages: []string{"DigitalSignature"}}, want: `profiles.p.key_usages: "DigitalSignature" is no key usage; there are digitalSignature,`},
		"authority's key usage":         {spec: Spec{KeyUsages: []string{"digitalSignature", "cRLSign"}}, want: "profiles.p.key_usages: keyCertSign and cRLSign are for certificate authorities"},
		"encipherOnly alone":            {spec: Spec{KeyUsages: []string{"digitalSignature", "encipherOnly"}}, want: "profiles.p.key_usages: encipherOnly and decipherOnly mean nothing without keyAgreement; add it"},
		"usage no Ed25519 key has":      {spec: Spec{KeyTypes: []string{"P-256", "Ed25519"}, KeyUsages: []string{"keyAgreement"}}, want: "profiles.p.key_usages: Ed25519 keys can serve none of these; add digitalSignature, or leave the keys out of key_types"},
		"unknown extended key usage":    {spec: Spec{ExtendedKeyUsages: []string{"serverauth"}}, want: `profiles.p.extended_key_usages: "serverauth" is no extended key usage; write serverAuth,`},
		"bad OID":                       {spec: Spec{ExtendedKeyUsages: []string{"1.2.x"}}, want: `profiles.p.extended_key_usages: "1.2.x" is no`},
		"extended key usage twice":      {spec: Spec{ExtendedKeyUsages: []string{"serverAuth", "1.3.6.1.5.5.7.3.1"}}, want: "profiles.p.extended_key_usages: 1.3.6.1.5.5.7.3.1 is there twice; leave one out"},
		"timeStamping in company":       {spec: Spec{ExtendedKeyUsages: []string{"timeStamping", "serverAuth"}}, want: "profiles.p.extended_key_usages: timeStamping must be the only one"},
		"a name that needs escaping":    {name: "a/b", want: "profiles.a/b: a profile's name has"},
		"a name that begins with a dot": {name: "..", want: "profiles...: a profile's name has"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.name == "" {
				test.name = "p"
			}
			_, err := Compile(test.name, test.spec)
			if field, ok := errors.AsType[*FieldError](err); !ok || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%v (%v)\nwant %s", err, field, test.want)
			}
		})
	}
}

func TestCompileReportsAllMistakes(t *testing.T) {
	_, err := Compile("p", Spec{Backdate: 365 * day, KeyTypes: []string{"x", "y"}, KeyUsages: []string{"z"}})
	if got := strings.Count(err.Error(), "profiles.p."); got != 4 {
		t.Errorf("%d mistakes reported, want 4:\n%v", got, err)
	}
}

func TestWithDefaults(t *testing.T) {
	client := Spec{Validity: Validity{Default: day}}.WithDefaults("tls-client")
	want := Spec{
		Description: "TLS clients, for 90 days", Validity: Validity{Default: day, Shortest: hour / 60, Longest: day}, Backdate: hour / 60,
		KeyTypes: allKeyTypes(), KeyUsages: []string{"digitalSignature"}, ExtendedKeyUsages: []string{"clientAuth"},
		SAN: SAN{Types: []string{"dns", "ip", "email", "uri"}},
	}
	if !reflect.DeepEqual(client, want) {
		t.Errorf("got  %+v\nwant %+v", client, want)
	}
	if again := client.WithDefaults("tls-client"); !reflect.DeepEqual(again, client) {
		t.Errorf("filling in twice gives %+v", again)
	}
	own := Spec{}.WithDefaults("own")
	if own.Validity.Default != 90*day || own.ExtendedKeyUsages[0] != "serverAuth" || own.NoRevocation || own.Description != "" {
		t.Errorf("a profile of another name is not as tls-server: %+v", own)
	}
	if !(Spec{}).WithDefaults("shortlived").NoRevocation {
		t.Error("shortlived lost no_revocation")
	}
}

func TestCheckKey(t *testing.T) {
	all := compile(t, "all", Spec{})
	some := compile(t, "some", Spec{KeyTypes: []string{"RSA-3072", "P-384"}})
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sized := func(bits uint) crypto.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int), int(bits-1), 1), E: 65537}
	}
	for _, test := range []struct {
		key       crypto.PublicKey
		kind      string
		all, some bool
	}{
		{testKeys()["P-256"].Public(), "P-256", true, false},
		{testKeys()["P-384"].Public(), "P-384", true, true},
		{testKeys()["P-521"].Public(), "P-521", true, false},
		{testKeys()["Ed25519"].Public(), "Ed25519", true, false},
		{p224.Public(), "P-224", false, false},
		{sized(2047), "RSA-2047", false, false},
		{sized(2048), "RSA-2048", true, false},
		{sized(3072), "RSA-3072", true, true},
		{sized(8192), "RSA-8192", true, false},
		{sized(8193), "RSA-8193", false, false},
		{"key", "string", false, false},
	} {
		for p, want := range map[*Profile]bool{all: test.all, some: test.some} {
			err := p.CheckKey(test.key)
			if (err == nil) != want || err != nil && failure.KindOf(err) != failure.BadCSR {
				t.Errorf("profile %s, key %q: %v; want ok %v", p.Name, test.kind, err, want)
			}
		}
	}
}

// Defaults must compile as they are and be what they were documented to be.
func TestDefaults(t *testing.T) {
	for name, validity := range map[string]time.Duration{"tls-server": 90 * 24 * time.Hour, "tls-client": 90 * 24 * time.Hour, "tls-mutual": 90 * 24 * time.Hour, "shortlived": 6 * 24 * time.Hour} {
		p := compile(t, name, Defaults()[name])
		if p.Spec.Validity.Default.Std() != validity || p.Spec.Description == "" {
			t.Errorf("%s: %+v", name, p.Spec)
		}
	}
	if len(Defaults()) != 4 {
		t.Errorf("%d built-in profiles, want 4", len(Defaults()))
	}
}

// The YAML and JSON forms have the same keys, and each survives a round trip.
func TestSpecInYAML(t *testing.T) {
	const text = `
description: Machines
validity: {default: 30d, shortest: 1h, longest: 60d}
backdate: 5m
key_types: [P-256, RSA-3072]
key_usages: [digitalSignature]
extended_key_usages: [serverAuth, 1.2.3.4]
no_revocation: true
`
	want := Spec{
		Description: "Machines", Validity: Validity{Default: 30 * day, Shortest: hour, Longest: 60 * day}, Backdate: hour / 12,
		KeyTypes: []string{"P-256", "RSA-3072"}, KeyUsages: []string{"digitalSignature"}, ExtendedKeyUsages: []string{"serverAuth", "1.2.3.4"}, NoRevocation: true,
	}
	var got, fromJSON Spec
	if err := yaml.UnmarshalWithOptions([]byte(text), &got, yaml.Strict()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	encoded, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &fromJSON); err != nil || !reflect.DeepEqual(fromJSON, want) {
		t.Errorf("%s gives %+v, %v", encoded, fromJSON, err)
	}
	if again, err := yaml.Marshal(want); err != nil || yaml.Unmarshal(again, &got) != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s gives %+v, %v", again, got, err)
	}
	if encoded, err := json.Marshal(Spec{}); err != nil || string(encoded) != "{}" {
		t.Errorf("the zero spec is %s, %v", encoded, err)
	}
}
