package acmeclient

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"chancery/internal/folder"
	"chancery/internal/keys"
)

const day = 24 * time.Hour

func TestRenewsWhenDue(t *testing.T) {
	a := startAuthority(t)
	dir := t.TempDir()
	r := a.record("www.corp.example")
	first := must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, r, Agreement{})).Chain[0]

	early := must[*Result](t)(a.keeper(58*day).Renew(t.Context(), dir, false))
	if early.Renewed || !early.Chain[0].Equal(first) || len(early.Files) > 0 {
		t.Errorf("before its time: %+v", early)
	}
	if in := early.Due.Sub(first.NotBefore); in < 58*day || in > 60*day {
		t.Errorf("due %v after it was issued, want about two thirds of 90 days", in)
	}
	second := must[*Result](t)(a.keeper(60*day).Renew(t.Context(), dir, false))
	if !second.Renewed || checkFolder(t, dir, r.Root).Equal(first) || keys.Equal(second.Chain[0].PublicKey, first.PublicKey) {
		t.Error("it was not renewed with a new key")
	}
	// Once replaced, a certificate cannot be replaced again: a copy of the old
	// folder is renewed without saying so.
	old := encodePEM([]*x509.Certificate{first})
	if err := os.WriteFile(filepath.Join(dir, folder.FullchainFile), old, 0o644); err != nil {
		t.Fatal(err)
	}
	must[*Result](t)(a.keeper(0).Renew(t.Context(), dir, true))
}

func TestRenewsACertificateTheServerForgot(t *testing.T) {
	a, other := startAuthority(t), startAuthority(t)
	dir := t.TempDir()
	must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, a.record("www.corp.example"), Agreement{}))
	moved := other.record("www.corp.example")
	text := must[[]byte](t)(moved.encode())
	if err := os.WriteFile(filepath.Join(dir, folder.RecordFile), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if early := must[*Result](t)(other.keeper(0).Renew(t.Context(), dir, false)); early.Renewed {
		t.Error("renewed before its time")
	}
	if events := other.happened(); len(events) != 1 || !strings.Contains(events[0].Text, "does not know the certificate") {
		t.Errorf("reported %v", events)
	}
	must[*Result](t)(other.keeper(60*day).Renew(t.Context(), dir, false))
	checkFolder(t, dir, moved.Root)
}

func TestKeysAreReused(t *testing.T) {
	a := startAuthority(t)
	own := filepath.Join(t.TempDir(), "own.key")
	if err := keys.WriteFile(own, must[keySigner](t)(keys.Generate(a.keeper(0).Rand, "Ed25519"))); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Record){
		"--key":       func(r *Record) { r.Key = own },
		"--reuse-key": func(r *Record) { r.ReuseKey = true },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := a.record("www.corp.example")
			change(&r)
			first := must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, r, Agreement{})).Chain[0]
			second := must[*Result](t)(a.keeper(0).Renew(t.Context(), dir, true)).Chain[0]
			if first.Equal(second) || !keys.Equal(first.PublicKey, second.PublicKey) {
				t.Error("not another certificate for the same key")
			}
			if _, err := os.Stat(filepath.Join(dir, folder.KeyFile)); (err == nil) != r.ReuseKey {
				t.Errorf("%s in the folder: %v", folder.KeyFile, err)
			}
		})
	}
}

func TestKeepsWhatIsThere(t *testing.T) {
	a := startAuthority(t)
	r := a.record("www.corp.example")
	mine := filepath.Join(t.TempDir(), folder.KeyFile)
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := a.keeper(0).Issue(t.Context(), filepath.Dir(mine), r, Agreement{})
	if text, _ := os.ReadFile(mine); !errors.Is(err, ErrOccupied) || string(text) != "mine" {
		t.Errorf("a key of before: %v, it is now %q", err, text)
	}
	dir := t.TempDir()
	must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, r, Agreement{}))
	if _, err := a.keeper(0).Issue(t.Context(), dir, a.record("b.corp.example"), Agreement{}); !errors.Is(err, ErrOccupied) {
		t.Errorf("the certificate of another name: %v", err)
	}
	must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, r, Agreement{}))
	if _, err := a.keeper(0).Renew(t.Context(), t.TempDir(), true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder without a record: %v", err)
	}
}

