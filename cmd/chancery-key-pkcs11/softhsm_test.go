package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"chancery/internal/keyhelper/wire"
)

// module finds SoftHSM's library, which Debian keeps in one of two places.
func module(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("SoftHSM is missing; run: make deps")
	return ""
}

// softHSM is a token named "ca", whose PIN is 1234, in a directory of its own.
type softHSM struct {
	*testing.T
	module, tokens string
}

func newSoftHSM(t *testing.T) *softHSM {
	t.Helper()
	dir := t.TempDir()
	h := &softHSM{t, module(t), filepath.Join(dir, "tokens")}
	h.check(os.Mkdir(h.tokens, 0o700))
	settings := filepath.Join(dir, "softhsm2.conf")
	h.check(os.WriteFile(settings, []byte("directories.tokendir = "+h.tokens+"\nlog.level = ERROR\n"), 0o600))
	t.Setenv("SOFTHSM2_CONF", settings)
	h.run("softhsm2-util", "--init-token", "--free", "--label", "ca", "--pin", "1234", "--so-pin", "1234")
	return h
}

func (h *softHSM) check(err error) {
	if err != nil {
		h.Helper()
		h.Fatal(err)
	}
}

func (h *softHSM) run(program string, args ...string) {
	h.Helper()
	if output, err := exec.CommandContext(h.Context(), program, args...).CombinedOutput(); err != nil {
		h.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, output)
	}
}

func (h *softHSM) generate(kind, label, id string) {
	h.Helper()
	h.run("pkcs11-tool", "--module", h.module, "--token-label", "ca", "--login", "--pin", "1234",
		"--keypairgen", "--key-type", kind, "--label", label, "--id", id)
}

func (h *softHSM) uri(path string) string {
	return "pkcs11:" + path + "?module-path=" + h.module
}

// open opens a key until the test ends.
func (h *softHSM) open(path string) (*store, crypto.PublicKey) {
	h.Helper()
	s := new(store)
	h.Cleanup(s.close)
	der, err := s.Open(h.uri(path), []byte("1234"))
	h.check(err)
	public, err := x509.ParsePKIXPublicKey(der)
	h.check(err)
	return s, public
}

func verifies(public crypto.PublicKey, hash crypto.Hash, digest, signature []byte) bool {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, hash, digest, signature) == nil
	default:
		return false
	}
}

func TestSigns(t *testing.T) {
	h := newSoftHSM(t)
	h.generate("EC:prime256v1", "p256", "01")
	h.generate("EC:secp384r1", "p384", "02")
	h.generate("EC:secp521r1", "p521", "03")
	h.generate("rsa:2048", "rsa", "0a")
	short, long, longest := sha256.Sum256([]byte("m")), sha512.Sum384([]byte("m")), sha512.Sum512([]byte("m"))
	digests := map[crypto.Hash][]byte{crypto.SHA256: short[:], crypto.SHA384: long[:], crypto.SHA512: longest[:]}
	for path, hashes := range map[string][]crypto.Hash{
		"token=ca;object=p256;type=private":                  {crypto.SHA256},
		"token=ca;id=%02":                                    {crypto.SHA384},
		"token=ca;object=p521;id=%03":                        {crypto.SHA512},
		"token=ca;object=rsa;manufacturer=SoftHSM%20project": {crypto.SHA256, crypto.SHA384, crypto.SHA512},
	} {
		t.Run(path, func(t *testing.T) {
			s, public := (&softHSM{t, h.module, h.tokens}).open(path)
			for _, hash := range hashes {
				signature, err := s.Sign(hash, digests[hash])
				if err != nil || !verifies(public, hash, digests[hash], signature) {
					t.Errorf("%v: %x, %v", hash, signature, err)
				}
			}
			if err := s.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignsConcurrently(t *testing.T) {
	h := newSoftHSM(t)
	h.generate("EC:prime256v1", "key", "01")
	s, public := h.open("token=ca;object=key")
	var work sync.WaitGroup
	for i := range 16 {
		work.Go(func() {
			for range 50 {
				digest := sha256.Sum256([]byte{byte(i)})
				signature, err := s.Sign(crypto.SHA256, digest[:])
				if err != nil || !verifies(public, crypto.SHA256, digest[:], signature) {
					t.Errorf("%x, %v", signature, err)
					return
				}
			}
		})
	}
	work.Wait()
}

// Sessions that end behind our back, as those of a token that was pulled out
// and put back, are opened again at once.
func TestSessionsAreLost(t *testing.T) {
	h := newSoftHSM(t)
	h.generate("EC:prime256v1", "key", "01")
	s, _ := h.open("token=ca;object=key")
	slots, err := s.loaded.GetSlotList(true)
	h.check(err)
	digest := sha256.Sum256(nil)
	for range 3 {
		h.check(s.loaded.CloseAllSessions(slots[0]))
		if _, err := s.Sign(crypto.SHA256, digest[:]); err != nil {
			t.Errorf("after the sessions were closed: %v", err)
		}
		h.check(s.loaded.CloseAllSessions(slots[0]))
		h.check(s.Check())
	}
}

func TestTokenGoesAndReturns(t *testing.T) {
	h := newSoftHSM(t)
	h.generate("EC:prime256v1", "key", "01")
	s, _ := h.open("token=ca;object=key")
	digest := sha256.Sum256(nil)
	for range 2 {
		h.check(os.Rename(h.tokens, h.tokens+".away"))
		for what, use := range map[string]func() error{
			"check": s.Check,
			"sign":  func() error { _, err := s.Sign(crypto.SHA256, digest[:]); return err },
		} {
			err := use()
			if told, ok := errors.AsType[*wire.Error](err); err == nil || ok && told.Code != wire.Unavailable {
				t.Errorf("%s without the token: %v", what, err)
			}
		}
		h.check(os.Rename(h.tokens+".away", h.tokens))
		h.check(s.Check())
		_, err := s.Sign(crypto.SHA256, digest[:])
		h.check(err)
	}
}

func TestRefuses(t *testing.T) {
	h := newSoftHSM(t)
	h.generate("EC:prime256v1", "key", "01")
	h.generate("EC:prime256v1", "twin", "02")
	h.generate("EC:prime256v1", "twin", "03")
	h.generate("EC:secp256k1", "exotic", "04")
	for _, test := range []struct{ uri, pin, code, want string }{
		{h.uri("token=ca;object=key"), "4321", wire.Refused, "refuses the PIN"},
		{h.uri("token=ca;object=none"), "1234", wire.Unavailable, `the key "none" is not in the token`},
		{h.uri("token=ca;id=%09"), "1234", wire.Unavailable, "the key id 09 is not in the token"},
		{h.uri("token=other;object=key"), "1234", wire.Unavailable, "the token other is not there"},
		{h.uri("token=ca;object=twin"), "1234", wire.Refused, "several keys"},
		{h.uri("token=ca;object=exotic"), "1234", wire.Refused, "another curve"},
		{"pkcs11:token=ca;object=key?module-path=/none.so", "1234", wire.Refused, "couldn't load the library /none.so"},
		{"pkcs11:token=ca;object=key", "1234", wire.Refused, "which library"},
	} {
		s := new(store)
		_, err := s.Open(test.uri, []byte(test.pin))
		s.close()
		told, ok := errors.AsType[*wire.Error](err)
		if !ok || told.Code != test.code || !strings.Contains(told.Message, test.want) {
			t.Errorf("%s: %v, want %s", test.uri, err, test.want)
		}
	}
}
