package docs

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chancery/internal/processtest"
)

// place is a machine of the reader's: a directory to work in, a home, and
// addresses that nobody else uses.
type place struct {
	dir     string
	address string               // loopback, without a port
	server  *processtest.Process // nil when there is none
	rootKey *ecdsa.PrivateKey    // of the root elsewhere, once there is one
}

// places counts those made by this process.
var places atomic.Uint32

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{dir: t.TempDir(), address: fmt.Sprintf("127.%d.%d.1", 10+os.Getpid()%200, 230+places.Add(1)%20)}
	t.Cleanup(func() { p.stop(t) })
	return p
}

// command makes a line ready to run by a shell.
func (p *place) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+line)
	if assigns(line) {
		cmd = exec.CommandContext(ctx, "bash", "-c", line)
	}
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(),
		"PATH="+bin+":"+os.Getenv("PATH"), "HOME="+p.dir, "XDG_CONFIG_HOME="+filepath.Join(p.dir, ".config"))
	return cmd
}

// assigns reports whether a line starts with a variable.
func assigns(line string) bool {
	word, _, _ := strings.Cut(line, " ")
	return strings.Contains(word, "=")
}

// run runs a line and returns all that it wrote.
func (p *place) run(t *testing.T, line string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	written, err := p.command(ctx, line).CombinedOutput()
	return string(written), err
}

// output is run for a line that must succeed.
func (p *place) output(t *testing.T, line string) string {
	t.Helper()
	output, err := p.run(t, line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, output)
	}
	return output
}

// serve runs a line that serves, instead of the one before, until the place
// answers at the address, and returns what it has written then.
func (p *place) serve(t *testing.T, line, address string) string {
	t.Helper()
	p.stop(t)
	var err error
	if p.server, err = processtest.Start(p.command(context.Background(), line)); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	if err := p.server.Await(line+" to answer at "+address, 30*time.Second, func() error {
		resp, err := client.Get("https://" + address + "/readyz")
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return p.server.Output()
}

// stop stops what serves as Ctrl-C does; it must end well.
func (p *place) stop(t *testing.T) {
	t.Helper()
	if p.server == nil {
		return
	}
	if err := p.server.End(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	p.server = nil
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// step is a command of a page, and what comes of it.
type step struct {
	command string           // as the page has it
	change  []string         // what is replaced in it, old and new in turn
	prepare func() []string  // called before; returns further changes; may be nil
	serves  string           // HOST:PORT where it serves until the next that serves; "" when it ends
	want    string           // in what it writes
	check   func(out string) // of what it writes; may be nil
	never   string           // why it isn't run here; "" when it is
}

// follow runs a page's commands as its steps say.
func follow(t *testing.T, p *place, path string, steps []step) {
	t.Helper()
	followAll(t, p, path, shown(page(t, path)), steps)
}

// followAll is follow for a page whose commands are these.
func followAll(t *testing.T, p *place, path string, commands []string, steps []step) {
	t.Helper()
	planned := make([]string, len(steps))
	for i, s := range steps {
		planned[i] = s.command
	}
	if !slices.Equal(commands, planned) {
		t.Fatalf("%s shows\n\t%s\nand the test runs\n\t%s", path, strings.Join(commands, "\n\t"), strings.Join(planned, "\n\t"))
	}
	for _, s := range steps {
		if s.never == "" {
			s.run(t, p)
		}
		if t.Failed() {
			t.Fatalf("%s shows %q", path, s.command)
		}
	}
}

func (s step) run(t *testing.T, p *place) {
	t.Helper()
	change := slices.Clone(s.change)
	if s.prepare != nil {
		change = append(change, s.prepare()...)
	}
	line := strings.NewReplacer(append(change, "go run ./cmd/chancery", "chancery")...).Replace(s.command)
	var output string
	if s.serves != "" {
		output = p.serve(t, line, s.serves)
	} else {
		output = p.output(t, line)
	}
	if !strings.Contains(output, s.want) {
		t.Errorf("%s: there is no %q in\n%s", line, s.want, output)
	}
	if s.check != nil {
		s.check(output)
	}
}
