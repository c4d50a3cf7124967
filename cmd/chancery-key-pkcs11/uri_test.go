package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseURI(t *testing.T) {
	slot := uint(7)
	for text, want := range map[string]keyURI{
		"pkcs11:token=ca;object=key?module-path=/m.so": {token: "ca", object: "key", module: "/m.so"},
		"pkcs11:serial=0a%2F1;id=%01%ff;type=private?pin-source=file:/pin&module-path=/m%20.so": {
			serial: "0a/1", id: []byte{1, 0xff}, module: "/m .so",
		},
		"pkcs11:model=v2;manufacturer=Corp;slot-id=7;object=a?module-path=/m.so": {
			model: "v2", manufacturer: "Corp", slot: &slot, object: "a", module: "/m.so",
		},
	} {
		got, err := parseURI(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"file:/key":                         "is no URI like pkcs11:",
		"pkcs11:":                           "which library",
		"pkcs11:token=a;object=b":           "which library",
		"pkcs11:token=a?module-path=/m":     "names no key",
		"pkcs11:object=b?module-path=/m":    "names no token",
		"pkcs11:token=a;token=b;object=c":   "twice",
		"pkcs11:token=%zz":                  "no NAME=VALUE",
		"pkcs11:token":                      "no NAME=VALUE",
		"pkcs11:library-version=1;object=c": "not supported",
		"pkcs11:slot-id=x":                  "is no number",
		"pkcs11:type=cert":                  "only type=private",
		"pkcs11:object=a?pin-value=1":       "not supported",
		"pkcs11:object=a?module-path=%zz":   "badly escaped",
	} {
		if _, err := parseURI(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=ca;object=key;id=%01?module-path=/m.so&pin-source=/pin")
	f.Fuzz(func(t *testing.T, text string) {
		uri, err := parseURI(text)
		if err == nil && (uri.module == "" || uri.object == "" && uri.id == nil) {
			t.Errorf("%q is incomplete", text)
		}
	})
}
