package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	linkTarget = regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInSlug  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// TestLinks looks for what the pages link to: files of the project, and headings.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, path := range allPages(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range linkTarget.FindAllStringSubmatch(string(text), -1) {
			checkLink(t, path, link[1], strings.TrimPrefix(link[2], "#"))
		}
	}
}

// allPages are the paths of the pages.
func allPages(t *testing.T) []string {
	t.Helper()
	root := filepath.Join("..", "..")
	pages, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func checkLink(t *testing.T, page, target, anchor string) {
	t.Helper()
	path := page
	if target != "" {
		path = filepath.Join(filepath.Dir(page), target)
	}
	text, err := os.ReadFile(path)
	if info, failed := os.Stat(path); failed == nil && info.IsDir() {
		return
	}
	if err != nil {
		t.Errorf("%s links to %s: %v", page, target, err)
		return
	}
	if anchor == "" {
		return
	}
	for _, found := range heading.FindAllStringSubmatch(string(text), -1) {
		if slug(found[1]) == anchor {
			return
		}
	}
	t.Errorf("%s links to %s#%s, and there is no such heading", page, target, anchor)
}

// slug is how a heading is named in links, on GitHub and elsewhere.
func slug(heading string) string {
	return strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}
