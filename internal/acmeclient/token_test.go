package acmeclient

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/client"
	"chancery/internal/admin"
	"chancery/internal/keys"
	"chancery/internal/provisioner"
)

// tokens makes a provisioner of the authority, called like the first name, and
// returns what makes its tokens for the names.
func (a *authority) tokens(names ...string) func(context.Context) (string, error) {
	a.t.Helper()
	key := must[keySigner](a.t)(keys.Generate(rand.Reader, "P-256"))
	public := must[[]byte](a.t)(client.MarshalPublicKey(key.Public()))
	name := names[0]
	operator := admin.Dial(filepath.Join(a.dir, "admin.sock"))
	defer operator.Close()
	must[admin.Provisioner](a.t)(operator.CreateProvisioner(a.t.Context(), admin.NewProvisioner{
		Name: name, Spec: provisioner.Spec{Type: "jwk", Keys: []string{string(public)}},
	}))
	return func(context.Context) (string, error) {
		return client.Token{Provisioner: name, Server: a.base(), Names: names, Key: key}.Sign()
	}
}

func (a *authority) base() string { return strings.TrimSuffix(a.DirectoryURL(), "/acme/directory") }

func (a *authority) tokenRecord() Record {
	return Record{Door: TokenDoor, Server: a.base(), Root: filepath.Join(a.dir, "root.pem"), KeyType: "P-256"}
}

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestTokenDoor(t *testing.T) {
	a := startAuthority(t)
	for name, test := range map[string]func(*testing.T, *authority){
		"renewed by itself": renewsByItself, "with a token in a file": takesTheTokenFile,
		"kept by a program": sparesPrograms, "kept by the daemon": daemonLooks,
	} {
		t.Run(name, func(t *testing.T) { test(t, a) })
	}
}

func renewsByItself(t *testing.T, a *authority) {
	agreed := Agreement{Token: a.tokens("www.corp.example", "10.0.0.7")}
	dir := t.TempDir()
	first := must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, a.tokenRecord(), agreed)).Chain[0]
	if names := must[Record](t)(ReadRecord(dir)).Names; !slices.Equal(names, []string{"www.corp.example", "10.0.0.7"}) {
		t.Errorf("the record has the names %v", names)
	}
	early := must[*Result](t)(a.keeper(58*day).Renew(t.Context(), dir, false))
	if early.Renewed {
		t.Error("renewed before its time")
	}
	second := must[*Result](t)(a.keeper(61*day).Renew(t.Context(), dir, false))
	if leaf := checkFolder(t, dir, a.tokenRecord().Root); !second.Renewed || leaf.Equal(first) || keys.Equal(leaf.PublicKey, first.PublicKey) {
		t.Error("it was not renewed with a new key")
	}
	// An ACME certificate is not put in its place, nor the other way round.
	if _, err := a.keeper(0).Issue(t.Context(), dir, a.record("www.corp.example"), Agreement{}); !errors.Is(err, ErrOccupied) {
		t.Errorf("over ACME into the same folder: %v", err)
	}
}

// A certificate that has ended is got anew where there is a token at any time.
func takesTheTokenFile(t *testing.T, a *authority) {
	token := a.tokens("file.corp.example")
	a.happened()
	dir, r := t.TempDir(), a.tokenRecord()
	must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, r, Agreement{Token: token}))
	if _, err := a.keeper(100*day).Renew(t.Context(), dir, false); !errors.Is(err, errEnded) {
		t.Errorf("without a token: %v", err)
	}
	other := t.TempDir()
	r.TokenFile = filepath.Join(t.TempDir(), "token")
	text := must[string](t)(token(t.Context()))
	if err := os.WriteFile(r.TokenFile, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must[*Result](t)(a.keeper(0).Issue(t.Context(), other, r, Agreement{Token: token}))
	if result := must[*Result](t)(a.keeper(100*day).Renew(t.Context(), other, false)); !result.Renewed {
		t.Error("not renewed with the token of the file")
	}
	if events := a.happened(); len(events) != 1 || !strings.Contains(events[0].Text, "the certificate has ended") {
		t.Errorf("reported %v", events)
	}
	if _, err := a.keeper(100*day).Renew(t.Context(), other, true); err == nil || !strings.Contains(err.Error(), "used") {
		t.Errorf("with the same token again: %v", err)
	}
}

