package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"chancery/internal/duration"
)

// set reads text into a value: the same for the file, the environment and
// --set. A list is separated by commas. The error says what is wrong and what
// would be right; the value is then unchanged.
func (p place) set(text string) error {
	if p.value.Kind() != reflect.Slice {
		return p.setScalar(p.value, text)
	}
	list := reflect.MakeSlice(p.value.Type(), 0, 0)
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" && strings.TrimSpace(text) == "" {
			break
		}
		element := reflect.New(list.Type().Elem()).Elem()
		if err := p.setScalar(element, part); err != nil {
			return err
		}
		list = reflect.Append(list, element)
	}
	p.value.Set(list)
	return nil
}

func (p place) setScalar(v reflect.Value, text string) error {
	value, err := p.parse(v, text)
	if err == nil {
		v.Set(reflect.ValueOf(value).Convert(v.Type()))
	}
	return err
}

// parse reads text as a value of v's type that the tags allow.
func (p place) parse(v reflect.Value, text string) (any, error) {
	switch v.Addr().Interface().(type) {
	case *netip.Prefix:
		return parsePrefix(text)
	case *duration.Duration:
		d, err := duration.Parse(text)
		return d, cmp.Or(err, p.within(text, func(bound string) int {
			limit, _ := duration.Parse(bound)
			return cmp.Compare(d, limit)
		}))
	case encoding.TextUnmarshaler:
		return nil, fmt.Errorf("values of type %s can't be read", v.Type())
	}
	switch v.Kind() {
	case reflect.String:
		return p.parseString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("%.60q is neither true nor false", text)
		}
		return text == "true", nil
	case reflect.Int:
		number, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%.60q is no whole number; write it in digits, like 10", text)
		}
		return number, p.within(text, numberBound(float64(number)))
	case reflect.Float64:
		number, err := strconv.ParseFloat(text, 64)
		if err != nil || number-number != 0 { // neither infinite nor NaN
			return nil, fmt.Errorf("%.60q is no number; write it like 0.05", text)
		}
		return number, p.within(text, numberBound(number))
	}
	return nil, fmt.Errorf("this has several keys of its own; set one of them")
}

func numberBound(number float64) func(string) int {
	return func(bound string) int {
		limit, _ := strconv.ParseFloat(bound, 64)
		return cmp.Compare(number, limit)
	}
}

// within checks a value against its bounds; compare compares it to one.
func (p place) within(text string, compare func(bound string) int) error {
	low, hasLow := p.tag.Lookup("min")
	high, hasHigh := p.tag.Lookup("max")
	switch {
	case hasLow && compare(low) < 0:
		return fmt.Errorf("%s is too little; make it %s or more", text, low)
	case hasHigh && compare(high) > 0:
		return fmt.Errorf("%s is too much; make it %s or less", text, high)
	}
	return nil
}

func (p place) parseString(text string) (string, error) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", errors.New("the text has control characters or is not UTF-8; leave them out")
	}
	if enum := p.tag.Get("enum"); enum != "" {
		if allowed := strings.Split(enum, ","); !slices.Contains(allowed, text) {
			return "", fmt.Errorf("%.60q is unknown; write %s", text, oneOf(allowed))
		}
	}
	if text == "" && p.tag.Get("optional") != "" {
		return "", nil
	}
	return normalize(p.tag.Get("is"), text)
}

func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
