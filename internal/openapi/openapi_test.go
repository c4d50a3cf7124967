package openapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

type inner struct {
	At   time.Time `json:"at"`
	Next *inner    `json:"next,omitempty"`
}

type outer[T any] struct {
	inner
	Items  []T               `json:"items" doc:"What there is."`
	Labels map[string]string `json:"labels,omitempty"`
	Raw    json.RawMessage   `json:"raw,omitzero"`
	Bytes  []byte            `json:"bytes,omitempty"`
	Hidden string            `json:"-"`
	hidden chan int
}

type problem struct {
	Type string `json:"type"`
}

func TestDocument(t *testing.T) {
	_ = outer[inner]{}.hidden
	text, err := Document(API{Title: "T", Problem: problem{}}, []Route{
		{Method: "GET", Path: "/a/{id}", Summary: "Read", Query: struct {
			Limit int `json:"limit" doc:"At most so many."`
		}{}, Response: outer[inner]{}, Errors: []Problem{{503, "urn:x:later"}, {404, "urn:x:none"}, {503, "urn:x:away"}}},
		{Method: "POST", Path: "/a/{id}", Summary: "Write", Request: inner{}, Status: 201, Role: "admin"},
		{Method: "GET", Path: "/file", Summary: "File", Response: []byte(nil), Role: Client},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"operationId":"get_a_id"`, `"in":"path","name":"id","required":true`, `"description":"At most so many.","in":"query","name":"limit"`,
		`"$ref":"#/components/schemas/outerInner"`, `"required":["at","items"]`, `"description":"What there is."`,
		`"next":{"$ref":"#/components/schemas/inner"}`, `"raw":{}`, `"contentEncoding":"base64"`, `"additionalProperties":{"type":"string"}`,
		`"503":{"content":{"application/problem+json":`, `"description":"Service Unavailable: urn:x:away, urn:x:later"`,
		`"allOf":[{"$ref":"#/components/schemas/problem"},{"properties":{"status":{"const":404},"type":{"enum":["urn:x:none"]}}}]`, `"Retry-After"`,
		`"201":{"description":"Created"}`, `"x-role":"admin"`, `"security":[{"clientCertificate":[]}]`, `"content":{"*/*":{}}`,
	} {
		var compact strings.Builder
		encoder := json.NewEncoder(&compact)
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(compact.String(), want) {
			t.Errorf("the document lacks %s:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "idden") {
		t.Error("a hidden field is shown")
	}
	if _, err := Document(API{Problem: problem{}}, []Route{{Method: "GET", Path: "/", Response: struct {
		C chan int `json:"c"`
	}{}}}); err == nil {
		t.Error("a type that JSON can't have is described")
	}
}
