package fault

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
)

// TestSilentTargets answers a thousand challenges of one account whose targets
// accept connections and say nothing. The server takes as many as it has room
// for and asks the account to come back with the others; it stays small, and
// other accounts get their certificates meanwhile.
func TestSilentTargets(t *testing.T) {
	t.Parallel()
	const challenges = 1000
	proofs := newTarget(t)
	ca := newAuthority(t, proofs, "log.level=error",
		"validation.max_concurrent=128", "validation.wait=0s", "validation.attempts=1", "validation.timeout=2s")
	ca.start(t)
	key := certificateKey(t)
	slow := make([]*client, workers)
	for i := range slow {
		slow[i] = ca.mustRegister(t)
	}
	before := ca.residentKB(t)

	var next, refused atomic.Int64
	accepted := make(chan string, challenges) // URLs of authorizations
	var asking sync.WaitGroup
	for _, c := range slow {
		c.AccountURL, c.Key = slow[0].AccountURL, slow[0].Key
		asking.Go(func() {
			for next.Add(1) <= challenges {
				url, err := c.ask(t.Context(), proofs.silentAddress())
				switch {
				case err == nil:
					accepted <- url
				case isUnavailable(err):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	asking.Wait()
	close(accepted)
	busy := ca.residentKB(t)
	began := time.Now()
	k, err := ca.mustRegister(t).take(t.Context(), proofs.address())
	if err == nil {
		err = k.complete(t.Context(), proofs, key)
	}
	if err != nil {
		t.Error(err)
	}
	waited := time.Since(began)
	t.Logf("%d hang, %d were refused; another account waited %v; resident %d KB before, %d KB then",
		proofs.silent.Load(), refused.Load(), waited, before, busy)
	if waited > 4*time.Second { // in one queue it would be nine
		t.Errorf("another account waited %v for its certificate", waited)
	}
	if refused.Load() == 0 {
		t.Error("all challenges were taken; nothing bounds how many wait")
	}
	if grown := busy - before; grown > 100<<10 {
		t.Errorf("the server grew by %d KB", grown)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for url := range accepted {
		if authz, err := slow[0].Settled(ctx, url); err != nil || authz.Status != "invalid" {
			t.Fatalf("%s: %+v %v", url, authz, err)
		}
	}
}

// ask orders a certificate for an address and answers its challenge.
func (c *client) ask(ctx context.Context, address string) (authorizationURL string, err error) {
	order, err := c.NewOrder(ctx, acmetest.IP(address), nil)
	if err != nil {
		return "", err
	}
	authz, err := c.ReadAuthorization(ctx, order.Authorizations[0])
	if err != nil {
		return "", err
	}
	challenge, err := authz.Of("http-01")
	if err == nil {
		_, err = c.Post(ctx, challenge.URL, struct{}{})
	}
	return order.Authorizations[0], err
}

// residentKB is how much memory the server has now.
func (a *authority) residentKB(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.process.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	size, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return size
}
