package fault

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"chancery/internal/admin"
)

// kills is how often the server is killed, at least.
const kills = 20

// TestKill kills the server in the middle of load, again and again over the
// same directory, and some times once more while it is coming back. What a
// client was told stays true; what may have been signed is in the inventory.
func TestKill(t *testing.T) {
	t.Parallel()
	proofs := newTarget(t)
	ca := newAuthority(t, proofs, "log.level=warn")
	ca.start(t)
	l := newLoad(t, ca, proofs)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	abandoned := map[string]bool{}
	crash := func() {
		ca.kill()
		for _, serial := range serials(ca.crashed(t)) {
			abandoned[serial] = true
		}
	}
	killed := 0
	for round := 0; round < kills || len(abandoned) == 0; round++ {
		accounts := len(l.accounts)
		at := trigger{finalize: round%2 == 0, count: 5 + random.Int64N(56)}
		errs := l.burst(t, at, func() {
			<-time.After(time.Duration(random.Int64N(int64(5 * time.Millisecond))))
			crash()
		})
		checkCut(t, errs)
		killed++
		if round%4 == 3 {
			ca.launch(t)
			<-time.After(time.Duration(random.Int64N(int64(100 * time.Millisecond))))
			crash()
			killed++
		}
		ca.start(t)
		ca.settled(t) // before it answered for the first time
		l.resume(t)
		l.checkAccounts(t, l.accounts[accounts:])
		checkInventory(t, ca.certificates(t), l.tickets, abandoned)
		if t.Failed() {
			t.Fatalf("after kill %d, at %+v\n%s", killed, at, ca.process.Output())
		}
	}
	l.checkAccounts(t, l.workers)
	l.checkAccounts(t, l.accounts)
	l.checkDownloads(t)
	t.Logf("%d kills, %d certificates, %d accounts, %d serials abandoned", killed, len(l.tickets), workers+len(l.accounts), len(abandoned))
}

// checkCut fails the test when a client got another answer than none.
func checkCut(t *testing.T, errs []error) {
	t.Helper()
	for _, err := range errs {
		if !isCut(err) {
			t.Errorf("a client got a bad answer rather than none: %v", err)
		}
	}
}

// checkInventory holds what clients have against what operators see.
func checkInventory(t *testing.T, inventory map[string]admin.Certificate, tickets []*ticket, abandoned map[string]bool) {
	t.Helper()
	ofOrder := map[string]string{} // id to serial
	for serial, c := range inventory {
		if (c.Status == "abandoned") != abandoned[serial] {
			t.Errorf("%s is %s; an intent of it was left over: %v", serial, c.Status, abandoned[serial])
		}
		if c.Status == "abandoned" {
			if c.RevokedAt == nil {
				t.Errorf("%s is abandoned but not revoked", serial)
			}
			continue
		}
		if other := ofOrder[c.Order]; c.Order != "" && other != "" {
			t.Errorf("the order %s has two certificates, %s and %s", c.Order, serial, other)
		}
		ofOrder[c.Order] = serial
	}
	for serial := range abandoned {
		if _, ok := inventory[serial]; !ok {
			t.Errorf("%s may have been signed and is not in the inventory", serial)
		}
	}
	for _, k := range tickets {
		if k.leaf != nil {
			checkHeld(t, k, inventory)
		}
	}
}

// checkHeld looks for a client's certificate in the inventory.
func checkHeld(t *testing.T, k *ticket, inventory map[string]admin.Certificate) {
	t.Helper()
	c, ok := inventory[k.serial()]
	sum := sha256.Sum256(k.leaf.Raw)
	switch {
	case !ok:
		t.Errorf("a client holds %s, which is not in the inventory", k.serial())
	case c.Status != "valid":
		t.Errorf("a client holds %s, which is %s", k.serial(), c.Status)
	case c.Fingerprint != hex.EncodeToString(sum[:]) || !slices.Equal(c.Names, []string{k.names[0].Value}):
		t.Errorf("a client holds %s, and the inventory has another: %+v", k.serial(), c)
	}
}
