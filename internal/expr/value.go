package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Value is a setting that is written plainly, or as an expression: {cel: '…'}.
// Expression is "" when it is written plainly.
type Value[T any] struct {
	Literal    T
	Expression string
}

// Literal is a value that is always the same.
func Literal[T any](value T) Value[T] { return Value[T]{Literal: value} }

// CEL is a value that an expression gives.
func CEL[T any](text string) Value[T] { return Value[T]{Expression: text} }

// IsExpression reports whether an expression gives the value.
func (v Value[T]) IsExpression() bool { return v.Expression != "" }

// Plain is where a literal is put, and SetExpression takes an expression; for
// who reads the configuration.
func (v *Value[T]) Plain() any { return &v.Literal }

// SetExpression makes the value that of an expression. It returns an error if
// that is empty.
func (v *Value[T]) SetExpression(text string) error {
	if text == "" {
		return errors.New("the expression is empty")
	}
	*v = Value[T]{Expression: text}
	return nil
}

type expression struct {
	CEL string `yaml:"cel" json:"cel"`
}

// MarshalJSON writes the literal, or {"cel": "…"}.
func (v Value[T]) MarshalJSON() ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	value, _ := v.MarshalYAML()
	err := encoder.Encode(value)
	return bytes.TrimSpace(buffer.Bytes()), err
}

// UnmarshalJSON reads what MarshalJSON writes.
func (v *Value[T]) UnmarshalJSON(text []byte) error {
	return v.unmarshal(bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")), func(into any) error {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		return decoder.Decode(into)
	})
}

// MarshalYAML gives the literal, or a map with the key cel.
func (v Value[T]) MarshalYAML() (any, error) {
	if v.IsExpression() {
		return expression{v.Expression}, nil
	}
	return v.Literal, nil
}

// UnmarshalYAML reads what MarshalYAML gives.
func (v *Value[T]) UnmarshalYAML(unmarshal func(any) error) error {
	var probe any
	if err := unmarshal(&probe); err != nil {
		return err
	}
	_, isMap := probe.(map[string]any)
	return v.unmarshal(isMap, unmarshal)
}

func (v *Value[T]) unmarshal(isMap bool, unmarshal func(any) error) error {
	if !isMap {
		*v = Value[T]{}
		return unmarshal(&v.Literal)
	}
	var e expression
	if err := unmarshal(&e); err != nil {
		return fmt.Errorf("couldn't read an expression, which is written {cel: '…'}: %w", err)
	}
	return v.SetExpression(e.CEL)
}
