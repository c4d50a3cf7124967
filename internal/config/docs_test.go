package config

import (
	"os"
	"regexp"
	"testing"
)

// TestDocumentedExamples reads what docs/policy.md shows.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(examples) < 2 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		c, err := Parse("policy.md", example[1])
		if err != nil || len(c.Warnings) > 0 {
			t.Errorf("%v, %v:\n%s", err, c, example[1])
		}
	}
}
