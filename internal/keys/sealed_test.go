package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openssl runs the real program and returns what it prints.
func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "openssl", args...)
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, &problems)
	}
	return out
}

func TestSealedFile(t *testing.T) {
	for _, typ := range []string{"P-256", "Ed25519", "RSA-2048"} {
		path := filepath.Join(t.TempDir(), "root.key")
		key := generate(t, typ)
		if err := WriteSealedFile(path, key, []byte("correct horse")); err != nil {
			t.Fatal(err)
		}
		got, err := ReadSealedFile(path, []byte("correct horse"))
		wantSame(t, got, key, err)
		if _, err := ReadSealedFile(path, []byte("wrong horse")); !errors.Is(err, ErrPassphrase) {
			t.Errorf("wrong passphrase: %v, want ErrPassphrase", err)
		}
		if _, err := ReadFile(path); !errors.Is(err, ErrSealed) {
			t.Errorf("no passphrase: %v, want ErrSealed", err)
		}
	}
}

func TestOpenSSLOpensWhatSealWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	key := generate(t, "P-384")
	if err := WriteSealedFile(path, key, []byte("correct horse")); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"pkey", "pkcs8"} {
		got, err := Parse(openssl(t, command, "-in", path, "-passin", "pass:correct horse"), nil)
		wantSame(t, got, key, err)
	}
}

func TestParseWhatOpenSSLWrites(t *testing.T) {
	dir := t.TempDir()
	ec, rsa := filepath.Join(dir, "ec"), filepath.Join(dir, "rsa")
	openssl(t, "ecparam", "-name", "prime256v1", "-genkey", "-out", ec) // with an EC PARAMETERS block
	openssl(t, "genrsa", "-traditional", "-out", rsa, "2048")
	pass := []string{"-passout", "pass:correct horse"}
	for _, test := range []struct {
		args   []string
		label  string
		sealed bool
	}{
		{[]string{"ec", "-in", ec}, "EC PRIVATE KEY", false},
		{[]string{"rsa", "-traditional", "-in", rsa}, "RSA PRIVATE KEY", false},
		{[]string{"pkey", "-in", ec}, "PRIVATE KEY", false},
		{[]string{"genpkey", "-algorithm", "ed25519"}, "PRIVATE KEY", false},
		{[]string{"pkcs8", "-topk8", "-in", ec}, "ENCRYPTED PRIVATE KEY", true},
		{[]string{"pkcs8", "-topk8", "-in", rsa, "-v2", "aes-128-cbc"}, "ENCRYPTED PRIVATE KEY", true},
		{[]string{"pkcs8", "-topk8", "-in", ec, "-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"}, "ENCRYPTED PRIVATE KEY", true},
		{[]string{"pkcs8", "-topk8", "-in", ec, "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1"}, "ENCRYPTED PRIVATE KEY", true},
		{[]string{"pkcs8", "-topk8", "-in", ec, "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA384"}, "ENCRYPTED PRIVATE KEY", true},
		{[]string{"pkcs8", "-topk8", "-in", ec, "-v2", "des3"}, "ENCRYPTED PRIVATE KEY", true},
		{[]string{"pkcs8", "-topk8", "-in", ec, "-scrypt"}, "ENCRYPTED PRIVATE KEY", true},
		{[]string{"ec", "-in", ec, "-aes256"}, "EC PRIVATE KEY", true},
		{[]string{"rsa", "-traditional", "-in", rsa, "-aes128"}, "RSA PRIVATE KEY", true},
	} {
		args := test.args
		if test.sealed {
			args = append(args, pass...)
		}
		text := openssl(t, args...)
		if !bytes.Contains(text, []byte("BEGIN "+test.label)) {
			t.Fatalf("openssl %v wrote\n%s", args, text)
		}
		parseBothWays(t, strings.Join(test.args, " "), text, test.sealed)
	}
}

func parseBothWays(t *testing.T, name string, text []byte, sealed bool) {
	t.Run(name, func(t *testing.T) {
		if _, err := Parse(text, []byte("correct horse")); err != nil {
			t.Errorf("with the passphrase: %v", err)
		}
		_, err := Parse(text, nil)
		if sealed && !errors.Is(err, ErrSealed) || !sealed && err != nil {
			t.Errorf("without passphrase: %v", err)
		}
		_, err = Parse(text, []byte("wrong horse"))
		if sealed && !errors.Is(err, ErrPassphrase) || !sealed && err != nil {
			t.Errorf("with a wrong passphrase: %v", err)
		}
	})
}

func TestParseFindsTheKey(t *testing.T) {
	key := generate(t, "P-256")
	text, err := Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	got, err := Parse(append(append([]byte("comment\n"), certificate...), text...), []byte("not needed"))
	wantSame(t, got, key, err)
}

