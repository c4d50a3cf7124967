package expr

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Variable is a name that expressions can use.
type Variable struct {
	Name string
	Type string // as people read it: "list(string)"
	Doc  string // what it holds, in one line
	typ  *cel.Type
}

// Variables returns all variables, in the order of the documentation.
func Variables() []Variable {
	text, list := cel.StringType, cel.ListType(cel.StringType)
	claims := cel.MapType(text, cel.DynType)
	variables := []Variable{
		{Name: "identifiers", typ: cel.ListType(cel.ObjectType("identifier")), Doc: "what the requester asked for and was granted, in order"},
		{Name: "dns", typ: list, Doc: "the DNS names among them"},
		{Name: "ips", typ: list, Doc: "the IP addresses among them"},
		{Name: "emails", typ: list, Doc: "the email addresses among them"},
		{Name: "uris", typ: list, Doc: "the URIs among them"},
		{Name: "account", typ: cel.ObjectType("account"), Doc: "the account that asks"},
		{Name: "grant", typ: cel.ObjectType("grant"), Doc: "the grant that the account came with, and its labels"},
		{Name: "token", typ: claims, Doc: "the claims of the token that was presented"},
		{Name: "attestation", typ: claims, Doc: "what the attestation of the key says"},
		{Name: "csr", typ: cel.ObjectType("csr"), Doc: "the certificate signing request as it came; nobody but its sender vouches for what it says"},
		{Name: "now", typ: cel.TimestampType, Doc: "the moment of issuance"},
		{Name: "profile", typ: text, Doc: "the name of the profile"},
	}
	for i, v := range variables {
		variables[i].Type = v.typ.String()
	}
	return variables
}

// Fields returns the fields of a record type by name, with their types as
// people read them, or nil when there is no such record.
func Fields(record string) map[string]string {
	fields := map[string]string{}
	for name, typ := range recordFields(record) {
		fields[name] = typ.String()
	}
	return fields
}

// Records are the types that have fields.
func Records() []string { return []string{"identifier", "account", "grant", "csr", "subject"} }

func recordFields(record string) map[string]*cel.Type {
	text, list := cel.StringType, cel.ListType(cel.StringType)
	switch record {
	case "identifier":
		return map[string]*cel.Type{"type": text, "value": text}
	case "account":
		return map[string]*cel.Type{"id": text, "contact": list}
	case "grant":
		return map[string]*cel.Type{"id": text, "name": text, "labels": cel.MapType(text, text)}
	case "csr":
		return map[string]*cel.Type{
			"subject": cel.ObjectType("subject"), "extensions": cel.MapType(text, cel.BytesType),
			"dns_names": list, "ips": list, "emails": list, "uris": list,
		}
	case "subject":
		return map[string]*cel.Type{
			"common_name": text, "serial_number": text, "country": list, "province": list, "locality": list,
			"organization": list, "organizational_unit": list, "street_address": list, "postal_code": list,
		}
	}
	return nil
}

// vocabulary lists all variables with their fields, for messages.
func vocabulary() string {
	var names []string
	for _, v := range Variables() {
		if fields := recordFields(v.Type); fields != nil {
			names = append(names, v.Name+".{"+strings.Join(slices.Sorted(maps.Keys(fields)), ", ")+"}")
			continue
		}
		names = append(names, v.Name)
	}
	return strings.Join(names, ", ")
}

// records gives CEL the types that have fields. Their values are Go maps that
// hold only what is known; reading anything else is an error, so that what is
// missing never becomes an empty text.
type records struct{ *types.Registry }

func (r records) FindStructType(name string) (*types.Type, bool) {
	if recordFields(name) != nil {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return r.Registry.FindStructType(name)
}

func (r records) FindStructFieldNames(name string) ([]string, bool) {
	if fields := recordFields(name); fields != nil {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return r.Registry.FindStructFieldNames(name)
}

func (r records) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields := recordFields(name)
	if fields == nil {
		return r.Registry.FindStructFieldType(name, field)
	}
	typ, ok := fields[field]
	return &types.FieldType{
		Type:    typ,
		IsSet:   func(target any) bool { return valueOf(target)[field] != nil },
		GetFrom: func(target any) (any, error) { return get(target, name, field) },
	}, ok
}

// NewValue refuses to make records in expressions, which nothing needs.
func (r records) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if recordFields(name) != nil {
		return types.WrapErr(errors.New("values of the type " + name + " can't be made"))
	}
	return r.Registry.NewValue(name, fields)
}

func valueOf(target any) map[string]any {
	record, _ := target.(map[string]any)
	return record
}

func get(target any, record, field string) (any, error) {
	if value := valueOf(target)[field]; value != nil {
		return value, nil
	}
	return nil, fmt.Errorf("there is no %s.%s", record, field)
}
