package fault

import (
	"errors"
	"path"
	"testing"
	"time"
)

// TestStop stops the server in the middle of load as systemd does. Requests in
// flight get their answers; those that come later are not begun at all.
func TestStop(t *testing.T) {
	t.Parallel()
	proofs := newTarget(t)
	ca := newAuthority(t, proofs, "log.level=warn")
	ca.start(t)
	l := newLoad(t, ca, proofs)
	unanswered := 0
	for round := range 5 {
		var took time.Duration
		errs := l.burst(t, trigger{finalize: round%2 == 0, count: 20 + 10*int64(round)}, func() { took = ca.terminate(t) })
		if took > 12*time.Second {
			t.Errorf("it took %v to stop", took)
		}
		for _, err := range errs {
			if cut, ok := errors.AsType[*cutError](err); !ok || cut.torn {
				t.Errorf("a client got a torn answer, or a bad one: %v", err)
			}
		}
		if left := examine(t, ca.database()); len(left) > 0 {
			t.Errorf("%d intents are not settled", len(left))
		}
		unanswered += checkUntouched(t, l)
		ca.start(t)
		l.resume(t)
		checkInventory(t, ca.certificates(t), l.tickets, nil)
		if t.Failed() {
			t.Fatalf("after stop %d\n%s", round+1, ca.process.Output())
		}
	}
	l.checkAccounts(t, append(l.accounts, l.workers...))
	l.checkDownloads(t)
	t.Logf("%d certificates, %d orders cut off between two requests", len(l.tickets), unanswered)
}

// checkUntouched compares the orders in the store of a stopped server with what
// clients were told: a request without an answer must have changed nothing. It
// returns how many orders are not completed.
func checkUntouched(t *testing.T, l *load) (open int) {
	t.Helper()
	stored := l.ca.orders(t)
	if len(stored) != len(l.tickets) {
		t.Errorf("there are %d orders, and %d were acknowledged", len(stored), len(l.tickets))
	}
	for _, k := range l.tickets {
		now := stored[path.Base(k.order.URL)].Status
		told := k.order.Status
		if told != now && !(told == "pending" && now == "ready") { // its authorization was acknowledged
			t.Errorf("the order %s is %s, and its client was told that it is %s", k.order.URL, now, told)
		}
		if now != "valid" {
			open++
		}
	}
	return open
}