func TestParseRefuses(t *testing.T) {
	x25519, err := exec.CommandContext(t.Context(), "openssl", "genpkey", "-algorithm", "x25519").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.key")
	if err := WriteFile(path, generate(t, "P-256")); err != nil {
		t.Fatal(err)
	}
	camellia := openssl(t, "pkcs8", "-topk8", "-in", path, "-v2", "camellia-256-cbc", "-passout", "pass:x")
	pbes1 := openssl(t, "pkcs8", "-topk8", "-in", path, "-v1", "PBE-SHA1-3DES", "-passout", "pass:x")
	block := func(label, content string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: []byte(content)})
	}
	for _, test := range []struct {
		text []byte
		says string
	}{
		{nil, "no private key"},
		{block("CERTIFICATE", "x"), "no private key"},
		{block("PRIVATE KEY", "x"), ""},
		{block("EC PRIVATE KEY", "x"), ""},
		{block("RSA PRIVATE KEY", "x"), ""},
		{block("ENCRYPTED PRIVATE KEY", "x"), "unsupported form of encryption"},
		{block("DSA PRIVATE KEY", "x"), "openssl pkey"},
		{x25519, "cannot sign"},
		{camellia, "is neither AES-CBC nor 3DES-CBC; convert the key with: openssl pkcs8"},
		{pbes1, "is not PBES2"},
	} {
		_, err := Parse(test.text, []byte("x"))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, want an error that says %q", err, test.says)
		}
	}
}

// Parameters that would take hours or gigabytes are refused before any work.
func TestSealedBounds(t *testing.T) {
	salt := []byte("saltsaltsaltsalt")
	for _, test := range []struct {
		oid        asn1.ObjectIdentifier
		parameters any
		says       string
	}{
		{oidPBKDF2, pbkdf2Params{Salt: salt, Rounds: 0}, "rounds"},
		{oidPBKDF2, pbkdf2Params{Salt: salt, Rounds: maxRounds + 1}, "rounds"},
		{oidPBKDF2, pbkdf2Params{Salt: salt, Rounds: 1, KeyLength: 16}, "16 octets"},
		{oidScrypt, scryptParams{Salt: salt, N: 1 << 40, R: 8, P: 1}, "out of bounds"},
		{oidScrypt, scryptParams{Salt: salt, N: 1 << 14, R: 1 << 40, P: 1}, "out of bounds"},
		{oidScrypt, scryptParams{Salt: salt, N: 1 << 14, R: 8, P: 1 << 40}, "out of bounds"},
		{oidScrypt, scryptParams{Salt: salt, N: 3, R: 8, P: 1}, "out of bounds"},
		{oidScrypt, scryptParams{Salt: salt, N: -2, R: -8, P: -1}, "out of bounds"},
		{oidAES256CBC, salt, "neither PBKDF2 nor scrypt"},
	} {
		derivation, err := algorithm(test.oid, test.parameters)
		if err != nil {
			t.Fatal(err)
		}
		box := &sealed{keyLength: 32}
		if err := box.setDerivation(derivation); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v, want an error that says %q", test.parameters, err, test.says)
		}
	}
}

func TestSealNeedsPassphrase(t *testing.T) {
	if _, err := Seal(rand.Reader, generate(t, "P-256"), nil); err == nil {
		t.Error("a key was sealed with an empty passphrase")
	}
}

// Whatever comes in, Parse does not panic, does no costly work without a
// passphrase, and gives a key only if it can be written again.
func FuzzParse(f *testing.F) {
	for _, typ := range []string{"P-256", "Ed25519"} {
		key := generate(f, typ)
		plain, err := Marshal(key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
		text, err := Seal(rand.Reader, key, []byte("x"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := Parse(data, nil); err == nil {
			if _, err := Marshal(key); err != nil {
				t.Errorf("a key that was read cannot be written: %v", err)
			}
		}
	})
}

// A sealed key that parses decrypts to ErrPassphrase or to octets that the
// PKCS#8 parser takes without a panic; the derivation is left out as too slow.
func FuzzSealed(f *testing.F) {
	text, err := Seal(rand.Reader, generate(f, "P-256"), []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(text)
	f.Add(block.Bytes)
	f.Fuzz(func(t *testing.T, der []byte) {
		box, err := parseSealed(der)
		if err != nil {
			return
		}
		box.derive = func([]byte) ([]byte, error) { return make([]byte, box.keyLength), nil }
		plain, err := box.open(nil)
		if err != nil && !errors.Is(err, ErrPassphrase) {
			t.Errorf("open: %v", err)
		}
		_, _ = x509.ParsePKCS8PrivateKey(plain) // must not panic
	})
}
