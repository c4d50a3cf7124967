package keyhelper

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chancery/internal/failure"
	"chancery/internal/keyhelper/helpertest"
	"chancery/internal/keys"
)

// fixture is a key in a fake store.
type fixture struct {
	testing.TB
	dir     string
	public  crypto.PublicKey
	options Options
}

func newFixture(t testing.TB, typ string) *fixture {
	t.Helper()
	f := &fixture{TB: t, dir: t.TempDir()}
	key, err := keys.Generate(rand.Reader, typ)
	f.check(err)
	f.check(keys.WriteFile(filepath.Join(f.dir, helpertest.Key), key))
	f.public = key.Public()
	self, err := os.Executable()
	f.check(err)
	f.options, err = FromURI(helpertest.URI(f.dir), self, "")
	f.check(err)
	f.options.Public = f.public
	return f
}

func (f *fixture) check(err error) {
	if err != nil {
		f.Helper()
		f.Fatal(err)
	}
}

func (f *fixture) start() *Key {
	f.Helper()
	k := Start(f.options)
	f.Cleanup(func() { f.check(k.Close()) })
	return k
}

func (f *fixture) add(name string) { f.check(os.WriteFile(filepath.Join(f.dir, name), nil, 0o600)) }
func (f *fixture) remove(name string) {
	f.check(os.Remove(filepath.Join(f.dir, name)))
}

func (f *fixture) sign(k *Key) error {
	digest := sha256.Sum256([]byte("message"))
	signature, err := k.Sign(nil, digest[:], crypto.SHA256)
	if err == nil {
		f.check(verify(f.public, crypto.SHA256, digest[:], signature))
	}
	return err
}

// until waits for a condition, which is looked at again and again.
func (f *fixture) until(what string, done func() bool) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			f.Fatalf("waited in vain: %s", what)
		case <-ticker.C:
		}
	}
}

func (f *fixture) pid() int { return helpertest.Process(f.dir) }

func TestSignsWithEveryType(t *testing.T) {
	message := []byte("message")
	short, long, longest := sha256.Sum256(message), sha512.Sum384(message), sha512.Sum512(message)
	for typ, signed := range map[string]struct {
		digest []byte
		hash   crypto.Hash
	}{
		"P-256": {short[:], crypto.SHA256}, "P-384": {long[:], crypto.SHA384}, "P-521": {longest[:], crypto.SHA512},
		"RSA-2048": {short[:], crypto.SHA256}, "Ed25519": {message, 0},
	} {
		t.Run(typ, func(t *testing.T) {
			f := newFixture(t, typ)
			f.options.Public = nil
			k, err := Open(t.Context(), f.options)
			f.check(err)
			defer k.Close()
			signature, err := k.Sign(nil, signed.digest, signed.hash)
			f.check(err)
			f.check(verify(f.public, signed.hash, signed.digest, signature))
		})
	}
}

// However often the helper is killed, all requests are answered, and well.
func TestKilledUnderLoad(t *testing.T) {
	f := newFixture(t, "P-256")
	k := f.start()
	var load sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	signed := 0
	for range 8 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f.sign(k); err != nil {
					t.Errorf("signing failed: %v", err)
					return
				}
				mu.Lock()
				signed++
				mu.Unlock()
			}
		})
	}
	killed := 0
	for range 5 {
		f.until("a new helper", func() bool { pid := f.pid(); return pid != 0 && pid != killed })
		mu.Lock()
		before := signed
		mu.Unlock()
		f.until("work", func() bool { mu.Lock(); defer mu.Unlock(); return signed > before+20 || t.Failed() })
		killed = f.pid()
		f.check(syscall.Kill(killed, syscall.SIGKILL))
	}
	close(stop)
	load.Wait()
	t.Logf("%d signatures beside 5 kills", signed)
}

func TestCrashOfOneRequest(t *testing.T) {
	f := newFixture(t, "P-256")
	k := f.start()
	f.check(f.sign(k))
	f.add(helpertest.Crash)
	f.check(f.sign(k))
}

