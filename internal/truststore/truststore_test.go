package truststore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func newRoot(t *testing.T) *Root {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return NewRoot(certificate)
}

// machine is a host that has some programs, and notes what they are called with.
type machine struct {
	Host
	calls []string
	fail  error // what every program ends with
}

func newMachine(t *testing.T, dirs []string, programs ...string) *machine {
	t.Helper()
	m := &machine{Host: Host{Prefix: t.TempDir()}}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(m.Prefix, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.Run = func(_ context.Context, name string, args ...string) ([]byte, error) {
		m.calls = append(m.calls, strings.Join(append([]string{filepath.Base(name)}, args...), " "))
		return nil, m.fail
	}
	m.LookPath = func(name string) (string, error) {
		if slices.Contains(programs, name) {
			return "/bin/" + name, nil
		}
		return "", errors.New("not found")
	}
	return m
}

func TestSystemFamilies(t *testing.T) {
	root := newRoot(t)
	for name, test := range map[string]struct {
		dirs, programs []string
		file           string
		calls          []string
	}{
		"Debian": {[]string{"/usr/local/share"}, []string{"update-ca-certificates"},
			"/usr/local/share/ca-certificates/" + root.name() + ".crt",
			[]string{"update-ca-certificates", "update-ca-certificates --fresh"}},
		"Red Hat": {[]string{"/etc/pki/ca-trust/source/anchors", "/usr/local/share"}, []string{"update-ca-trust"},
			"/etc/pki/ca-trust/source/anchors/" + root.name() + ".pem",
			[]string{"update-ca-trust extract", "update-ca-trust extract"}},
		"Arch": {[]string{"/etc/ca-certificates/trust-source/anchors"}, []string{"update-ca-trust"},
			"/etc/ca-certificates/trust-source/anchors/" + root.name() + ".crt",
			[]string{"update-ca-trust", "update-ca-trust"}},
		"SUSE": {[]string{"/etc/pki/trust/anchors", "/usr/local/share"}, []string{"update-ca-certificates"},
			"/etc/pki/trust/anchors/" + root.name() + ".pem",
			[]string{"update-ca-certificates", "update-ca-certificates"}},
	} {
		m := newMachine(t, test.dirs, test.programs...)
		store, err := m.System()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range []bool{true, false} {
			if changed, err := store.Install(t.Context(), root); changed != want || err != nil {
				t.Errorf("%s: Install gives %v, %v; want %v", name, changed, err, want)
			}
		}
		if text, err := os.ReadFile(filepath.Join(m.Prefix, test.file)); err != nil || string(text) != string(root.pem()) {
			t.Errorf("%s: the file is %q, %v", name, text, err)
		}
		for _, want := range []bool{true, false} {
			if changed, err := store.Uninstall(t.Context(), &Root{Fingerprint: root.Fingerprint}); changed != want || err != nil {
				t.Errorf("%s: Uninstall gives %v, %v; want %v", name, changed, err, want)
			}
		}
		if !slices.Equal(m.calls, test.calls) {
			t.Errorf("%s: ran %q, want %q", name, m.calls, test.calls)
		}
	}
	if _, err := newMachine(t, nil, "update-ca-certificates").System(); !errors.Is(err, ErrAbsent) {
		t.Errorf("a system of no known kind: %v", err)
	}
}

// What was not installed as a whole is not there at the next attempt.
func TestSystemFails(t *testing.T) {
	root := newRoot(t)
	m := newMachine(t, []string{"/usr/local/share"}, "update-ca-certificates")
	m.fail = fs.ErrPermission
	store, err := m.System()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Install(t.Context(), root); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Install gives %v", err)
	}
	m.fail = nil
	if changed, err := store.Install(t.Context(), root); !changed || err != nil {
		t.Errorf("the second attempt gives %v, %v", changed, err)
	}
}

func TestAbsentStores(t *testing.T) {
	m := newMachine(t, nil)
	if _, err := m.Java(); !errors.Is(err, ErrAbsent) {
		t.Errorf("Java: %v", err)
	}
	m.Home = t.TempDir()
	if _, err := m.NSS(); !errors.Is(err, ErrAbsent) {
		t.Errorf("NSS: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(m.Home, ".pki/nssdb"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Home, ".pki/nssdb/cert9.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.NSS(); err == nil || errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "libnss3-tools") {
		t.Errorf("databases without certutil: %v", err)
	}
}

// All databases are changed, and none twice.
func TestNSSDatabases(t *testing.T) {
	root := newRoot(t)
	m := newMachine(t, nil, "certutil")
	m.Home = t.TempDir()
	for _, dir := range []string{".pki/nssdb", ".mozilla/firefox/a.default", "snap/firefox/common/.mozilla/firefox/b"} {
		path := filepath.Join(m.Home, dir)
		if err := errors.Join(os.MkdirAll(path, 0o700), os.WriteFile(filepath.Join(path, "cert9.db"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	present := map[string]bool{}
	m.Run = func(_ context.Context, _ string, args ...string) ([]byte, error) {
		database := args[slices.Index(args, "-d")+1]
		switch {
		case args[0] == "-A":
			present[database] = true
		case args[0] == "-D":
			delete(present, database)
		case !present[database]:
			return nil, errors.New("not found")
		}
		return nil, nil
	}
	store, err := m.NSS()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if changed, err := store.Install(t.Context(), root); changed != want || err != nil || len(present) != 3 {
			t.Errorf("Install %d gives %v, %v with %v", i, changed, err, present)
		}
	}
	for i, want := range []bool{true, false} {
		if changed, err := store.Uninstall(t.Context(), root); changed != want || err != nil || len(present) != 0 {
			t.Errorf("Uninstall %d gives %v, %v with %v", i, changed, err, present)
		}
	}
}
