package client

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Whatever a server sends, it takes no control of the terminal, and nothing
// comes out that is no certificate.
func FuzzAnswers(f *testing.F) {
	f.Add("application/problem+json", 403, []byte(`{"type":"urn:chancery:error:unauthorized","detail":"\u001b[2J","subproblems":[{"identifier":{"type":"dns","value":"\u0007"},"subproblems":[{}]}]}`))
	f.Add("application/json", 201, []byte(`{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----","chain":""}`))
	f.Add("text/html", 500, []byte("\x1b]0;title\a"))
	f.Fuzz(func(t *testing.T, typ string, status int, body []byte) {
		answer := &http.Response{
			StatusCode: status, Status: string(body), Header: http.Header{"Content-Type": {typ}},
			Request: &http.Request{URL: &url.URL{Path: "/api/v1/sign"}},
		}
		if text := parseProblem(answer, body).Error(); strings.ContainsAny(text, "\x1b\a\b\r") || text == "" {
			t.Errorf("it reads %q", text)
		}
		var made issued
		if json.Unmarshal(body, &made) != nil {
			return
		}
		if chain, err := ParseCertificates([]byte(made.Certificate + "\n" + made.Chain)); err == nil && len(chain) == 0 {
			t.Error("no certificate, and no error")
		}
	})
}
