package fault

import (
	"net/http"
	"testing"

	"golang.org/x/sys/unix"

	"chancery/internal/admin"
)

// TestFullDisk takes the disk from a server in the middle of load, as a limit
// on the size of files does, and gives it back: with the process as it is, and
// after it was killed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	proofs := newTarget(t)
	ca := newAuthority(t, proofs, "log.level=warn")
	ca.start(t)
	l := newLoad(t, ca, proofs)
	held := l.mustGet(t)

	errs := l.burst(t, trigger{finalize: true, count: 40}, func() {
		ca.limitFiles(t, 4096)
		checkFull(t, ca, held)
		l.enough.Store(true)
		ca.limitFiles(t, unix.RLIM_INFINITY)
	})
	checkUnavailable(t, errs)
	ca.await(t, "the server to be ready again", ca.ready)
	l.resume(t)
	inventory := ca.certificates(t)
	abandoned := abandonedIn(inventory)
	checkInventory(t, inventory, l.tickets, abandoned)
	ca.settled(t)

	errs = l.burst(t, trigger{finalize: true, count: 40}, func() {
		ca.limitFiles(t, 4096)
		checkFull(t, ca, held)
		ca.kill()
	})
	for _, err := range errs {
		if !isCut(err) && !isUnavailable(err) {
			t.Errorf("a client got a bad answer: %v", err)
		}
	}
	for _, serial := range serials(ca.crashed(t)) {
		abandoned[serial] = true
	}
	ca.start(t)
	l.resume(t)
	checkInventory(t, ca.certificates(t), l.tickets, abandoned)
	ca.settled(t)
	l.checkAccounts(t, append(l.accounts, l.workers...))
	l.checkDownloads(t)
	t.Logf("%d certificates, %d serials abandoned", len(l.tickets), len(abandoned))
}

// limitFiles bounds the size of files that the server can write, in bytes.
func (a *authority) limitFiles(t *testing.T, size uint64) {
	t.Helper()
	limit := unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(a.process.Pid(), unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
}

// checkFull looks at a server that cannot write: it is alive, says that it is
// not ready, and gives out what it has.
func checkFull(t *testing.T, ca *authority, held *ticket) {
	t.Helper()
	ca.await(t, "the server to say that it isn't ready", ca.refuses)
	if status, body := ca.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: status %d: %s", status, body)
	}
	if err := held.download(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := ca.register(t.Context()); !isUnavailable(err) {
		t.Errorf("a new account: %v", err)
	}
}

func checkUnavailable(t *testing.T, errs []error) {
	t.Helper()
	for _, err := range errs {
		if !isUnavailable(err) {
			t.Errorf("a client got another answer than 503: %v", err)
		}
	}
}

// abandonedIn are the serials that an inventory lists as abandoned.
func abandonedIn(inventory map[string]admin.Certificate) map[string]bool {
	found := map[string]bool{}
	for serial, c := range inventory {
		if c.Status == "abandoned" {
			found[serial] = true
		}
	}
	return found
}
