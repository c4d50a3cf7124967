package token_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"chancery/internal/admin"
	"chancery/internal/server/servertest"
	"chancery/internal/token"
)

// document is as much of an OpenAPI document as the tests look at.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type operation struct {
	OperationID string
	Summary     string
	Parameters  []struct{ Name, In string }
	RequestBody *struct{ Content map[string]content }
	Responses   map[string]struct{ Content map[string]content }
}

type content struct{ Schema schema }

type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Properties map[string]schema
	Required   []string
	Items      *schema
	Values     *schema `json:"additionalProperties"`
}

func read(t testing.TB, ca *servertest.CA) document {
	t.Helper()
	answered := call(t, ca.HTTP, http.MethodGet, ca.BaseURL+"/api/v1/openapi.json", nil)
	var d document
	if check(t, json.Unmarshal(answered.Body, &d)); answered.Status != http.StatusOK || !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Fatalf("answered %d: %.300s", answered.Status, answered.Body)
	}
	return d
}

// matches reports where a value is not as a schema says.
func (d *document) matches(s schema, value any, at string) error {
	if name, found := strings.CutPrefix(s.Ref, "#/components/schemas/"); found {
		resolved, known := d.Components.Schemas[name]
		if !known {
			return fmt.Errorf("%s: there is no schema %s", at, name)
		}
		return d.matches(resolved, value, at)
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range s.Required {
			if _, found := value[name]; !found {
				return fmt.Errorf("%s: %s is missing", at, name)
			}
		}
		for name, member := range value {
			inner, found := s.Properties[name]
			if !found && s.Values != nil {
				inner, found = *s.Values, true
			}
			if !found && s.Type == "object" && s.Properties != nil {
				return fmt.Errorf("%s: %s is not in the schema", at, name)
			}
			if err := d.matches(inner, member, at+"."+name); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range value {
			if s.Items != nil {
				if err := d.matches(*s.Items, element, at+"[]"); err != nil {
					return err
				}
			}
		}
	case string, bool, float64:
		wanted := map[string]string{"string": "string", "boolean": "bool", "integer": "float64", "number": "float64"}
		if found := fmt.Sprintf("%T", value); s.Type != "" && wanted[s.Type] != found {
			return fmt.Errorf("%s: a %s was found where %s is promised", at, found, s.Type)
		}
	}
	return nil
}

// promised checks an answer against the document.
func (d *document) promised(t testing.TB, method, path string, got answer) {
	t.Helper()
	operation, known := d.Paths[path][strings.ToLower(method)]
	promise, listed := operation.Responses[strconv.Itoa(got.Status)]
	if !known || !listed {
		t.Errorf("%s %s answers %d, which is not in the document: %.300s", method, path, got.Status, got.Body)
		return
	}
	typ, _, _ := strings.Cut(got.Header.Get("Content-Type"), ";")
	body, listed := promise.Content[typ]
	if _, any := promise.Content["*/*"]; any {
		return
	}
	if !listed && len(promise.Content) > 0 {
		t.Errorf("%s %s answers %d as %s", method, path, got.Status, typ)
	}
	var value any
	if strings.HasSuffix(typ, "json") && listed {
		check(t, json.Unmarshal(got.Body, &value))
		if err := d.matches(body.Schema, value, "body"); err != nil {
			t.Errorf("%s %s, %d: %v", method, path, got.Status, err)
		}
	}
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// TestDocument asks for all that the document promises.
func TestDocument(t *testing.T) {
	t.Parallel()
	ca := start(t, jwkSpec(t, "ci", newSigner(t), ""))
	d := read(t, ca)
	operators := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = admin.WithSocketPath(filepath.Join(ca.Dir, "admin.sock"), func(short string) error {
			conn, err = (&net.Dialer{}).DialContext(ctx, "unix", short)
			return err
		})
		return conn, err
	}}}
	t.Cleanup(operators.CloseIdleConnections)
	ids := map[string]bool{}
	for path, operations := range d.Paths {
		for method, operation := range operations {
			if ids[operation.OperationID] || operation.Summary == "" {
				t.Errorf("%s %s has the operationId %q and the summary %q", method, path, operation.OperationID, operation.Summary)
			}
			ids[operation.OperationID] = true
			if found := len(parameter.FindAllString(path, -1)); found > len(operation.Parameters) {
				t.Errorf("%s describes %d of %d parameters", path, len(operation.Parameters), found)
			}
			var body any
			if operation.RequestBody != nil {
				body = map[string]any{}
			}
			sent := strings.ToUpper(method)
			d.promised(t, sent, path, call(t, ca.HTTP, sent, ca.BaseURL+parameter.ReplaceAllString(path, "abc"), body))
			if strings.HasPrefix(path, admin.Prefix) {
				d.promised(t, sent, path, call(t, operators, sent, "http://local"+parameter.ReplaceAllString(path, "abc"), body))
			}
			for _, other := range []string{http.MethodPut, http.MethodPatch, http.MethodTrace} {
				if _, served := operations[strings.ToLower(other)]; served || strings.HasPrefix(path, admin.Prefix) {
					continue
				}
				call(t, ca.HTTP, other, ca.BaseURL+parameter.ReplaceAllString(path, "abc"), body).refused(t, http.StatusMethodNotAllowed, "methodNotAllowed", "use ")
			}
		}
	}
	for _, route := range admin.Routes() {
		if _, described := d.Paths[route.Path][strings.ToLower(route.Method)]; !described {
			t.Errorf("%s %s is not described", route.Method, route.Path)
		}
	}
	if len(d.Paths) < len(admin.Routes())/2+8 {
		t.Errorf("only %d paths are described", len(d.Paths))
	}
	call(t, ca.HTTP, http.MethodGet, ca.BaseURL+"/api/v1/nothing", nil).refused(t, http.StatusNotFound, "notFound", "openapi.json describes")
}

