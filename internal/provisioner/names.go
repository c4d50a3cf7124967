package provisioner

import (
	"errors"
	"fmt"

	"chancery/internal/expr"
	"chancery/internal/identifier"
)

// maxNames bounds the names that one token stands for.
const maxNames = 100

// parseNames reads the names that a token claims.
func parseNames(texts []string) ([]identifier.Identifier, error) {
	if len(texts) > maxNames {
		return nil, malformed("the token has %d names; at most %d are taken", len(texts), maxNames)
	}
	names := make([]identifier.Identifier, len(texts))
	for i, text := range texts {
		name, err := identifier.ParseText(text)
		if err != nil {
			return nil, malformed("the token has the name %.100q, which is none: %v; write a DNS name, an address, uri:… or email:…", text, err)
		}
		names[i] = name
	}
	return identifier.Normalize(names), nil
}

// compileNames makes the field "names" ready.
func compileNames(values []expr.Value[string]) ([]nameMaker, error) {
	if len(values) == 0 {
		return nil, nil
	}
	env, err := expr.NewEnv()
	if err != nil {
		return nil, err
	}
	var errs []error
	makers := make([]nameMaker, len(values))
	for i, value := range values {
		field := fmt.Sprintf("names[%d]", i)
		if !value.IsExpression() {
			if _, err := identifier.ParseText(value.Literal); err != nil {
				errs = append(errs, mistake(field, "%.100q is no name: %v", value.Literal, err))
			}
			makers[i].literal = value.Literal
			continue
		}
		program, err := env.Compile(value.Expression, expr.Texts)
		if err != nil {
			errs = append(errs, mistake(field, "%v", err))
			continue
		}
		for _, v := range expr.Variables() {
			if v.Name != "token" && v.Name != "now" && program.Reads(v.Name) {
				errs = append(errs, mistake(field, "the expression reads %s; only token and now are known here", v.Name))
			}
		}
		makers[i].program = program
	}
	return makers, errors.Join(errs...)
}

// makeNames are the names that the spec gives to the bearer of these claims.
func (p *Provisioner) makeNames(claims expr.Claims) ([]identifier.Identifier, error) {
	input := &expr.Input{Facts: expr.Facts{Token: claims}, Now: p.now()}
	var texts []string
	for i, maker := range p.names {
		if maker.program == nil {
			texts = append(texts, maker.literal)
			continue
		}
		value, err := maker.program.Eval(input)
		if err != nil {
			return nil, unauthorized("the token gives no name by names[%d] of the provisioner %s: %v", i, p.Name, err)
		}
		results, _ := value.([]string)
		texts = append(texts, results...)
	}
	return parseNames(texts)
}
