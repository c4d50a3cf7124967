package config

import (
	"reflect"

	"github.com/goccy/go-yaml/ast"
)

// expressive is a setting that is written plainly or as {cel: '…'}; expr.Value
// is one.
type expressive interface {
	Plain() any // a pointer to the literal
	SetExpression(text string) error
}

func isExpressive(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[expressive]())
}

// isExpressions reports whether the place is a list of settings that may be
// expressions.
func (p place) isExpressions() bool {
	return p.value.Kind() == reflect.Slice && isExpressive(p.value.Type().Elem())
}

// isFlow reports whether the place is a value whose text is YAML.
func (p place) isFlow() bool { return p.isSections() || p.isExpressions() }

// expression reads a literal or an expression. Mistakes in an expression are
// told where its text begins.
func (d decoder) expression(p place, key string, v reflect.Value, node ast.Node) {
	target, _ := v.Addr().Interface().(expressive)
	d.config.sources[key] = d.at(start(node))
	pairs, isMap := pairsOf(node)
	if !isMap {
		d.scalar(p, key, reflect.ValueOf(target.Plain()).Elem(), node)
		return
	}
	var text string
	if len(pairs) == 1 && pairs[0].Key.GetToken().Value == "cel" {
		text, isMap = scalarText(reflect.ValueOf(text), pairs[0].Value)
	}
	if !isMap || target.SetExpression(text) != nil {
		d.add(d.at(start(node)), key, "an expression is expected here, as in {cel: 'token.sub'}")
		return
	}
	d.config.sources[key] = d.at(pairs[0].Value.GetToken())
}

// pairsOf are the keys and values of a map.
func pairsOf(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch node := node.(type) {
	case *ast.MappingNode:
		return node.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{node}, true
	}
	return nil, false
}

// expressionSchema is the schema of a literal or an expression.
func expressionSchema(t reflect.Type) map[string]any {
	literal, _ := t.FieldByName("Literal")
	expression := map[string]any{
		"type": "object", "required": []string{"cel"}, "additionalProperties": false,
		"properties": map[string]any{"cel": map[string]any{"type": "string", "description": "A CEL expression that gives the value."}},
	}
	return map[string]any{"anyOf": []any{scalarSchema(place{}, literal.Type), expression}}
}
