package config

import (
	"strings"
	"testing"
)

// FuzzParse gives Parse files that nobody meant to write: it must return a
// checked configuration or mistakes, and what it returns must survive Write.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "# nothing", "listen: 127.0.0.1:9443\n", "listen: [", "a: *b", "a: &a [*a]", "- x", "---\n---\na: 1",
		"validation:\n  zone_resolvers: {corp: [10.0.0.1]}\n  allow:\n  - ::1\n",
		"profiles:\n  web:", "profiles:\n  web:\n    validity: {default: 30d}\n    key_types: [P-256]\n",
		"acme: {fault: {nonce_reject: .nan}}", "? a\n: b", "names: |\n  x\n", "<<: {listen: x}", "retention: !!map {}",
		"acme:\n\tx: 1", "listen: \"\\xff\"", "profiles: {\"\": {}}", strings.Repeat("[", 2000), strings.Repeat("{a: ", 2000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("chancery.yaml", data)
		if err != nil {
			if c != nil || err.Error() == "" {
				t.Fatalf("%v together with %v", c, err)
			}
			return
		}
		var set []string
		for _, setting := range c.Settings() {
			// A profile of defaults only is still one that the file made.
			if setting.Source != "default" || strings.HasPrefix(setting.Key, "profiles.") {
				set = append(set, setting.Key+"="+setting.Value)
			}
		}
		text, err := render(".", set)
		if err != nil {
			t.Fatalf("--set refuses what the file gave: %v", err)
		}
		again, err := Parse("chancery.yaml", []byte(text))
		if err != nil {
			t.Fatalf("Write has written a bad file: %v\n%s", err, text)
		}
		if changes := c.Changes(again); len(changes) != 0 {
			t.Fatalf("what was written is not what was meant: %v\n%s", changes, text)
		}
	})
}
