package profile

import (
	"fmt"
	"strings"

	"chancery/internal/expr"
	"chancery/internal/failure"
)

// slot is a place in certificates that a literal or an expression fills with
// texts. Both are held to the same check.
type slot struct {
	field   string                       // "subject.organization[0]"
	literal []string                     // in its normal form
	program *expr.Program                // nil for a literal
	check   func(string) (string, error) // brings a text to its normal form
	sample  string                       // stands for what the expression gives, in samples
}

// slots compiles the texts of a field.
func (c *compiler) slots(field string, texts []Text, check func(string) (string, error), sample string) []slot {
	var list []slot
	for i, text := range texts {
		list = append(list, c.slot(fmt.Sprintf("%s[%d]", field, i), text, check, sample))
	}
	return list
}

func (c *compiler) slot(field string, text Text, check func(string) (string, error), sample string) slot {
	s := slot{field: field, check: check, sample: sample}
	if text.IsExpression() {
		s.program = c.program(field, text.Expression, expr.Texts, func(result any) error {
			_, err := s.normal(result)
			return err
		})
		return s
	}
	value, err := check(text.Literal)
	if err != nil {
		c.refuse(field, "%s", err)
	}
	s.literal = []string{value}
	return s
}

// program compiles an expression, or notes what is wrong with it, or with what
// it always gives.
func (c *compiler) program(field, text string, kind expr.Kind, check func(result any) error) *expr.Program {
	if c.env == nil {
		env, err := expr.NewEnv()
		if err != nil {
			c.refuse(field, "%s", err)
			return nil
		}
		c.env = env
	}
	program, err := c.env.Compile(text, kind)
	if err != nil {
		c.refuse(field, "in the expression, %s", err)
		return nil
	}
	if program.IsConstant() {
		result, err := program.Eval(&expr.Input{})
		if err == nil {
			err = check(result)
		}
		if err != nil {
			c.refuse(field, "the expression reads nothing of a request, and %s", err)
		}
	}
	c.profile.dynamic = true
	return program
}

// evaluation fills the slots of one certificate.
type evaluation struct {
	profile *Profile
	input   expr.Input
	sample  bool // what can't be filled gets its slot's sample
}

// texts are what fills the slot: nothing when an expression gives an empty
// list. The error is a failure of kind Rejected, or BadCSR when the expression
// reads the CSR.
func (e *evaluation) texts(s *slot) ([]string, error) {
	if s.program == nil {
		return s.literal, nil
	}
	values, err := e.evaluate(s)
	if e.sample && len(values) == 0 {
		return []string{s.sample}, nil
	}
	if err != nil {
		return nil, e.refuse(s.field, s.program, err)
	}
	return values, nil
}

func (e *evaluation) evaluate(s *slot) ([]string, error) {
	result, err := s.program.Eval(&e.input)
	if err != nil {
		return nil, err
	}
	return s.normal(result)
}

// normal brings what an expression gives to its normal form.
func (s *slot) normal(result any) (normal []string, err error) {
	values, _ := result.([]string)
	normal = make([]string, len(values))
	for i, value := range values {
		if normal[i], err = s.check(value); err != nil {
			return nil, fmt.Errorf("it gives %.100q: %w", value, err)
		}
	}
	return normal, nil
}

func (e *evaluation) refuse(field string, program *expr.Program, err error) error {
	kind := failure.Rejected
	if program.Reads("csr") {
		kind = failure.BadCSR
	}
	return failure.New(kind, "the profile %s can't fill %s with its expression %.200s: %s",
		e.profile.Name, field, strings.Join(strings.Fields(program.Text), " "), err)
}
