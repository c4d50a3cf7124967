package admin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/admin"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/limits"
	"chancery/internal/policy"
	"chancery/internal/provisioner"
	"chancery/internal/store"
)

// remotely serves the API as the HTTPS listener does. The header X-Certificate
// stands for a client certificate with the name in it.
func (f *fixture) remotely(t *testing.T, clients ...admin.Named) *httptest.Server {
	t.Helper()
	f.deps.Decide = func(context.Context, policy.Question) (policy.Decision, error) { return policy.Decision{}, nil }
	f.deps.Profile = func(name string) (string, error) { return name, nil }
	f.deps.Limits = limits.New(limits.Config{}, f.deps.Now)
	f.deps.Provisioners.Check = func(string, provisioner.Spec) error { return nil }
	server := httptest.NewServer(admin.Remote(f.deps, admin.Callers{
		Clients: func() []admin.Named { return clients },
		Certificate: func(r *http.Request) (store.Certificate, error) {
			name := r.Header.Get("X-Certificate")
			if name == "" {
				return store.Certificate{}, failure.New(failure.Unauthorized, "there is none")
			}
			return store.Certificate{Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: name}}}, nil
		},
	}))
	t.Cleanup(server.Close)
	return server
}

// token makes a token of a role.
func (f *fixture) token(t *testing.T, role string) string {
	t.Helper()
	made, err := f.inProcess(t).CreateToken(t.Context(), admin.NewToken{Name: "of " + role, Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

func send(t *testing.T, server *httptest.Server, method, path string, header map[string]string) (status int, body string, answered http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(content), answer.Header
}

// documentedRoles reads the table in docs/inventory.md.
func documentedRoles(t *testing.T) map[string]admin.Role {
	t.Helper()
	content, err := os.ReadFile("../../docs/inventory.md")
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]admin.Role{}
	for _, row := range regexp.MustCompile("(?m)^\\| ([A-Z]+) \\| `(/[^`]*)` \\| (\\w+) \\|$").FindAllStringSubmatch(string(content), -1) {
		roles[row[1]+" "+admin.Prefix+row[2]] = admin.Role(row[3])
	}
	return roles
}

func TestEveryRouteHasItsDocumentedRole(t *testing.T) {
	documented := documentedRoles(t)
	for _, route := range admin.Routes() {
		name := route.Method + " " + route.Path
		if !slices.Contains(admin.Roles(), admin.Role(route.Role)) || documented[name] != admin.Role(route.Role) {
			t.Errorf("%s has the role %q; documented is %q", name, route.Role, documented[name])
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s is documented and not served", name)
	}
}

func TestEachRouteForEachRole(t *testing.T) {
	f := newFixture(t)
	tokens := map[admin.Role]string{}
	for _, role := range admin.Roles() {
		tokens[role] = f.token(t, string(role))
	}
	server := f.remotely(t)
	wildcard := regexp.MustCompile(`\{\w+\}`)
	for name, needed := range documentedRoles(t) {
		method, path, _ := strings.Cut(name, " ")
		path = wildcard.ReplaceAllString(path, "00")
		for _, role := range admin.Roles() {
			status, body, _ := send(t, server, method, path, map[string]string{"Authorization": "Bearer " + tokens[role]})
			allowed := slices.Index(admin.Roles(), role) >= slices.Index(admin.Roles(), needed)
			refused := status == http.StatusForbidden && strings.Contains(body, "needs the role "+string(needed))
			if allowed == refused || status == http.StatusUnauthorized {
				t.Errorf("%s as %s: %d %s", name, role, status, body)
			}
		}
	}
	if trail := f.audit.String(); !strings.Contains(trail, "admin.refused") || !strings.Contains(trail, "needs=admin") {
		t.Errorf("the audit trail has no refusals: %s", trail)
	}
}

func TestUnauthenticated(t *testing.T) {
	f := newFixture(t)
	good := f.token(t, "viewer")
	expiring, err := f.inProcess(t).CreateToken(t.Context(), admin.NewToken{Name: "short", Role: "viewer", Expires: epoch.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := f.inProcess(t).CreateToken(t.Context(), admin.NewToken{Name: "gone", Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.inProcess(t).RevokeToken(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	now := epoch
	f.deps.Now = func() time.Time { return now }
	server := f.remotely(t)
	status := admin.Prefix + "/status"
	try := func(authorization string) (int, http.Header) {
		got, body, header := send(t, server, http.MethodGet, status, map[string]string{"Authorization": authorization})
		if got == http.StatusUnauthorized && (!strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer") || !strings.Contains(body, "unauthenticated")) {
			t.Errorf("%s: %v %s", authorization, header, body)
		}
		return got, header
	}
	if got, header := try("bearer " + expiring.Secret); got != http.StatusOK || header.Get("Cache-Control") != "no-store" {
		t.Errorf("a token that has not expired: %d %v", got, header)
	}
	now = epoch.Add(time.Hour)
	other := good[:len(good)-1] + map[bool]string{true: "1", false: "0"}[good[len(good)-1] == '0']
	for _, bad := range []string{
		"", "Basic dTpw", "Bearer", "Bearer x", "Bearer chancery-", "Bearer " + other, "Bearer " + good + "00",
		"Bearer " + expiring.Secret, "Bearer " + revoked.Secret, "Bearer chancery-nobody-" + strings.Repeat("0", 64),
	} {
		if got, _ := try(bad); got != http.StatusUnauthorized {
			t.Errorf("%q: %d", bad, got)
		}
	}
	if got, header := try("Bearer x"); got != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %v", got, header)
	}
	if got, _ := try("Bearer " + good); got != http.StatusOK {
		t.Errorf("a good token among bad ones: %d", got)
	}
	now = now.Add(time.Minute)
	if got, _ := try("Bearer x"); got != http.StatusUnauthorized {
		t.Errorf("a minute later: %d", got)
	}
	if lines := strings.Count(f.audit.String(), "admin.unauthenticated"); lines != 11 {
		t.Errorf("%d lines in the audit trail", lines)
	}
}

func TestClientCertificates(t *testing.T) {
	f := newFixture(t)
	dns := func(name string) identifier.Identifier {
		return identifier.Identifier{Type: identifier.DNS, Value: name}
	}
	server := f.remotely(t, admin.Named{Name: dns("ops.corp"), Role: admin.Viewer}, admin.Named{Name: dns("ops.corp"), Role: admin.Operator})
	for name, want := range map[string]int{"ops.corp": http.StatusOK, "other.corp": http.StatusForbidden} {
		if got, body, _ := send(t, server, http.MethodGet, admin.Prefix+"/status", map[string]string{"X-Certificate": name}); got != want {
			t.Errorf("%s: %d %s", name, got, body)
		}
	}
	if got, body, _ := send(t, server, http.MethodPost, admin.Prefix+"/certificates/00/revoke", map[string]string{"X-Certificate": "ops.corp"}); got != http.StatusNotFound {
		t.Errorf("the higher of two roles: %d %s", got, body)
	}
}

func TestOtherSitesPages(t *testing.T) {
	f := newFixture(t)
	server := f.remotely(t)
	token := "Bearer " + f.token(t, "admin")
	for header, want := range map[string]int{
		"Sec-Fetch-Site: cross-site": http.StatusForbidden, "Sec-Fetch-Site: same-site": http.StatusForbidden,
		"Origin: https://evil.example": http.StatusForbidden, "Sec-Fetch-Site: same-origin": http.StatusOK,
		"Sec-Fetch-Site: none": http.StatusOK, "Origin: " + server.URL: http.StatusOK,
	} {
		name, value, _ := strings.Cut(header, ": ")
		if got, body, _ := send(t, server, http.MethodGet, admin.Prefix+"/status", map[string]string{"Authorization": token, name: value}); got != want {
			t.Errorf("%s: %d %s", header, got, body)
		}
	}
}

func TestTokens(t *testing.T) {
	f := newFixture(t)
	client, ctx := f.inProcess(t), t.Context()
	made, err := client.CreateToken(ctx, admin.NewToken{Name: "ci", Role: "operator", Expires: epoch.Add(time.Hour)})
	if err != nil || !regexp.MustCompile(`^chancery-[0-9a-v]{32}-[0-9a-f]{64}$`).MatchString(made.Secret) {
		t.Fatalf("%+v, %v", made, err)
	}
	remote := admin.Reach(admin.Server{URL: f.remotely(t).URL, Token: made.Secret})
	t.Cleanup(func() { _ = remote.Close() })
	if _, err := remote.Status(ctx); err != nil {
		t.Error(err)
	}
	_, err = remote.CreateToken(ctx, admin.NewToken{Name: "more", Role: "admin"})
	if hint := refusal(t, err, http.StatusForbidden, "needs the role admin"); !strings.Contains(hint, "--role admin") {
		t.Errorf("hint: %q", hint)
	}
	list := collect(t, client.Tokens(ctx))
	if len(list) != 1 || list[0].Secret != "" || list[0].Status != "valid" || list[0].Role != "operator" {
		t.Errorf("listed %+v", list)
	}
	for _, bad := range []admin.NewToken{{Role: "viewer"}, {Name: "a"}, {Name: "a", Role: "root"}, {Name: "a", Role: "viewer", Expires: epoch}, {Name: strings.Repeat("a", 101), Role: "viewer"}} {
		if got, err := client.CreateToken(ctx, bad); err == nil {
			t.Errorf("%+v became %+v", bad, got)
		}
	}
	if revoked, err := client.RevokeToken(ctx, made.ID); err != nil || revoked.Status != "revoked" {
		t.Errorf("%+v, %v", revoked, err)
	}
	_, err = client.RevokeToken(ctx, made.ID)
	refusal(t, err, http.StatusConflict, "already")
	_, err = client.RevokeToken(ctx, "nobody")
	refusal(t, err, http.StatusNotFound, "no token")
	_, err = remote.Status(ctx)
	refusal(t, err, http.StatusUnauthorized, "revoked")
	stored, err := f.AdminToken(ctx, made.ID)
	if _, secret, _ := strings.Cut(strings.TrimPrefix(made.Secret, "chancery-"), "-"); err != nil || strings.Contains(fmt.Sprintf("%x", stored), secret) {
		t.Error("the secret is kept")
	}
	if trail := f.audit.String(); strings.Contains(trail, made.Secret) || !strings.Contains(trail, "admin-token.created") || !strings.Contains(trail, "admin-token.revoked") {
		t.Errorf("audit trail: %s", trail)
	}
}

// TestRefusesUnknownParameters: a mistyped filter would select more.
func TestRefusesUnknownParameters(t *testing.T) {
	f := newFixture(t)
	server := f.remotely(t)
	token := map[string]string{"Authorization": "Bearer " + f.token(t, "viewer")}
	for path, says := range map[string]string{
		"/orders?acount=a": "acount", "/accounts?x=": "x", "/limits?who=a": "who", "/certificates?named=a": "named", "/certificates?name=a&name=b": "once", "/certificates?limit=0": "limit",
		"/certificates?after=x": "ISSUER:SERIAL", "/certificates?issuer=nobody": "no issuer", "/services?health=ill": "healthy",
		"/certificates/export?format=xml": "csv", "/certificates?contains=ab": "3 characters", "/certificates?issued_after=then": "no time",
		"/certificates?status=good": "valid", "/certificates?serial=xyz": "hexadecimal", "/certificates?key_hash=00": "64 digits",
		"/certificates?name=a..b": "well formed", "/certificates?name=*x.corp": "pattern", "/certificates?replaces=1": "ISSUER:SERIAL",
	} {
		if status, body, _ := send(t, server, http.MethodGet, admin.Prefix+path, token); status < 400 || status > 404 || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}
