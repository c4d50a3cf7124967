package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestGoProgram builds the program of docs/how-to/go.md and visits it.
func TestGoProgram(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?s)```go\n(.*?)```").FindStringSubmatch(page(t, "docs/how-to/go.md"))
	if block == nil {
		t.Fatal("the page has no program")
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "app")
	if err := os.WriteFile(source, []byte(block[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	install := m.command(t.Context(), "cat > /usr/local/bin/app && chmod 755 /usr/local/bin/app && (setsid app >/var/log/app.log 2>&1 &)")
	install.Stdin = bytes.NewReader(content)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m.await(t, "curl -sS https://app.corp.example/ | grep hello")
}
