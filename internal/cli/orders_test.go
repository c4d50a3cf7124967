package cli

import "testing"

func TestIDOfTakesURLs(t *testing.T) {
	for text, want := range map[string]string{
		"06m15ajaoo": "06m15ajaoo", "": "",
		"https://ca.corp/acme/order/06m15ajaoo": "06m15ajaoo",
	} {
		if got := idOf(text); got != want {
			t.Errorf("idOf(%q) = %q, want %q", text, got, want)
		}
	}
}