func TestHangs(t *testing.T) {
	f := newFixture(t, "P-256")
	f.options.Timeout = 200 * time.Millisecond
	k := f.start()
	f.until("the helper", func() bool { return f.sign(k) == nil })
	hung := f.pid()
	f.add(helpertest.Hang)
	if err := f.sign(k); failure.KindOf(err) != failure.Unavailable {
		t.Errorf("a hang gave %v", err)
	}
	f.remove(helpertest.Hang)
	f.until("another helper", func() bool { return f.sign(k) == nil })
	if f.pid() == hung {
		t.Error("the helper that hung is still at work")
	}
}

func TestTokenGoesAndReturns(t *testing.T) {
	f := newFixture(t, "P-256")
	k := f.start()
	f.check(f.sign(k))
	f.check(k.Check())
	helper := f.pid()
	f.add(helpertest.Away)
	if err := f.sign(k); failure.KindOf(err) != failure.Unavailable || !strings.Contains(err.Error(), "the token is away") {
		t.Errorf("without a token: %v", err)
	}
	if err := k.Check(); err == nil {
		t.Error("Check knows nothing of it")
	}
	f.remove(helpertest.Away)
	f.until("the token", func() bool { return k.Check() == nil })
	f.check(f.sign(k))
	if f.pid() != helper {
		t.Error("the helper was started again for that")
	}
}

func TestStartsWithoutToken(t *testing.T) {
	f := newFixture(t, "P-256")
	f.add(helpertest.Away)
	k := f.start()
	if err := f.sign(k); failure.KindOf(err) != failure.Unavailable {
		t.Errorf("without a token: %v", err)
	}
	f.remove(helpertest.Away)
	f.until("the token", func() bool { return k.Check() == nil && f.sign(k) == nil })
}

func TestRefusesBadSignatures(t *testing.T) {
	f := newFixture(t, "P-256")
	k := f.start()
	f.check(f.sign(k))
	f.add(helpertest.Wrong)
	if err := f.sign(k); err == nil || !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("a wrong signature gave %v", err)
	}
	f.remove(helpertest.Wrong)
	f.until("good signatures", func() bool { return f.sign(k) == nil })
}

func TestRefusesAnotherKey(t *testing.T) {
	f := newFixture(t, "P-256")
	f.options.Public = newFixture(t, "P-256").public
	if err := f.sign(f.start()); err == nil || !strings.Contains(err.Error(), "another key than the certificate's") {
		t.Errorf("another key: %v", err)
	}
}

func TestMissingHelper(t *testing.T) {
	f := newFixture(t, "P-256")
	f.options.Path = filepath.Join(f.dir, "none")
	if _, err := Open(t.Context(), f.options); err == nil || !strings.Contains(err.Error(), "couldn't start the helper") {
		t.Errorf("without a program: %v", err)
	}
}

func TestSecret(t *testing.T) {
	f := newFixture(t, "P-256")
	f.add(helpertest.PIN)
	file := filepath.Join(f.dir, "secret")
	f.check(os.WriteFile(file, []byte("1234\n"), 0o600))
	with := func(source string) error {
		options, err := FromURI(helpertest.URI(f.dir)+"?pin-source="+source, f.options.Path, f.dir)
		if err != nil {
			return err
		}
		options.Public = f.public
		k := Start(options)
		defer k.Close()
		return f.sign(k)
	}
	for _, source := range []string{"secret", file, "file:" + file, "file://" + file, strings.ReplaceAll(file, "s", "%73")} {
		if err := with(source); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
	f.check(os.Chmod(file, 0o644))
	for source, want := range map[string]string{
		"secret":                "open to other users",
		"none":                  "no such file",
		"":                      "the PIN is wrong",
		"|cat":                  "is a command",
		"%zz":                   "badly escaped",
		"secret&pin-value=1234": "pin-value puts the PIN where everybody sees it",
	} {
		err := with(source)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}

// BenchmarkSign is a signature by way of a helper, many at a time as a server
// makes them; the key is in the helper's memory.
func BenchmarkSign(b *testing.B) {
	f := newFixture(b, "P-256")
	k := f.start()
	f.check(f.sign(k))
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f.sign(k); err != nil {
				b.Error(err)
			}
		}
	})
}