// TestDocumentOfErrors gives each route of the door what it can't use.
func TestDocumentOfErrors(t *testing.T) {
	t.Parallel()
	ci := newSigner(t)
	ca := start(t, jwkSpec(t, "ci", ci, ""), "limits.certificates_per_set=1/1h", `policy.rules=[{name: no, deny: [no.corp]}]`)
	d := read(t, ca)
	leaf, key := get(t, ca, ci, "ci", "tls-mutual", "a.corp")
	csr, holder := newCSR(t, key), holding(t, ca, leaf, key)
	tokenFor := func(names ...string) string { return ci.token(t, claimsFor(ca, "ci", names...)) }
	seen := map[string][]int{}
	send := func(client *http.Client, method, path string, body any) {
		t.Helper()
		got := call(t, client, method, ca.BaseURL+parameter.ReplaceAllString(path, leaf.SerialNumber.Text(16)), body)
		d.promised(t, method, path, got)
		seen[path] = append(seen[path], got.Status)
	}
	const signs, renews, revokes = "/api/v1/sign", "/api/v1/renew", "/api/v1/revoke"
	used := token.SignRequest{Token: tokenFor("b.corp"), CSR: csr}
	for _, body := range []any{
		used, used, nil, "{", "[]", "{} {}", `{"unknown":1}`, strings.Repeat("x", 300<<10), `{"token":"` + strings.Repeat("x", 300<<10) + `"}`,
		token.SignRequest{Token: tokenFor("no.corp"), CSR: csr}, token.SignRequest{Token: tokenFor("b.corp"), CSR: csr},
		token.SignRequest{Token: tokenFor("c.corp"), CSR: "x"}, token.SignRequest{Token: tokenFor("c.corp")},
		token.SignRequest{Token: tokenFor("c.corp"), CSR: csr, Profile: "none"}, token.SignRequest{Token: "x", CSR: csr},
	} {
		send(ca.HTTP, http.MethodPost, signs, body)
	}
	send(ca.HTTP, http.MethodPost, renews, token.RenewRequest{CSR: csr})
	for _, body := range []any{token.RenewRequest{CSR: csr}, token.RenewRequest{CSR: csr}, token.RenewRequest{}, strings.Repeat(" ", 300<<10)} {
		send(holder, http.MethodPost, renews, body)
	}
	for _, body := range []any{
		token.RevokeRequest{Serial: "1", Token: tokenFor("a.corp")}, token.RevokeRequest{Reason: "x"}, token.RevokeRequest{}, nil, strings.Repeat(" ", 300<<10),
		token.RevokeRequest{Serial: leaf.SerialNumber.Text(16), Token: tokenFor("a.corp")}, token.RevokeRequest{Serial: leaf.SerialNumber.Text(16), Token: tokenFor("a.corp")},
	} {
		send(ca.HTTP, http.MethodPost, revokes, body)
	}
	send(ca.HTTP, http.MethodGet, "/api/v1/renewal/{id}", nil)
	for path, wanted := range map[string][]int{signs: {201, 400, 403, 413, 429}, renews: {201, 400, 403, 413, 429}, revokes: {200, 400, 403, 404, 409, 413}} {
		for _, status := range wanted {
			if !slices.Contains(seen[path], status) {
				t.Errorf("%s never answered %d: %v", path, status, seen[path])
			}
		}
	}
}
