package identifier

import (
	"strings"
	"testing"
)

func TestParseEmailAndURI(t *testing.T) {
	for _, test := range []struct {
		typ         Type
		value, want string
	}{
		{Email, "Jane.Doe@Example.CORP", "Jane.Doe@example.corp"},
		{Email, "o'hara+tag@example.corp", "o'hara+tag@example.corp"},
		{Email, "root@localhost", "root@localhost"},
		{URI, "SPIFFE://Corp.Example/ns/Prod/sa/web", "spiffe://corp.example/ns/Prod/sa/web"},
		{URI, "spiffe://corp_1", "spiffe://corp_1"},
		{URI, "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
		{URI, "https://Example.corp:8443/a%2Fb?q=1#f", "https://example.corp:8443/a%2Fb?q=1#f"},
		{URI, "https://[2001:db8::1]/", "https://[2001:db8::1]/"},
		{URI, "sip:jane@example.corp", "sip:jane@example.corp"},
	} {
		if got, err := Parse(test.typ, test.value); err != nil || got.Value != test.want {
			t.Errorf("Parse(%s, %q) = %q, %v; want %q", test.typ, test.value, got.Value, err, test.want)
		}
	}
}

func TestParseRefusesEmailAndURI(t *testing.T) {
	for _, test := range []struct {
		typ         Type
		value, says string
	}{
		{Email, "jane", "no email address"},
		{Email, "@example.corp", "before the @"},
		{Email, "a..b@example.corp", "before the @"},
		{Email, `"a b"@example.corp`, `'"'`},
		{Email, "jäne@example.corp", "'ä'"},
		{Email, "a@b@c", "after the @"},
		{Email, "a@*.example.corp", "wildcard"},
		{Email, "a@[10.0.0.1]", "after the @"},
		{Email, strings.Repeat("a", 65) + "@b", "65 characters"},
		{Email, "a@" + strings.Repeat("b.", 130) + "c", "at most 254"},
		{URI, "", "no absolute URI"},
		{URI, "/path", "no absolute URI"},
		{URI, "example.corp", "no absolute URI"},
		{URI, "1x:y", "no absolute URI"},
		{URI, "x:", "no absolute URI"},
		{URI, "https://", "host"},
		{URI, "https://a b/", "' '"},
		{URI, "https://jane:pw@example.corp/", "user information"},
		{URI, "https://example.corp:/", "colon"},
		{URI, "https://example.corp:x/", "cannot be read"},
		{URI, "https://exa_mple.corp/", "'_'"},
		{URI, "https://*.corp/", "wildcard"},
		{URI, "https://[2001:DB8:0::1]/", "write 2001:db8::1"},
		{URI, "https://example.corp/a/../b", "segment . or .."},
		{URI, "https://example.corp/%2e%2e/", "capitals"},
		{URI, "https://example.corp/%2E%2E/", "write the character itself"},
		{URI, "https://example.corp/%2", "capitals"},
		{URI, "https://example.corp/\u00e4", "percent-encoded"},
		{URI, "spiffe://", "trust domain"},
		{URI, "spiffe://corp:8443/a", "without a port"},
		{URI, "spiffe://corp/", "path of a SPIFFE ID"},
		{URI, "spiffe://corp//a", "path of a SPIFFE ID"},
		{URI, "spiffe://corp/a/..", "path of a SPIFFE ID"},
		{URI, "spiffe://corp/a?b", "path of a SPIFFE ID"},
		{URI, "spiffe://corp?b", "path of a SPIFFE ID"},
		{URI, "urn:" + strings.Repeat("a", 2048), "at most 2048"},
	} {
		if _, err := Parse(test.typ, test.value); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("Parse(%s, %q): %v; want an error that says %q", test.typ, test.value, err, test.says)
		}
	}
}