func TestWritesPKCS12(t *testing.T) {
	a := startAuthority(t)
	dir := t.TempDir()
	r := a.record("www.corp.example")
	r.P12 = filepath.Join(dir, "www.p12")
	result := must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, r, Agreement{}))
	first := must[string](t)(ReadPassword(result.P12PasswordFile))
	for _, path := range []string{r.P12, result.P12PasswordFile} {
		if info := must[fs.FileInfo](t)(os.Stat(path)); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	leaf := must[*Result](t)(a.keeper(0).Renew(t.Context(), dir, true)).Chain[0]
	if second := must[string](t)(ReadPassword(result.P12PasswordFile)); first != second || len(first) < 24 {
		t.Errorf("the password was %q and is %q", first, second)
	}
	text := openssl(t, "pkcs12", "-in", r.P12, "-passin", "file:"+result.P12PasswordFile, "-nodes")
	plain := filepath.Join(t.TempDir(), "plain.pem")
	if err := os.WriteFile(plain, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	chain := must[[]*x509.Certificate](t)(ReadCertificates(plain))
	key := must[keySigner](t)(keys.ReadFile(plain))
	if len(chain) != 2 || !chain[0].Equal(leaf) || !keys.Equal(key.Public(), leaf.PublicKey) {
		t.Error("the PKCS#12 file holds something else than was issued")
	}
}

func TestRevokes(t *testing.T) {
	a := startAuthority(t)
	r := a.record("www.corp.example")
	dir := t.TempDir()
	keeper := a.keeper(0)
	issue := func() *x509.Certificate {
		return must[*Result](t)(keeper.Issue(t.Context(), dir, r, Agreement{})).Chain[0]
	}
	if err := a.client(r).Revoke(t.Context(), issue(), nil, 4); err != nil {
		t.Errorf("by the account: %v", err)
	}
	certificate := issue()
	key := must[keySigner](t)(keys.ReadFile(filepath.Join(dir, folder.KeyFile)))
	r.Accounts = filepath.Join(t.TempDir(), "none")
	stranger := a.client(r)
	if err := stranger.Revoke(t.Context(), certificate, nil, 1); err == nil || !strings.Contains(err.Error(), "no account") {
		t.Errorf("by nobody: %v", err)
	}
	if err := stranger.Revoke(t.Context(), certificate, key, 1); err != nil {
		t.Errorf("by the certificate's key: %v", err)
	}
	if err := stranger.Revoke(t.Context(), certificate, key, 1); !isProblem(err, acme.ProblemTypeAlreadyRevoked) {
		t.Errorf("again: %v", err)
	}
	if due, err := stranger.Due(t.Context(), certificate); err != nil || due.After(time.Now()) {
		t.Errorf("a revoked certificate is due at %v, %v; want now", due, err)
	}
	if _, err := keeper.Issue(t.Context(), t.TempDir(), r, Agreement{}); err != nil { // another account
		t.Fatal(err)
	}
	second := issue()
	r.Accounts = filepath.Join(a.dir, "accounts")
	if err := a.client(r).Revoke(t.Context(), second, nil, 0); err != nil {
		t.Errorf("by another account with the same names: %v", err)
	}
}

func TestAccountsAreKeptByServer(t *testing.T) {
	a, b := startAuthority(t), startAuthority(t)
	r := a.record("www.corp.example")
	for _, server := range []string{a.DirectoryURL(), strings.Replace(a.DirectoryURL(), "/acme/", "/acme/p/shortlived/", 1)} {
		r.Server = server
		must[*Result](t)(a.keeper(0).Issue(t.Context(), t.TempDir(), r, Agreement{}))
	}
	other := b.record("www.corp.example")
	other.Accounts = r.Accounts
	must[*Result](t)(b.keeper(0).Issue(t.Context(), t.TempDir(), other, Agreement{}))
	accounts, _ := filepath.Glob(filepath.Join(r.Accounts, "127.0.0.1_*", "*"))
	var names []string
	for _, path := range accounts {
		names = append(names, filepath.Base(path))
	}
	if want := []string{"account.json", "key.pem", "account.json", "key.pem"}; !slices.Equal(names, want) {
		t.Errorf("accounts are kept in %v", accounts)
	}
}
