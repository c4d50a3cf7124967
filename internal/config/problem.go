package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in the configuration. The error of Load joins them
// all, those in the file by line, then those of the environment and of --set.
type Problem struct {
	Source  string // "chancery.yaml:7:3", "environment CHANCERY_LISTEN", "--set" or "default"
	Key     string // the key it is about; "" when there is no such key
	Message string // what is wrong, and what would be right
	Line    string // the line of the file, when it is there

	from source
}

// Error is SOURCE: KEY: MESSAGE, and below it the line of the file.
func (p *Problem) Error() string {
	text := p.Message
	if p.Key != "" {
		text = p.Key + ": " + text
	}
	if p.from.kind != fromDefault {
		text = p.Source + ": " + text
	}
	if p.Line != "" {
		text += fmt.Sprintf("\n%5d | %s", p.from.line, p.Line)
	}
	return text
}

// source says where something was set. The zero source is the default.
type source struct {
	kind         sourceKind
	name         string // of the file or the variable
	line, column int    // in the file, from 1
}

// sourceKind orders sources by precedence: the later wins.
type sourceKind uint8

const (
	fromDefault sourceKind = iota
	fromFile
	fromEnviron
	fromSet
)

// String is the source as Setting has it: file and line, but no column.
func (s source) String() string {
	switch s.kind {
	case fromFile:
		return fmt.Sprintf("%s:%d", s.name, s.line)
	case fromEnviron:
		return "environment " + s.name
	case fromSet:
		return "--set"
	}
	return "default"
}

// at is where a part of the configuration was set: its own source, or that of
// the section it is in.
func (c *Config) at(key string) source {
	for key != "" {
		if from, ok := c.sources[key]; ok {
			return from
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return source{}
}

// problems collects mistakes.
type problems struct {
	list  []*Problem
	lines []string // of the file
}

func (l *problems) add(from source, key, format string, args ...any) {
	p := &Problem{Source: from.String(), Key: key, Message: withoutSecrets(fmt.Sprintf(format, args...)), from: from}
	if from.kind == fromFile {
		p.Source += fmt.Sprintf(":%d", from.column)
		if from.line >= 1 && from.line <= len(l.lines) {
			line := l.lines[from.line-1]
			p.Line = excerpt(withoutSecrets(line[:min(len(line), longLine)]))
		}
	}
	l.list = append(l.list, p)
}

// longLine is how many octets of a line are looked at: far more than are shown,
// so that no password is cut in two.
const longLine = 4096

// excerpt is a line fit for a terminal.
func excerpt(line string) string {
	const most = 120
	runes := []rune(strings.TrimRight(line, " \t\r"))
	if len(runes) > most {
		runes = append(runes[:most], '…')
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, string(runes))
}

// err joins the mistakes in the order in which people mend them.
func (l *problems) err() error {
	slices.SortStableFunc(l.list, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.from.kind, b.from.kind),
			cmp.Compare(a.from.line, b.from.line), cmp.Compare(a.from.column, b.from.column))
	})
	errs := make([]error, len(l.list))
	for i, p := range l.list {
		errs[i] = p
	}
	return errors.Join(errs...)
}
