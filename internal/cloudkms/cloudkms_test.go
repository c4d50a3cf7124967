package cloudkms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"chancery/internal/keyhelper/wire"
	"chancery/internal/keys"
)

func TestParseURI(t *testing.T) {
	uri, err := ParseURI("k:projects/a%3Ab?endpoint=https://h:1&region=x", "k", "endpoint", "region")
	if err != nil || uri.Path != "projects/a:b" || uri.Get("endpoint") != "https://h:1" || uri.Get("region") != "x" || uri.Get("z") != "" {
		t.Errorf("%+v, %v", uri, err)
	}
	for text, want := range map[string]string{
		"other:a":                   "is not one like k:NAME",
		"k:%zz":                     "badly escaped",
		"k:a?secret=x":              `"secret" of the key's URI is not supported; there is endpoint`,
		"k:a?endpoint=":             "empty",
		"k:a?endpoint":              "empty",
		"k:a?endpoint=%zz":          "badly escaped",
		"k:a?endpoint=b&&":          "",
		"k:a?endpoint=b&endpoint=b": "twice",
	} {
		if _, err := ParseURI(text, "k", "endpoint"); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestParseEndpoint(t *testing.T) {
	for text, good := range map[string]bool{
		"https://kms.eu-central-1.amazonaws.com": true,
		"https://10.0.0.7:8443/":                 true,
		"http://127.0.0.1:80":                    true,
		"http://[::1]:80":                        true,
		"http://localhost:8080":                  true,
		"http://kms.corp":                        false,
		"http://localhost.corp":                  false,
		"http://10.0.0.7":                        false,
		"ftp://127.0.0.1":                        false,
		"https://":                               false,
		"kms.corp":                               false,
		"https://user:pw@kms.corp":               false,
		"https://kms.corp/path":                  false,
		"https://kms.corp?a":                     false,
		"https://kms.corp#a":                     false,
	} {
		if _, err := ParseEndpoint(text); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// clock is a time that tests set.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) read() time.Time         { return c.now }
func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

func TestCache(t *testing.T) {
	now, fetched := newClock(), 0
	life, broken := time.Hour, error(nil)
	cache := Cache[int]{Now: now.read, Fetch: func(context.Context) (int, time.Time, error) {
		fetched++
		return fetched, now.now.Add(life), broken
	}}
	get := func(what string, want int) {
		t.Helper()
		if got, err := cache.Get(t.Context()); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", what, got, err, want)
		}
	}
	get("at first", 1)
	now.advance(54 * time.Minute)
	get("while it is good", 1)
	now.advance(2 * time.Minute)
	get("before it ends", 2)

	now.advance(56 * time.Minute)
	broken = errors.New("down")
	get("renewing fails", 2)
	get("renewing is not tried at once", 2)
	if fetched != 3 {
		t.Errorf("fetched %d times", fetched)
	}
	now.advance(5 * time.Minute)
	if _, err := cache.Get(t.Context()); !errors.Is(err, broken) {
		t.Errorf("when it has ended: %v", err)
	}
	broken, life = nil, time.Minute
	get("again", 5)
	now.advance(20 * time.Second)
	get("a short life", 5)
	cache.Drop(4)
	get("another was dropped", 5)
	cache.Drop(5)
	get("it was dropped", 6)
}

// fakeKey is a key that does what it is told.
type fakeKey struct {
	public []byte
	err    error
	asked  int
}

func (k *fakeKey) Public(context.Context) ([]byte, error) { return k.public, k.err }
func (k *fakeKey) Check(context.Context) error            { k.asked++; return k.err }
func (k *fakeKey) Sign(context.Context, crypto.Hash, []byte) ([]byte, error) {
	return []byte("signature"), k.err
}

func publicOf(t *testing.T, typ string) []byte {
	t.Helper()
	key, err := keys.Generate(rand.Reader, typ)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestStoreAsksSeldom(t *testing.T) {
	now, key := newClock(), &fakeKey{public: publicOf(t, "P-256")}
	store := Store{Now: now.read, Find: func(string) (Key, error) { return key, nil }}
	if _, err := store.Open("k:a", nil); err != nil {
		t.Fatal(err)
	}
	sign := func() { _, _ = store.Sign(crypto.SHA256, make([]byte, 32)) }
	for _, step := range []struct {
		what  string
		after time.Duration
		err   error
		sign  bool
		asked int
		fails bool
	}{
		{what: "it was just opened", after: 9 * time.Second, asked: 1},
		{what: "a while later", after: time.Second, asked: 2},
		{what: "it signs", after: 9 * time.Second, sign: true, asked: 2},
		{what: "it has signed", after: 9 * time.Second, asked: 2},
		{what: "signing fails", err: errors.New("away"), sign: true, asked: 2, fails: true},
		{what: "at once", after: 900 * time.Millisecond, asked: 2, fails: true},
		{what: "it is back", after: 100 * time.Millisecond, asked: 3},
		{what: "it is disabled", err: wire.Errorf(wire.Refused, "disabled"), sign: true, asked: 3, fails: true},
		{what: "still", after: 9 * time.Second, asked: 3, fails: true},
		{what: "it is enabled", after: time.Second, asked: 4},
	} {
		now.advance(step.after)
		key.err = step.err
		if step.sign {
			sign()
		}
		if err := store.Check(); (err != nil) != step.fails || key.asked != step.asked {
			t.Errorf("%s: asked %d times, %v", step.what, key.asked, err)
		}
	}
}

func TestStoreRefuses(t *testing.T) {
	good := &fakeKey{public: publicOf(t, "RSA-2048")}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(edwards)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		key  *fakeKey
		want string
	}{
		{good, ""},
		{&fakeKey{public: der}, "only ECDSA and RSA"},
		{&fakeKey{public: []byte("x")}, "couldn't read the public key"},
		{&fakeKey{err: errors.New("away")}, "away"},
		{nil, "no such form"},
	} {
		store := Store{Now: time.Now, Find: func(string) (Key, error) {
			if test.key == nil {
				return nil, errors.New("no such form")
			}
			return test.key, nil
		}}
		_, err := store.Open("k:a", nil)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	store := Store{Now: time.Now, key: good}
	if _, err := store.Sign(crypto.SHA256, make([]byte, 20)); err == nil {
		t.Error("20 octets were taken for a SHA-256")
	}
	if _, err := store.Sign(0, []byte("message")); err == nil {
		t.Error("a message was taken")
	}
}
