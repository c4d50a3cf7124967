package hierarchy

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"chancery/internal/keys"
)

// newRoot makes a CA and returns its directory.
func newRoot(t *testing.T, options Options) (string, *Hierarchy) {
	t.Helper()
	options.Dir, options.Passphrase = t.TempDir(), passphrase
	made, err := Create(options)
	if err != nil {
		t.Fatal(err)
	}
	return options.Dir, made
}

func TestRootListFollowsTheOneBefore(t *testing.T) {
	dir, made := newRoot(t, Options{RootListURL: func(id []byte) string { return "http://ca.example/" + string(rune('a'+len(id))) }})
	if want := "http://ca.example/u"; len(made.Issuer().CRLDistributionPoints) != 1 || made.Issuer().CRLDistributionPoints[0] != want {
		t.Errorf("the intermediate names %q, want %q", made.Issuer().CRLDistributionPoints, want)
	}
	first, err := LoadRootList(dir, made.Root)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.RevokedCertificateEntries) > 0 || first.NextUpdate.Before(time.Now().Add(364*24*time.Hour)) {
		t.Errorf("the first list has %d entries and is good until %s", len(first.RevokedCertificateEntries), first.NextUpdate)
	}
	revoked := x509.RevocationListEntry{SerialNumber: made.Issuer().SerialNumber, RevocationTime: time.Now(), ReasonCode: 1}
	options := RootListOptions{Dir: dir, Passphrase: passphrase, Revoke: []x509.RevocationListEntry{revoked}, Lifetime: time.Hour}
	if _, err = SignRootList(options); err != nil {
		t.Fatal(err)
	}
	if _, err := SignRootList(options); err == nil {
		t.Error("a certificate was revoked twice")
	}
	options.Revoke = nil
	last, err := SignRootList(options)
	if err != nil {
		t.Fatal(err)
	}
	if grown := new(big.Int).Sub(last.Number, first.Number); grown.Cmp(big.NewInt(2)) < 0 {
		t.Errorf("the number went from %s to %s in two lists", first.Number, last.Number)
	}
	if entries := last.RevokedCertificateEntries; len(entries) != 1 || entries[0].SerialNumber.Cmp(made.Issuer().SerialNumber) != 0 || entries[0].ReasonCode != 1 {
		t.Errorf("the last list has %v", entries)
	}
	if time.Until(last.NextUpdate) > time.Hour {
		t.Errorf("the last list is good until %s, want an hour", last.NextUpdate)
	}
}

func TestRootListRefuses(t *testing.T) {
	dir, made := newRoot(t, Options{})
	other, _ := newRoot(t, Options{})
	for name, test := range map[string]struct {
		options RootListOptions
		want    error
	}{
		"wrong passphrase": {RootListOptions{Dir: dir, Passphrase: []byte("x")}, keys.ErrPassphrase},
		"key elsewhere":    {RootListOptions{Dir: dir, RootKey: "nowhere.key", Passphrase: passphrase}, fs.ErrNotExist},
		"another key":      {RootListOptions{Dir: dir, RootKey: filepath.Join(other, RootKeyFile), Passphrase: passphrase}, nil},
	} {
		if _, err := SignRootList(test.options); err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	stranger, err := os.ReadFile(filepath.Join(other, RootListFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"another root's": stranger, "broken": stranger[:40]} {
		if err := os.WriteFile(filepath.Join(dir, RootListFile), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadRootList(dir, made.Root); err == nil {
			t.Errorf("%s list was read", name)
		}
		if _, err := SignRootList(RootListOptions{Dir: dir, Passphrase: passphrase}); err == nil {
			t.Errorf("%s list was replaced, and with it perhaps what was revoked", name)
		}
	}
}
