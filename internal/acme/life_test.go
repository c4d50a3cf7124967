package acme_test

import (
	"net/http"
	"strings"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// TestTransport is what every resource has in common (RFC 8555 §6).
func TestTransport(t *testing.T) {
	t.Parallel()
	group(t, servertest.Start(t), map[string]func(*testing.T, *servertest.CA){
		"Directory":        testDirectory,
		"NewNonce":         testNewNonce,
		"Preflight":        testPreflight,
		"Methods":          testMethods,
		"ContentType":      testContentType,
		"UnknownResources": testUnknownResources,
		"HeadersOfAnswers": testHeadersOfAnswers,
	})
}

func testDirectory(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	resp := get(t, client, ca.DirectoryURL)
	body := succeeded(t, resp, http.StatusOK)
	for member, path := range map[string]string{
		"newNonce": "new-nonce", "newAccount": "new-account", "newOrder": "new-order", "newAuthz": "new-authz",
		"revokeCert": "revoke-cert", "keyChange": "key-change", "renewalInfo": "renewal-info",
	} {
		if want := ca.BaseURL + "/acme/" + path; body[member] != want {
			t.Errorf("%s is %v, want %s", member, body[member], want)
		}
	}
	meta := body["meta"].(members)
	profiles := meta["profiles"].(members)
	for _, name := range []string{"tls-server", "tls-client", "tls-mutual", "shortlived"} {
		url, _ := profiles[name].(string)
		if resp := get(t, client, url); resp.Status != http.StatusOK || !strings.Contains(string(resp.Body), "description") {
			t.Errorf("the page of profile %s at %q: %d %s", name, url, resp.Status, resp.Body)
		}
	}
	for _, absent := range []string{"termsOfService", "website", "caaIdentities", "externalAccountRequired", "issuerDomainNames"} {
		if value, found := meta[absent]; found {
			t.Errorf("meta has %s: %v", absent, value)
		}
	}
	if hasLink(resp, ca.DirectoryURL, "index") {
		t.Error("the directory links to itself (RFC 8555 §7.1)")
	}
	signed := post(t, client, ca.DirectoryURL, nil)
	if again := succeeded(t, signed, http.StatusOK); again["newOrder"] != body["newOrder"] {
		t.Errorf("POST-as-GET of the directory: %v", again)
	}
	if signed.Header.Get("Replay-Nonce") == "" {
		t.Error("POST-as-GET of the directory gives no nonce")
	}
	if resp := do(t, ca, http.MethodHead, ca.DirectoryURL, nil); resp.Status != http.StatusOK || len(resp.Body) > 0 {
		t.Errorf("HEAD of the directory: %d", resp.Status)
	}
}

func testNewNonce(t *testing.T, ca *servertest.CA) {
	url := ca.BaseURL + "/acme/new-nonce"
	seen := map[string]bool{}
	for method, status := range map[string]int{http.MethodGet: http.StatusNoContent, http.MethodHead: http.StatusOK} {
		for range 10 {
			resp := do(t, ca, method, url, nil)
			if resp.Status != status || len(resp.Body) > 0 {
				t.Errorf("%s newNonce: %d %q, want %d", method, resp.Status, resp.Body, status)
			}
			if control := resp.Header.Get("Cache-Control"); control != "no-store" {
				t.Errorf("%s newNonce: Cache-Control %q", method, control)
			}
			if !hasLink(resp, ca.DirectoryURL, "index") {
				t.Errorf("%s newNonce has no link to the directory", method)
			}
			nonce := resp.Header.Get("Replay-Nonce")
			if len(nonce) < 22 || strings.Trim(nonce, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || seen[nonce] {
				t.Errorf("the nonce is %q", nonce)
			}
			seen[nonce] = true
		}
	}
	resp := post(t, ca.Client(), url, nil)
	if resp.Status/100 != 2 || resp.Header.Get("Replay-Nonce") == "" {
		t.Errorf("POST-as-GET of newNonce: %d", resp.Status)
	}
}

func testPreflight(t *testing.T, ca *servertest.CA) {
	resp := do(t, ca, http.MethodOptions, ca.BaseURL+"/acme/new-order", http.Header{
		"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type"},
	})
	if resp.Status != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.Contains(resp.Header.Get("Access-Control-Allow-Methods"), "POST") ||
		!strings.EqualFold(resp.Header.Get("Access-Control-Allow-Headers"), "content-type") {
		t.Errorf("preflight: %d %v", resp.Status, resp.Header)
	}
	resp = do(t, ca, http.MethodGet, ca.DirectoryURL, http.Header{"Origin": {"https://app.example"}})
	if resp.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(resp.Header.Get("Access-Control-Expose-Headers"), "Replay-Nonce") {
		t.Errorf("CORS headers: %v", resp.Header)
	}
}

func testMethods(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	made := order(t, client, acmetest.DNS("methods.example.test"), nil)
	for _, url := range []string{
		client.Directory.NewAccount, client.Directory.NewOrder, client.Directory.NewAuthz, client.Directory.RevokeCert,
		client.Directory.KeyChange, client.AccountURL, client.AccountURL + "/orders", made.URL, made.Finalize, made.Authorizations[0],
		challenge(t, authorization(t, client, made.Authorizations[0]), "http-01").URL,
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
			resp := do(t, ca, method, url, nil)
			if method == http.MethodHead {
				if resp.Status != http.StatusMethodNotAllowed {
					t.Errorf("HEAD %s: %d", url, resp.Status)
				}
				continue
			}
			refused(t, resp, http.StatusMethodNotAllowed, "malformed", "POST")
			if resp.Header.Get("Allow") != "POST" {
				t.Errorf("%s %s: Allow is %q", method, url, resp.Header.Get("Allow"))
			}
		}
	}
	for _, url := range []string{ca.DirectoryURL, client.Directory.NewNonce, client.Directory.RenewalInfo + "/AAAA.AAAA"} {
		refused(t, do(t, ca, http.MethodPut, url, nil), http.StatusMethodNotAllowed, "malformed", "GET")
	}
}

