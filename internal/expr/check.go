package expr

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// CEL takes parts of different types together as dyn, and then finds out only
// when it evaluates what could be known before. These checks find it out.

// position tells where a part of an expression is.
func position(tree *ast.AST, part ast.Expr) string {
	at := tree.SourceInfo().GetStartLocation(part.ID())
	return fmt.Sprintf("line %d, column %d", max(at.Line(), 1), max(at.Column(), 0)+1)
}

// checkParts refuses lists and maps of mixed types, and records, which can't
// be made.
func checkParts(tree *ast.AST) error {
	whole := ast.NavigateAST(tree)
	for _, part := range ast.MatchDescendants(whole, ast.AllMatcher()) {
		var groups [][]ast.Expr
		switch part.Kind() {
		case ast.ListKind:
			if !isFormat(part) {
				groups = append(groups, part.AsList().Elements())
			}
		case ast.MapKind:
			var keys, values []ast.Expr
			for _, entry := range part.AsMap().Entries() {
				keys, values = append(keys, entry.AsMapEntry().Key()), append(values, entry.AsMapEntry().Value())
			}
			groups = append(groups, keys, values)
		case ast.StructKind:
			if name := part.AsStruct().TypeName(); slices.Contains(Records(), name) {
				return fmt.Errorf("%s: values of the type %s can't be made", position(tree, part), name)
			}
		default:
		}
		for _, group := range groups {
			if err := checkSame(tree, group); err != nil {
				return err
			}
		}
	}
	return nil
}

// isFormat reports whether a list is what format puts into a text.
func isFormat(list ast.NavigableExpr) bool {
	parent, found := list.Parent()
	return found && parent.Kind() == ast.CallKind && parent.AsCall().FunctionName() == "format"
}

// checkSame refuses parts of different types; those whose type is not known
// can be of any.
func checkSame(tree *ast.AST, parts []ast.Expr) error {
	var first *types.Type
	for _, part := range parts {
		typ := tree.GetType(part.ID())
		switch {
		case typ.Kind() == types.DynKind:
		case first == nil:
			first = typ
		case !first.IsAssignableType(typ) && !typ.IsAssignableType(first):
			return fmt.Errorf("%s: this is of type %s and what comes before it of type %s; all must be of one type", position(tree, part), typ, first)
		}
	}
	return nil
}

// checkResult refuses a part of the result that can't be of the kind: a branch,
// or an element of a list.
func (k Kind) checkResult(tree *ast.AST, part ast.Expr, element bool) error {
	parts, typ := branches(tree, part), tree.GetType(part.ID())
	if len(parts) == 0 && part.Kind() == ast.ListKind && k == Texts && !element {
		parts, element = part.AsList().Elements(), true
		if len(parts) == 0 {
			return nil
		}
	}
	for _, inner := range parts {
		if err := k.checkResult(tree, inner, element); err != nil {
			return err
		}
	}
	fits, needed := gives(k, typ), k.String()
	if element {
		fits, needed = typ.Kind() == types.DynKind || cel.StringType.IsAssignableType(typ), "a string"
	}
	if len(parts) == 0 && !fits {
		return fmt.Errorf("%s: this gives %s; %s is needed", position(tree, part), typ, needed)
	}
	return nil
}

// branches are the parts of an expression that give what it gives.
func branches(tree *ast.AST, part ast.Expr) []ast.Expr {
	if part.Kind() != ast.CallKind {
		return nil
	}
	call := part.AsCall()
	switch name := call.FunctionName(); {
	case name == operators.Conditional:
		return call.Args()[1:]
	case name == operators.Add && tree.GetType(part.ID()).Kind() == types.ListKind, name == "dyn":
		return call.Args()
	}
	return nil
}