func sparesPrograms(t *testing.T, a *authority) {
	roots := must[[]byte](t)(os.ReadFile(a.tokenRecord().Root))
	dir := t.TempDir()
	k := must[*client.Keeper](t)(client.Keep(t.Context(), client.Options{
		Client: &client.Client{Server: a.base(), Roots: client.Pool(must[[]*x509.Certificate](t)(client.ParseCertificates(roots))...)},
		Token:  a.tokens("program.corp.example"), Dir: dir,
	}))
	k.Close()
	checkFolder(t, dir, a.tokenRecord().Root)
	if _, err := a.keeper(0).Renew(t.Context(), dir, true); err == nil || !strings.Contains(err.Error(), "a program keeps it") {
		t.Errorf("renewed what a program keeps: %v", err)
	}
}

func TestReadToken(t *testing.T) {
	for text, want := range map[string]string{
		"a.b.c\n": "a.b.c", "  a.b.c": "a.b.c", "": "", "\n": "", "a b": "", "a\nb\n": "",
		strings.Repeat("x", maxToken): strings.Repeat("x", maxToken), strings.Repeat("x", maxToken+1): "",
	} {
		if got, err := ReadToken(strings.NewReader(text)); got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q reads as %.20q, %v", text, got, err)
		}
	}
}

func FuzzNamesIn(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiJ9.eyJzYW5zIjpbImEuY29ycCIsInVyaTpzcGlmZmU6Ly9hL2IiXX0.AA")
	f.Add("..")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		names, err := ParseNames(NamesIn(token))
		if err != nil {
			return
		}
		again, err := ParseNames(FormatNames(names))
		if err != nil || !slices.Equal(again, names) {
			t.Errorf("%v reads again as %v, %v", names, again, err)
		}
	})
}

func TestRegistry(t *testing.T) {
	base := t.TempDir()
	r := Registry(filepath.Join(base, "certificates"))
	if found, err := r.Folders(); len(found) != 0 || err != nil {
		t.Errorf("at first %v, %v", found, err)
	}
	var dirs []string
	for _, name := range []string{"a", "b [c]", "empty"} {
		dir := filepath.Join(base, name)
		dirs = append(dirs, dir)
		if err := errors.Join(os.Mkdir(dir, 0o755), r.add(dir), r.add(dir)); err != nil {
			t.Fatal(err)
		}
		if name != "empty" {
			if err := os.WriteFile(filepath.Join(dir, "renewal.json"), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := must[[]string](t)(r.Folders())
	if slices.Sort(found); !slices.Equal(found, dirs[:2]) {
		t.Errorf("found %v, want %v", found, dirs[:2])
	}
	if err := os.RemoveAll(dirs[0]); err != nil {
		t.Fatal(err)
	}
	if found := must[[]string](t)(r.Folders()); !slices.Equal(found, dirs[1:2]) {
		t.Errorf("when one is gone %v", found)
	}
	if found, err := Registry("").Folders(); found != nil || err != nil || Registry("").add(base) != nil {
		t.Error("the registry that knows nothing knows something")
	}
}

func TestRunExec(t *testing.T) {
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	if err := RunExec(interrupted, "echo $CHANCERY_CERT_DIR > "+told, dir); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(told); strings.TrimSpace(string(text)) != dir {
		t.Errorf("it was told %q", text)
	}
	if err := RunExec(t.Context(), "echo no >&2; exit 3", dir); err == nil || !strings.Contains(err.Error(), "exit status 3: no") {
		t.Errorf("a command that fails: %v", err)
	}
	if err := RunExec(t.Context(), "", dir); err != nil {
		t.Errorf("no command: %v", err)
	}
}

// A folder that comes is kept, one that goes is let go.
func daemonLooks(t *testing.T, a *authority) {
	token := a.tokens("daemon.corp.example")
	base := t.TempDir()
	for _, name := range []string{"a", "b"} {
		must[*Result](t)(a.keeper(0).Issue(t.Context(), filepath.Join(base, name), a.tokenRecord(), Agreement{Token: token}))
	}
	found := []string{filepath.Join(base, "a")}
	d := &Daemon{
		Keeper: a.keeper(0), Folders: func() ([]string, error) { return found, nil }, Timeout: time.Minute,
		Log: quietLog, Now: time.Now, Rand: rand.Reader,
	}
	kept := map[string]context.CancelFunc{}
	stopped := map[string]bool{}
	look := func() []string {
		added := d.look(t.Context(), kept)
		for _, dir := range added {
			kept[dir] = func() { stopped[dir] = true }
		}
		return added
	}
	if added := look(); !slices.Equal(added, found) {
		t.Errorf("at first %v", added)
	}
	found = []string{filepath.Join(base, "b")}
	if added := look(); !slices.Equal(added, found) || !stopped[filepath.Join(base, "a")] || len(kept) != 1 {
		t.Errorf("then %v, stopped %v", added, stopped)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	d.Run(ctx) // ends with all that it began
}
