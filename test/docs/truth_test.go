package docs

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testNamed    = regexp.MustCompile("`(Test[A-Z][A-Za-z]+)`")
	pathNamed    = regexp.MustCompile("`((?:internal|test|cmd|scripts|deploy)/[A-Za-z0-9_./-]+)`")
	settingNamed = regexp.MustCompile("`((?:acme|admin|limits|log|node|policy|retention|revocation|spiffe|store|validation)\\.[a-z_.]+)[`: =]")
)

// TestNamed looks for the tests, files and settings that the pages name.
func TestNamed(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.output(t, "chancery init --dir lib --listen "+p.address+":9443")
	settings := p.output(t, "chancery config show --dir lib")
	tests := allTests(t)
	for _, path := range allPages(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named(testNamed, text) {
			if !strings.Contains(tests, "func "+name+"(") {
				t.Errorf("%s names %s, and there is no such test", path, name)
			}
		}
		for _, name := range named(pathNamed, text) {
			if _, err := os.Stat(filepath.Join("..", "..", name)); err != nil {
				t.Errorf("%s names a file: %v", path, err)
			}
		}
		for _, name := range named(settingNamed, text) {
			if !slices.Contains([]string{".go", ".md", ".sock"}, filepath.Ext(name)) && !strings.Contains(settings, "\n"+name+" ") && !strings.Contains(settings, "\n"+name+".") {
				t.Errorf("%s names %s, and there is no such setting", path, name)
			}
		}
	}
}

// named are the different things that a pattern finds in a page.
func named(pattern *regexp.Regexp, text []byte) (names []string) {
	for _, found := range pattern.FindAllSubmatch(text, -1) {
		names = append(names, string(bytes.TrimRight(found[1], ".")))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// allTests is the text of all tests of the project.
func allTests(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestConfigurations checks what pages show of chancery.yaml.
func TestConfigurations(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.output(t, "chancery init --dir lib --path-length 1 --listen "+p.address+":9443")
	others := unrun()
	for _, path := range allPages(t) {
		if _, other := others[strings.TrimPrefix(path, "../../")]; other {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range yamlBlock.FindAllSubmatch(text, -1) {
			p.write(t, "lib/chancery.yaml", block[1])
			if out, err := p.run(t, "chancery config check --dir lib"); err != nil {
				t.Errorf("%s shows\n%s\n%s", path, block[1], out)
			}
		}
	}
}
