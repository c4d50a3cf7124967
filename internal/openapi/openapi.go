// Package openapi describes HTTP APIs as OpenAPI 3.1 documents, made from
// tables of routes and the Go types that their bodies are read into and written
// from. So a document can't say something else than the code. It serves no
// routes; that the table is complete and its errors are all, tests check.
package openapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Route is one operation of an API.
type Route struct {
	Method  string // GET, POST, …
	Path    string // as http.ServeMux has it: "/api/v1/renewal/{id}"
	Summary string // what it does, in one line
	// Query is a struct whose fields are the query's parameters, by their json
	// tags; nil for none.
	Query any
	// Request and Response are values of the types of the bodies, as JSON; nil
	// for none. A Response of type []byte is a file, one of type string text.
	Request, Response any
	Status            int       // of success; 0 for 200
	Errors            []Problem // all that it can answer besides
	Problem           any       // a value of the type of their bodies; nil for that of the API
	// Role is who may ask: "" for everybody, "client" for the holder of a
	// certificate of this CA, by mutual TLS, or the role of an operator.
	Role string
}

// Problem is a kind of error: the status, and the member "type" of the body.
type Problem struct {
	Status int
	Type   string
}

// Client is the role of those who show a certificate of this CA.
const Client = "client"

// API is all that a document says beside its routes.
type API struct {
	Title, Description, Version string
	Server                      string // the URL that paths are below
	Problem                     any    // a value of the type of all error bodies, which has the members "type" and "status"
}

// Document is the OpenAPI document of an API, as JSON.
func Document(api API, routes []Route) ([]byte, error) {
	b := &builder{api: api, schemas: map[string]any{}, types: map[string]reflect.Type{}}
	paths := map[string]map[string]any{}
	for _, route := range routes {
		if paths[route.Path] == nil {
			paths[route.Path] = map[string]any{}
		}
		paths[route.Path][strings.ToLower(route.Method)] = b.operation(route)
	}
	if b.err != nil {
		return nil, b.err
	}
	text, err := json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": api.Title, "description": api.Description, "version": api.Version},
		"servers": []any{map[string]any{"url": api.Server}},
		"paths":   paths,
		"components": map[string]any{
			"schemas": b.schemas,
			"securitySchemes": map[string]any{
				"clientCertificate": map[string]any{"type": "mutualTLS", "description": "A certificate that this CA issued and that is good now."},
				"adminToken":        map[string]any{"type": "http", "scheme": "bearer", "description": "A token for operators."},
			},
		},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("couldn't write the OpenAPI document: %w", err)
	}
	return append(text, '\n'), nil
}

// builder collects the schemas of named types while it goes.
type builder struct {
	api     API
	schemas map[string]any
	types   map[string]reflect.Type // of schemas, so that two can't share a name
	err     error
}

func (b *builder) operation(r Route) map[string]any {
	status := r.Status
	if status == 0 {
		status = http.StatusOK
	}
	success := map[string]any{"description": http.StatusText(status)}
	if r.Response != nil {
		success["content"] = b.content(r.Response)
	}
	responses := map[string]any{strconv.Itoa(status): success}
	types := map[int][]string{}
	for _, problem := range r.Errors {
		types[problem.Status] = append(types[problem.Status], problem.Type)
	}
	for status, types := range types {
		slices.Sort(types)
		responses[strconv.Itoa(status)] = b.problem(r, status, types)
	}
	operation := map[string]any{"operationId": operationID(r), "summary": r.Summary, "responses": responses}
	if parameters := b.parameters(r); len(parameters) > 0 {
		operation["parameters"] = parameters
	}
	if r.Request != nil {
		operation["requestBody"] = map[string]any{"required": true, "content": b.content(r.Request)}
	}
	switch r.Role {
	case "":
		operation["security"] = []any{}
	case Client:
		operation["security"] = []any{map[string]any{"clientCertificate": []string{}}}
	default:
		operation["security"] = []any{map[string]any{"adminToken": []string{}}, map[string]any{"clientCertificate": []string{}}}
		operation["x-role"] = r.Role
	}
	return operation
}

// operationID is the method and the words of the path: "post_api_v1_sign".
func operationID(r Route) string {
	words := strings.FieldsFunc(r.Path, func(c rune) bool { return strings.ContainsRune("/{}.-", c) })
	return strings.ToLower(r.Method) + "_" + strings.Join(words, "_")
}

func (b *builder) problem(r Route, status int, types []string) map[string]any {
	body := r.Problem
	if body == nil {
		body = b.api.Problem
	}
	schema := map[string]any{"allOf": []any{b.schema(reflect.TypeOf(body)), map[string]any{"properties": map[string]any{
		"type": map[string]any{"enum": types}, "status": map[string]any{"const": status},
	}}}}
	response := map[string]any{
		"description": http.StatusText(status) + ": " + strings.Join(types, ", "),
		"content":     map[string]any{"application/problem+json": map[string]any{"schema": schema}},
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		response["headers"] = map[string]any{"Retry-After": map[string]any{
			"description": "Seconds to wait.", "schema": map[string]any{"type": "integer"},
		}}
	}
	return response
}

func (b *builder) content(value any) map[string]any {
	switch value.(type) {
	case []byte:
		return map[string]any{"*/*": map[string]any{}}
	case string:
		return map[string]any{"text/plain": map[string]any{"schema": map[string]any{"type": "string"}}}
	}
	return map[string]any{"application/json": map[string]any{"schema": b.schema(reflect.TypeOf(value))}}
}

// parameters are those in the path and the query.
func (b *builder) parameters(r Route) []any {
	var list []any
	for segment := range strings.SplitSeq(r.Path, "/") {
		if name, found := strings.CutPrefix(segment, "{"); found {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
			list = append(list, map[string]any{"name": name, "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
	}
	if r.Query == nil {
		return list
	}
	return append(list, b.inQuery(reflect.TypeOf(r.Query))...)
}

func (b *builder) inQuery(t reflect.Type) []any {
	var list []any
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Anonymous {
			list = append(list, b.inQuery(field.Type)...)
			continue
		}
		name, _, ok := member(field)
		if !ok {
			continue
		}
		parameter := map[string]any{"name": name, "in": "query", "schema": b.schema(field.Type)}
		if doc := field.Tag.Get("doc"); doc != "" {
			parameter["description"] = doc
		}
		list = append(list, parameter)
	}
	return list
}