func testContentType(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	for _, media := range []string{"", "application/json", "application/jose", "text/plain", "application/jose+json, text/plain", ";"} {
		resp, err := client.Do(t.Context(), http.MethodPost, client.Directory.NewOrder, media, []byte("{}"))
		check(t, err)
		refused(t, resp, http.StatusUnsupportedMediaType, "malformed", "application/jose+json")
		if resp.Header.Get("Replay-Nonce") == "" {
			t.Errorf("%q: no nonce", media)
		}
	}
	header, err := client.Header(t.Context(), client.AccountURL)
	check(t, err)
	for _, media := range []string{"application/jose+json; charset=utf-8", "Application/JOSE+JSON"} {
		header["nonce"], err = client.Nonce(t.Context())
		check(t, err)
		resp, err := client.Do(t.Context(), http.MethodPost, client.AccountURL, media, acmetest.Sign(client.Key, header, nil))
		check(t, err)
		succeeded(t, resp, http.StatusOK)
	}
}

func testUnknownResources(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	for _, path := range []string{"", "nothing", "order/", "order/x/y", "directory/", "account", "p/tls-server", "../acme/nothing"} {
		resp := get(t, client, ca.BaseURL+"/acme/"+path)
		refused(t, resp, http.StatusNotFound, "malformed", "directory")
	}
	refused(t, get(t, client, ca.BaseURL+"/acme/p/nothing/directory"), http.StatusNotFound, "malformed", "profile")
	refused(t, get(t, client, ca.BaseURL+"/acme/profile/nothing"), http.StatusNotFound, "malformed", "profile")
	if resp := get(t, client, ca.BaseURL+"/nothing"); resp.Status != http.StatusNotFound {
		t.Errorf("a page outside ACME: %d", resp.Status)
	}
}

func testHeadersOfAnswers(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	for name, resp := range map[string]*acmetest.Response{
		"a good POST":  post(t, client, client.AccountURL, nil),
		"an error":     post(t, client, client.Directory.NewOrder, members{}),
		"an early one": post(t, client, ca.BaseURL+"/acme/nothing", nil),
	} {
		if resp.Header.Get("Replay-Nonce") == "" || resp.Header.Get("Cache-Control") != "no-store" || !hasLink(resp, ca.DirectoryURL, "index") {
			t.Errorf("%s: headers %v", name, resp.Header)
		}
	}
}
