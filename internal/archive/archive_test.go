package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/config"
)

var created = time.Date(2026, 11, 23, 12, 0, 0, 5, time.UTC)

func write(t *testing.T, path, content string, perm fs.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), perm); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCollect(t *testing.T) {
	dir := t.TempDir()
	yaml := "issuers:\n  partner: {certificate: partner.pem, key: 'pkcs11:object=" + strings.Repeat("x", 300) + "', root: /elsewhere/root.pem}\n"
	want := []string{
		"chancery.yaml", "intermediate.key", "intermediate.pem", "issuers/default/0002/key.pem",
		"issuers/mesh/request/key.pem", "partner.pem", "root.pem",
	}
	for _, name := range append(want, "lock", "chancery.db", "chancery.yaml.old", "root-passphrase.txt", "issuers/lock", "issuers/mesh/.new-1/key.pem") {
		write(t, filepath.Join(dir, name), yaml, 0o600)
	}
	c, err := config.Load(config.LoadOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	sources, err := Collect(c)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, source := range sources {
		got = append(got, source.Name)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("found %q,\nwant  %q", got, want)
	}
}

// TestExternalDatabase: without a database the rest is whole, and says so.
func TestExternalDatabase(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	backup := pack(t, "",
		Source{"root.pem", write(t, filepath.Join(from, "r"), "root", 0o644)},
		Source{"root.key", write(t, filepath.Join(from, "k"), "key", 0o600)})
	r, err := Open(bytes.NewReader(backup), int64(len(backup)))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Extract(to); err != nil {
		t.Fatal(err)
	}
	if others := r.Manifest.Others(); !r.Manifest.External || len(others) != 2 || others[0].Name != "root.pem" {
		t.Errorf("%+v", r.Manifest)
	}
	for name, want := range map[string]string{"root.pem": "root", "root.key": "key"} {
		if content, err := os.ReadFile(filepath.Join(to, name)); string(content) != want {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
	lying := Manifest{Format: format, External: true, Files: []Entry{{Name: Database, Size: 1}}}
	if err := lying.check(10); err == nil {
		t.Error("a backup that has a database and says that it has none is taken")
	}
}

func TestRoundTrip(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	deep := "issuers/" + strings.Repeat("n", 64) + "/0002/" + strings.Repeat("k", 100) + ".pem"
	backup := pack(t, write(t, filepath.Join(from, "copy"), strings.Repeat("database", 1000), 0o600),
		Source{"root.pem", write(t, filepath.Join(from, "r"), "root", 0o644)},
		Source{deep, write(t, filepath.Join(from, "k"), "", 0o600)})
	r, err := Open(bytes.NewReader(backup), int64(len(backup)))
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Manifest; m.Version != "1.0" || !m.Created.Equal(created.Truncate(time.Second)) {
		t.Errorf("the manifest is %+v", m)
	}
	if err := r.Extract(to); err != nil {
		t.Fatal(err)
	}
	for name, perm := range map[string]fs.FileMode{Database: 0o600, "root.pem": 0o644, deep: 0o600} {
		if info, err := os.Stat(filepath.Join(to, name)); err != nil || info.Mode() != perm {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// pack makes a backup and checks that it has the size it says.
func pack(t testing.TB, database string, sources ...Source) []byte {
	t.Helper()
	a, err := New(database, sources, "1.0", created)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	if size, err := a.Size(); err != nil || size != int64(b.Len()) {
		t.Errorf("Size is %d, %v; %d octets were written", size, err, b.Len())
	}
	return b.Bytes()
}

// listed is an entry of a manifest that is right for a content.
func listed(name, content string) Entry {
	sum := sha256.Sum256([]byte(content))
	return Entry{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Mode: 0o600}
}

// forge makes an archive of a manifest and entries that need not fit.
func forge(t testing.TB, m Manifest, headers ...*tar.Header) []byte {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h *tar.Header, content []byte) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	put(&tar.Header{Typeflag: tar.TypeReg, Name: manifestName, Size: int64(len(text)), Mode: 0o600}, text)
	for _, h := range headers {
		put(h, bytes.Repeat([]byte("x"), int(h.Size)))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func regular(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 1, Mode: 0o600}
}

func TestRefused(t *testing.T) {
	database := listed(Database, "x")
	forged := func(second Entry, headers ...*tar.Header) []byte {
		return forge(t, Manifest{Format: format, Files: []Entry{database, second}}, append([]*tar.Header{regular(Database)}, headers...)...)
	}
	wrong := listed("root.pem", "y")
	huge := listed("root.pem", "x")
	huge.Size = 1 << 40
	whole := forged(listed("root.pem", "x"), regular("root.pem"))
	for name, test := range map[string]struct {
		backup []byte
		want   string
	}{
		"empty":             {nil, "is empty"},
		"text":              {[]byte("This is no archive."), ErrNoBackup.Error()},
		"newer":             {forge(t, Manifest{Format: 2, Files: []Entry{database}}), "format 2"},
		"no database":       {forge(t, Manifest{Format: format}), "no database"},
		"parent":            {forged(listed("../root.pem", "x"), regular("../root.pem")), "no name of a file"},
		"absolute":          {forged(listed("/root.pem", "x"), regular("/root.pem")), "no name of a file"},
		"inside":            {forged(listed("issuers/../../root.pem", "x")), "no name of a file"},
		"socket":            {forged(listed("admin.sock", "x"), regular("admin.sock")), "does not belong"},
		"log":               {forged(listed(Database+"-wal", "x")), "does not belong"},
		"staging":           {forged(listed(".ca-ready/root.pem", "x")), "does not belong"},
		"twice":             {forged(listed(Database, "x")), "twice"},
		"too much":          {forged(huge), "more than it holds"},
		"checksum":          {forged(wrong, regular("root.pem")), "checksum"},
		"another":           {forged(listed("root.pem", "x"), regular("root.key")), `"root.key" is in its place`},
		"link":              {forged(Entry{Name: "root.pem"}, &tar.Header{Typeflag: tar.TypeSymlink, Name: "root.pem", Linkname: "/etc/passwd"}), "in its place"},
		"missing":           {forged(listed("root.pem", "x")), "unexpected EOF"},
		"more":              {forged(listed("root.pem", "x"), regular("root.pem"), regular("root.key")), "more in it"},
		"file and folder":   {forged(listed(Database+"/x", "x"), regular(Database+"/x")), "file exists"},
		"cut in a file":     {whole[:len(whole)-3*blockSize], "unexpected EOF"},
		"cut in a manifest": {whole[:blockSize+5], "unexpected EOF"},
	} {
		dir := filepath.Join(t.TempDir(), "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r, err := Open(bytes.NewReader(test.backup), int64(len(test.backup)))
		if err == nil {
			err = r.Extract(dir)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		if around, _ := os.ReadDir(filepath.Dir(dir)); len(around) != 1 {
			t.Errorf("%s: it wrote outside of the directory: %v", name, around)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(forge(f, Manifest{Format: format, Files: []Entry{listed(Database, "x")}}, regular(Database)))
	f.Add(forge(f, Manifest{Format: format, Files: []Entry{listed(Database, "x"), listed("issuers/a/0002/key.pem", "x")}},
		regular(Database), regular("issuers/a/0002/key.pem")))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		parent := t.TempDir()
		dir := filepath.Join(parent, "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		err = r.Extract(dir)
		if around, _ := os.ReadDir(parent); len(around) != 1 {
			t.Errorf("it wrote outside of the directory: %v", around)
		}
		for _, entry := range r.Manifest.Files {
			if _, missing := os.Stat(filepath.Join(dir, entry.Name)); err == nil && errors.Is(missing, fs.ErrNotExist) {
				t.Errorf("%s was not extracted", entry.Name)
			}
		}
	})
}
