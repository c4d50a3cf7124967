package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page reads a page of the project.
func page(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// shown are the commands in a page's indented blocks: one a line, continued
// lines joined. What follows two spaces says what a command does.
func shown(text string) (commands []string) {
	continued := false
	for line := range strings.Lines(text) {
		code, indented := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !indented {
			continue
		}
		code, more := strings.CutSuffix(strings.TrimSpace(code), `\`)
		code, _, _ = strings.Cut(strings.TrimSpace(code), "  ")
		if continued {
			commands[len(commands)-1] += " " + code
		} else {
			commands = append(commands, code)
		}
		continued = more
	}
	return commands
}

var inlineCommand = regexp.MustCompile("`(?:go run ./cmd/)?(chancery(?: [a-z]+)+)[^`]*`")

// TestMentioned looks for the commands that pages mention in their sentences.
func TestMentioned(t *testing.T) {
	p, mentioned := newPlace(t), 0
	for _, path := range []string{"README.md", "CONTRIBUTING.md", "docs/operating.md", "docs/architecture.md", "docs/client.md", "docs/token.md", "docs/inventory.md", "docs/migrating.md"} {
		for _, found := range inlineCommand.FindAllStringSubmatch(page(t, path), -1) {
			mentioned++
			usage := p.output(t, found[1]+" --help")
			if !slices.ContainsFunc(strings.Split(usage, "\n"), func(line string) bool {
				return line == "  "+found[1] || strings.HasPrefix(line, "  "+found[1]+" ")
			}) {
				t.Errorf("%s mentions %q, and there is no such command:\n%s", path, found[0], usage)
			}
		}
	}
	if mentioned == 0 {
		t.Error("no command is mentioned; the pages are written differently now")
	}
}
