// Package expr evaluates the expressions in profiles: CEL, type-checked when
// the configuration is loaded against the variables of Variables, and bounded
// in cost, memory, time and output when evaluated. What a requester lacks is
// an error, never an empty value.
//
// It does not know what its results are for; profiles check them as they check
// literals.
package expr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// The bounds of an expression and its evaluation. Costs are CEL's units, of
// about ten nanoseconds each; memory counts elements of values.
const (
	maxLength     = 4096
	maxCost       = 100_000
	maxMemory     = 256 << 10
	maxTime       = time.Second
	checkEvery    = 100 // iterations of a comprehension between looks at the clock
	maxResults    = 100
	maxResultSize = 16 << 10 // octets, over all results
)

// Kind is what an expression must give.
type Kind uint8

// The kinds, each with the Go type that Program.Eval returns.
const (
	Texts Kind = iota // []string: CEL's string, or a list of them
	Int               // int64
	Bool              // bool
	Bytes             // []byte
)

func (k Kind) String() string {
	return [...]string{"a string or a list of strings", "an int", "a bool", "bytes"}[k]
}

func (k Kind) types() []*cel.Type {
	switch k {
	case Int:
		return []*cel.Type{cel.IntType}
	case Bool:
		return []*cel.Type{cel.BoolType}
	case Bytes:
		return []*cel.Type{cel.BytesType}
	}
	return []*cel.Type{cel.StringType, cel.ListType(cel.StringType)}
}

// Env compiles expressions.
type Env struct{ env *cel.Env }

// NewEnv returns an Env with the documented variables, CEL's standard
// functions, and its libraries for strings and base64.
func NewEnv() (*Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("couldn't set up CEL: %w", err)
	}
	options := []cel.EnvOption{
		cel.CustomTypeAdapter(registry), cel.CustomTypeProvider(records{registry}),
		ext.Strings(ext.StringsVersion(4)), ext.Encoders(),
		cel.ParserExpressionSizeLimit(maxLength), cel.ParserRecursionLimit(32),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
	}
	for _, v := range Variables() {
		options = append(options, cel.Variable(v.Name, v.typ))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("couldn't set up CEL: %w", err)
	}
	return &Env{env}, nil
}

// Program is a compiled expression. It may be used from many goroutines.
type Program struct {
	Text    string
	kind    Kind
	program cel.Program
	reads   map[string]bool
}

// Reads reports whether the expression reads a variable.
func (p *Program) Reads(variable string) bool { return p.reads[variable] }

// IsConstant reports whether the expression reads no variable. One that does
// not has been evaluated without an error when it was compiled.
func (p *Program) IsConstant() bool {
	return !slices.ContainsFunc(Variables(), func(v Variable) bool { return p.reads[v.Name] })
}

// Compile checks text and makes it ready. Its error says line and column in
// the text, and the variables there are where that helps.
func (e *Env) Compile(text string, kind Kind) (*Program, error) {
	ast, issues := e.env.Compile(text)
	if err := issuesOf(issues); err != nil {
		return nil, err
	}
	if !gives(kind, ast.OutputType()) {
		return nil, fmt.Errorf("line 1, column 1: the expression gives %s; %s is needed", ast.OutputType(), kind)
	}
	if err := checkParts(ast.NativeRep()); err != nil {
		return nil, err
	}
	if err := kind.checkResult(ast.NativeRep(), ast.NativeRep().Expr(), false); err != nil {
		return nil, err
	}
	program, err := e.env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost),
		cel.MemoryLimit(maxMemory), cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return nil, fmt.Errorf("line 1, column 1: %w", err)
	}
	reads := map[string]bool{}
	for _, reference := range ast.NativeRep().ReferenceMap() {
		reads[reference.Name] = true
	}
	compiled := &Program{text, kind, program, reads}
	if compiled.IsConstant() {
		if _, err := compiled.Eval(&Input{}); err != nil {
			return nil, fmt.Errorf("line 1, column 1: %w", err)
		}
	}
	return compiled, nil
}

// gives reports whether a value of type t can be of the kind. What is in
// tokens has the type dyn, and is looked at when evaluated.
func gives(kind Kind, t *cel.Type) bool {
	if t.Kind() == types.DynKind || kind == Texts && t.Kind() == types.ListKind && t.Parameters()[0].Kind() == types.DynKind {
		return true
	}
	for _, wanted := range kind.types() {
		if wanted.IsAssignableType(t) {
			return true
		}
	}
	return false
}

// issuesOf is the first mistake that CEL found, for one often makes others.
func issuesOf(issues *cel.Issues) error {
	if issues == nil || len(issues.Errors()) == 0 {
		return nil
	}
	first := issues.Errors()[0]
	message, _, _ := strings.Cut(first.Message, " (in container")
	if strings.Contains(message, "undeclared reference") || strings.Contains(message, "undefined field") {
		message += "; there are " + vocabulary()
	}
	return fmt.Errorf("line %d, column %d: %s", max(first.Location.Line(), 1), max(first.Location.Column(), 0)+1, message)
}

// Eval evaluates the expression. It returns an error if something is not there
// that the expression reads, if the result is of another kind, or if a bound
// is exceeded.
func (p *Program) Eval(input *Input) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	value, _, err := p.program.ContextEval(ctx, input)
	if err != nil {
		return nil, err
	}
	return p.result(value)
}

func (p *Program) result(value ref.Val) (any, error) {
	switch value := value.(type) {
	case types.String:
		if p.kind == Texts {
			return texts(value)
		}
	case traits.Lister:
		if p.kind == Texts {
			return listed(value)
		}
	case types.Int:
		if p.kind == Int {
			return int64(value), nil
		}
	case types.Bool:
		if p.kind == Bool {
			return bool(value), nil
		}
	case types.Bytes:
		if p.kind == Bytes && len(value) <= maxResultSize {
			return []byte(value), nil
		}
		if p.kind == Bytes {
			return nil, errTooLarge
		}
	}
	return nil, fmt.Errorf("the result is of type %s; %s is needed", value.Type().TypeName(), p.kind)
}

var errTooLarge = errors.New("the result is too large")

func texts(values ...types.String) ([]string, error) {
	size, list := 0, make([]string, len(values))
	for i, value := range values {
		list[i] = string(value)
		size += len(list[i])
	}
	if size > maxResultSize {
		return nil, errTooLarge
	}
	return list, nil
}

func listed(list traits.Lister) ([]string, error) {
	size, _ := list.Size().(types.Int)
	if size > maxResults {
		return nil, errTooLarge
	}
	values := make([]types.String, size)
	for i := range size {
		element := list.Get(i)
		text, ok := element.(types.String)
		if !ok {
			return nil, fmt.Errorf("the result is a list with an element of type %s; only strings are taken", element.Type().TypeName())
		}
		values[i] = text
	}
	return texts(values...)
}
