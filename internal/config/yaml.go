package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// readYAML reads the file into the configuration. It returns false when that
// could not be read as YAML, so that nothing else can be said about it.
func (l *loader) readYAML(name string, data []byte) bool {
	from := source{kind: fromFile, name: name, line: 1, column: 1}
	if len(data) > maxFile {
		l.add(from, "", "the file has more than %d MiB; is it the right one?", maxFile>>20)
		return false
	}
	file, err := parseYAML(string(data))
	if err != nil {
		from, message := positionOf(err, from)
		l.add(from, "", "this is not YAML: %s", message)
		return false
	}
	d := decoder{loader: l, at: func(t *token.Token) source { return moved(from, t) }}
	for i, doc := range file.Docs {
		if i > 0 && doc.Body != nil {
			l.add(d.at(doc.Body.GetToken()), "", "a second document begins here; a configuration is one document")
			break
		}
		d.decode(l.config.root(), doc.Body)
	}
	return true
}

// setYAML reads a map or a section that a variable or --set gives as a whole,
// as in {corp: [10.0.0.53]}.
func (l *loader) setYAML(p place, text string, from source) {
	file, err := parseYAML(text)
	if err != nil || len(file.Docs) != 1 {
		l.add(from, p.key, "%.60q is no map; write it like {name: value}, or set one of its keys", text)
		return
	}
	d := decoder{loader: l, at: func(*token.Token) source { return from }}
	d.decode(p, file.Docs[0].Body)
}

// parseYAML parses text, with duplicate keys: decode finds all of them. The
// parser keeps with each node its path from the top, so what is nested without
// end would use memory without end.
func parseYAML(text string) (*ast.File, error) {
	const deepest = 32
	tokens := lexer.Tokenize(text)
	brackets, indicators := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			indicators++
		default:
			indicators = 0
		}
		if brackets+indicators > deepest {
			return nil, &yaml.SyntaxError{Message: "this is nested too deep", Token: t}
		}
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

func positionOf(err error, from source) (source, string) {
	if syntax, ok := errors.AsType[yaml.Error](err); ok {
		return moved(from, syntax.GetToken()), syntax.GetMessage()
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	return from, message
}

// moved is the source at a token.
func moved(from source, t *token.Token) source {
	if t != nil && t.Position != nil {
		from.line, from.column = t.Position.Line, t.Position.Column
	}
	return from
}

// decoder writes a YAML tree into places. Anything it can't use is a problem;
// the rest is read on.
type decoder struct {
	*loader
	at func(*token.Token) source
}

func (d decoder) decode(p place, node ast.Node) {
	switch node := node.(type) {
	case nil, *ast.NullNode: // "validation:" with nothing under it changes nothing
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.add(d.at(node.GetToken()), p.key, "anchors, aliases and tags are not read here; write the value itself")
	default:
		switch {
		case p.value.Kind() == reflect.Pointer: // what may be missing
			p.value.Set(reflect.New(p.value.Type().Elem()))
			p.value = p.value.Elem()
			d.decode(p, node)
		case isExpressive(p.value.Type()):
			d.expression(p, p.key, p.value, node)
		case p.key == storeKey && isText(node):
			d.setStore(node.GetToken().Value, d.at(node.GetToken()))
		case !p.isValue():
			d.mapping(p, node)
		case p.isSections():
			d.sections(p, node)
		case p.value.Kind() == reflect.Slice:
			d.list(p, node)
		default:
			d.scalar(p, p.key, p.value, node)
		}
	}
}

func (d decoder) mapping(p place, node ast.Node) {
	pairs, ok := pairsOf(node)
	if !ok {
		d.add(d.at(node.GetToken()), p.key, "keys are expected here, as in \"name: value\"; found %s", describe(node))
		return
	}
	seen := map[string]bool{}
	for _, pair := range pairs {
		name, from := pair.Key.GetToken().Value, d.at(pair.Key.GetToken())
		if _, ok := pair.Key.(ast.ScalarNode); !ok {
			d.add(from, p.key, "a plain key is expected here; found %q", name)
			continue
		}
		d.pair(p, name, pair.Value, from, seen)
	}
}

// pair reads one key of a section or a map.
func (d decoder) pair(p place, name string, value ast.Node, from source, seen map[string]bool) {
	child, known := p.child(name)
	switch {
	case p.isMap():
		var err error
		if name, err = p.normalName(name); err != nil {
			d.add(from, join(p.key, name), "%v", err)
			return
		}
		child = p.entry(name)
	case !known:
		d.unknown(from, join(p.key, name), p)
		return
	}
	if seen[name] {
		d.add(from, child.key, "this key is there twice; keep one of them")
		return
	}
	seen[name] = true
	if value != nil && value.Type() != ast.NullType {
		d.config.sources[child.key] = from
	}
	d.decode(child, value)
	if p.isMap() {
		p.put(name, child)
	}
}

// normalName is the key of an entry in its normal form: zones are domain
// names, whatever their case.
func (p place) normalName(name string) (string, error) {
	if p.key != "validation.zone_resolvers" {
		return name, nil
	}
	zone, err := normalize("domain", name)
	return cmp.Or(zone, name), err
}

func (d decoder) list(p place, node ast.Node) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok && p.isExpressions() { // one is a list of one
		sequence, ok = &ast.SequenceNode{Values: []ast.Node{node}}, true
	}
	if !ok {
		d.add(d.at(node.GetToken()), p.key, "a list is expected here, as in [one, two]; found %s", describe(node))
		return
	}
	before := len(d.problems.list)
	list := reflect.MakeSlice(p.value.Type(), len(sequence.Values), len(sequence.Values))
	for i, node := range sequence.Values {
		key := fmt.Sprintf("%s[%d]", p.key, i)
		if p.isExpressions() {
			d.expression(p, key, list.Index(i), node)
			continue
		}
		d.scalar(p, key, list.Index(i), node)
	}
	if len(d.problems.list) == before {
		p.value.Set(list)
	}
}

