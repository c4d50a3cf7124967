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
	"sync"
	"testing"

	"chancery/internal/admin"
	"chancery/internal/server/servertest"
)

// document is as much of an OpenAPI document as the tests look at.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }

	mu   sync.Mutex
	seen map[string]bool // "POST /api/v1/sign 403 urn:…"; guarded by mu
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
	AllOf      []schema
	Enum       []string
}

func read(t testing.TB, ca *servertest.CA) *document {
	t.Helper()
	answered := call(t, ca.HTTP, http.MethodGet, ca.BaseURL+"/api/v1/openapi.json", nil)
	d := document{seen: map[string]bool{}}
	if check(t, json.Unmarshal(answered.Body, &d)); answered.Status != http.StatusOK || !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Fatalf("answered %d: %.300s", answered.Status, answered.Body)
	}
	return &d
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
	for _, part := range s.AllOf {
		if err := d.matches(part, value, at); err != nil {
			return err
		}
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
		if s.Enum != nil && !slices.Contains(s.Enum, fmt.Sprint(value)) {
			return fmt.Errorf("%s: %v is none of %v", at, value, s.Enum)
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
	if problem, _ := value.(map[string]any); got.Status >= 400 {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.seen[fmt.Sprint(method, " ", path, " ", got.Status, " ", problem["type"])] = true
	}
	if later := got.Status == http.StatusServiceUnavailable || got.Status == http.StatusTooManyRequests; later && got.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s answers %d and doesn't say when to ask again", method, path, got.Status)
	}
}

// complete reports which errors of the paths below prefix have never been
// answered, although the document has them.
func (d *document) complete(t testing.TB, paths func(path string) bool) {
	t.Helper()
	for path, operations := range d.Paths {
		for method, operation := range operations {
			for status, response := range operation.Responses {
				if !paths(path) || status < "400" {
					continue
				}
				for _, typ := range response.Content["application/problem+json"].Schema.AllOf[1].Properties["type"].Enum {
					if what := fmt.Sprint(strings.ToUpper(method), " ", path, " ", status, " ", typ); !d.seen[what] {
						t.Errorf("never answered: %s", what)
					}
				}
			}
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
