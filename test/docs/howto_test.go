package docs

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

// howto is a page of docs/how-to, and what there is when one has followed it.
type howto struct {
	issued int      // certificates that the CA has issued to others than itself
	served []string // where the newest of them is served: openssl's options and the name
}

// howtos are the pages that are run.
func howtos() map[string]howto {
	return map[string]howto{
		"acme-tiny.md":  {issued: 1},
		"apache.md":     {issued: 1, served: []string{"app.corp.example:443 -servername app.corp.example"}},
		"caddy.md":      {issued: 1, served: []string{"app.corp.example:443 -servername app.corp.example"}},
		"certbot.md":    {issued: 5},
		"dehydrated.md": {issued: 2},
		"haproxy.md":    {issued: 3, served: []string{"app.corp.example:443"}},
		"lego.md":       {issued: 3},
		"mail.md":       {issued: 2, served: []string{"mail.corp.example:25 -starttls smtp", "mail.corp.example:993"}},
		"mariadb.md":    {issued: 3, served: []string{"db.corp.example:3306 -starttls mysql"}},
		"mosquitto.md":  {issued: 3, served: []string{"mqtt.corp.example:8883"}},
		"nginx.md":      {issued: 2, served: []string{"app.corp.example:443"}},
		"postgresql.md": {issued: 3, served: []string{"db.corp.example:5432 -starttls postgres"}},
		"redis.md":      {issued: 3, served: []string{"redis.corp.example:6379"}},
		"trust.md":      {},
		"uacme.md":      {issued: 2},
	}
}

// shownOnly are the pages of which no command is run: the program of go.md is, by
// TestGoProgram, and TestUnrun reads some of the others.
func shownOnly() []string {
	return []string{"README.md", "go.md", "kubernetes.md", "traefik.md", "windows.md"}
}

// TestHowTo follows each page of docs/how-to on a machine of its own.
func TestHowTo(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../docs/how-to/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no pages: %v", err)
	}
	pages := howtos()
	for _, path := range paths {
		name := filepath.Base(path)
		h, ok := pages[name]
		delete(pages, name)
		switch steps := instructions(t, page(t, "docs/how-to/"+name)); {
		case ok:
			t.Run(strings.TrimSuffix(name, ".md"), func(t *testing.T) {
				t.Parallel()
				h.follow(t, steps)
			})
		case !slices.Contains(shownOnly(), name):
			t.Errorf("docs/how-to/%s is run by no test", name)
		case len(steps) > 0:
			t.Errorf("docs/how-to/%s shows %v as if it were run", name, steps)
		}
	}
	for name := range pages {
		t.Errorf("there is no page docs/how-to/%s", name)
	}
}

// follow does what a page says, then looks for what must come of it.
func (h howto) follow(t *testing.T, steps []instruction) {
	m := newMachine(t)
	for _, s := range steps {
		if s.file != "" {
			m.write(t, s.file, s.text)
		} else {
			start := time.Now()
			out := m.run(t, s.text)
			t.Logf("%v %s\n%s", time.Since(start).Round(time.Millisecond), s.text, out)
		}
	}
	serials := m.issued(t)
	if len(serials) != h.issued {
		t.Errorf("%d certificates were issued, not %d: %v", len(serials), h.issued, serials)
	}
	for _, where := range h.served {
		m.await(t, fmt.Sprintf("openssl s_client -connect %s </dev/null 2>/dev/null | openssl x509 -noout -serial | grep -i %s", where, serials[0]))
	}
}

// issued are the serial numbers of what the CA has issued but to itself, the
// newest first.
func (m *machine) issued(t *testing.T) (serials []string) {
	t.Helper()
	var list []struct {
		Serial, Requester string
		Issued            time.Time
	}
	out := m.run(t, "chancery certs list --json --dir /var/lib/chancery")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Issued.After(list[j].Issued) })
	for _, c := range list {
		if c.Requester != "self" {
			serials = append(serials, c.Serial)
		}
	}
	return serials
}

// instruction is a command of a page, or a file that it has one write.
type instruction struct{ file, text string }

var fileNamed = regexp.MustCompile("`(/[^` ]+)`[^`]*:$")

// instructions are what a page has one do: indented lines are commands, and a
// block between fences is a file when the line before it ends with its path and a
// colon. Other blocks are to look at.
func instructions(t *testing.T, text string) (steps []instruction) {
	t.Helper()
	before, fenced, continued := "", false, false
	var file *instruction
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch code, indented := strings.CutPrefix(line, "    "); {
		case strings.HasPrefix(line, "```"):
			if fenced = !fenced; !fenced && file != nil {
				steps = append(steps, *file)
			} else if path := fileNamed.FindStringSubmatch(before); fenced && path != nil {
				file = &instruction{file: path[1]}
				continue
			}
			file = nil
		case file != nil:
			file.text += line + "\n"
		case fenced:
		case indented && continued:
			steps[len(steps)-1].text += "\n" + code
			continued = strings.HasSuffix(code, `\`)
		case indented:
			steps = append(steps, instruction{text: strings.TrimSpace(code)})
			continued = strings.HasSuffix(code, `\`)
		}
		if line != "" {
			before = line
		}
	}
	if fenced || continued {
		t.Fatal("a block has no end")
	}
	return steps
}