// sections reads a list of sections.
func (d decoder) sections(p place, node ast.Node) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		d.add(d.at(node.GetToken()), p.key, "a list is expected here, as in [{key: value}]; found %s", describe(node))
		return
	}
	before := len(d.problems.list)
	list := reflect.MakeSlice(p.value.Type(), len(sequence.Values), len(sequence.Values))
	for i, node := range sequence.Values {
		element := place{key: fmt.Sprintf("%s[%d]", p.key, i), value: list.Index(i)}
		d.config.sources[element.key] = d.at(start(node))
		d.decode(element, node)
	}
	if len(d.problems.list) == before {
		p.value.Set(list)
	}
}

// start is where a node begins: a mapping's own token is its first colon.
func start(node ast.Node) *token.Token {
	switch node := node.(type) {
	case *ast.MappingNode:
		if len(node.Values) > 0 {
			return node.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return node.Key.GetToken()
	}
	return node.GetToken()
}

// scalar reads one value of p. A text must be one in YAML too, so that what a
// reader of the file sees is what is meant: a bare 010 is no name.
func (d decoder) scalar(p place, key string, v reflect.Value, node ast.Node) {
	from := d.at(node.GetToken())
	text, ok := scalarText(v, node)
	if !ok {
		d.add(from, key, "%s is expected here; found %s", wanted(v), describe(node))
		return
	}
	if err := p.setScalar(v, text); err != nil {
		d.add(from, key, "%v", err)
	}
}

// scalarText returns the text of a scalar whose YAML type suits v. A value with
// a text form of its own, like a duration, can be any scalar, as in "wait: 0".
func scalarText(v reflect.Value, node ast.Node) (text string, ok bool) {
	kind, text := node.Type(), node.GetToken().Value
	if literal, isLiteral := node.(*ast.LiteralNode); isLiteral && literal.Value != nil {
		text = strings.TrimSuffix(literal.Value.Value, "\n")
	}
	texts := []ast.NodeType{ast.StringType, ast.LiteralType}
	switch v.Kind() {
	case reflect.Bool:
		return text, kind == ast.BoolType
	case reflect.Int:
		return text, kind == ast.IntegerType
	case reflect.Float64:
		return text, kind == ast.IntegerType || kind == ast.FloatType
	case reflect.String:
		return text, slices.Contains(texts, kind)
	}
	return text, slices.Contains(append(texts, ast.IntegerType, ast.FloatType), kind)
}

// wanted names what a value is written as.
func wanted(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text (a number in quotes is one)"
}

// describe names what a node is.
func describe(node ast.Node) string {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "the text " + quoted(node)
	case *ast.IntegerNode, *ast.FloatNode:
		return "the number " + quoted(node)
	}
	return quoted(node)
}

func quoted(node ast.Node) string { return fmt.Sprintf("%.60q", node.GetToken().Value) }
