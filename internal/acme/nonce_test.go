package acme

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

func newTestNonces(tb testing.TB, window int) *MemoryNonces {
	tb.Helper()
	nonces, err := NewMemoryNonces(rand.Reader, window)
	if err != nil {
		tb.Fatal(err)
	}
	return nonces
}

func spends(tb testing.TB, source NonceSource, nonce string) bool {
	tb.Helper()
	ok, err := source.Spend(context.Background(), nonce)
	if err != nil {
		tb.Fatal(err)
	}
	return ok
}

func TestNonceIsSpentOnce(t *testing.T) {
	nonces := newTestNonces(t, 0)
	seen := map[string]bool{}
	for range 1000 {
		nonce := nonces.New()
		if octets, err := jwsDecode([]byte(nonce)); err != nil || len(octets) != 16 || seen[nonce] {
			t.Fatalf("nonce %q: %v, seen before: %v", nonce, err, seen[nonce])
		}
		seen[nonce] = true
	}
	for nonce := range seen { // in no order
		if !spends(t, nonces, nonce) || spends(t, nonces, nonce) {
			t.Fatalf("nonce %q is not spent exactly once", nonce)
		}
	}
}

func TestNonceIsRefused(t *testing.T) {
	nonces := newTestNonces(t, 100)
	good := nonces.New()
	last := good[:len(good)-1]
	for name, nonce := range map[string]string{
		"empty":              "",
		"not base64url":      "!!!!!!!!!!!!!!!!!!!!!!",
		"zeros":              strings.Repeat("A", 22),
		"too short":          last,
		"too long":           good + "A",
		"padded":             good + "==",
		"a line break":       last + "\n",
		"another spelling":   last + string(good[len(good)-1]+1),
		"of another process": newTestNonces(t, 100).New(),
	} {
		if spends(t, nonces, nonce) {
			t.Errorf("%s: %q is accepted", name, nonce)
		}
	}
	for i := range len(last) {
		changed := []byte(good)
		changed[i] = jwsTestOtherLetter(changed[i])
		if spends(t, nonces, string(changed)) {
			t.Errorf("%q is accepted as %q", good, changed)
		}
	}
	if !spends(t, nonces, good) {
		t.Error("the good nonce is refused")
	}
}

// TestNonceWindow compares a small window with a plain list of what was spent,
// over many rounds of the bitmap.
func TestNonceWindow(t *testing.T) {
	for _, window := range []int{1, 31, 32, 33, 100} {
		nonces := newTestNonces(t, window)
		var given []string
		spent := map[int]bool{}
		check := func(i int) {
			want := i >= 0 && i >= len(given)-window && !spent[i]
			if i >= 0 && spends(t, nonces, given[i]) != want {
				t.Fatalf("window %d: spending nonce %d of %d, spent before: %v", window, i+1, len(given), spent[i])
			}
			spent[i] = true
		}
		for i := range 20 * (window + 64) {
			given = append(given, nonces.New())
			check(len(given) - window - 1) // the first that is too old
			if i%3 == 0 {
				check(len(given) - window) // the oldest
			}
			if i%7 == 0 {
				check(len(given) - 1)
			}
			check(len(given) - i*i%(window+2) - 1)
		}
	}
}

// TestNonceRace is a promise of the whole server: one nonce in several requests
// at once is good for one of them.
func TestNonceRace(t *testing.T) {
	nonces := newTestNonces(t, 64)
	for range 50 {
		nonce, start := nonces.New(), make(chan struct{})
		var won atomic.Int32
		var racers sync.WaitGroup
		for range 8 {
			racers.Go(func() {
				<-start
				nonces.New() // the window moves meanwhile
				if ok, err := nonces.Spend(context.Background(), nonce); ok && err == nil {
					won.Add(1)
				}
				if ok, err := nonces.Spend(context.Background(), nonces.New()); !ok || err != nil {
					t.Errorf("a nonce of one's own is refused: %v", err)
				}
			})
		}
		close(start)
		racers.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 8 spent the nonce", won.Load())
		}
	}
}

func TestNonceKeyIsNeeded(t *testing.T) {
	if _, err := NewMemoryNonces(iotest.ErrReader(errors.New("no entropy")), 0); err == nil {
		t.Error("nonces are made without a key")
	}
}

func BenchmarkNonce(b *testing.B) {
	nonces := newTestNonces(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		if !spends(b, nonces, nonces.New()) {
			b.Fatal("refused")
		}
	}
}
