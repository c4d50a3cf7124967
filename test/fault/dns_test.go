package fault

import (
	"context"
	"fmt"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/validation/dnstest"
)

// TestDNS has a DNS server that is well, then never answers, then is slow, and
// then fails at once, under the questions of a hundred challenges. Who asks for
// addresses, which need no DNS, doesn't notice; and once the server is well
// again all that was asked for comes true.
func TestDNS(t *testing.T) {
	t.Parallel()
	const names = 25 // in each state of the server
	proofs, dns := newTarget(t), dnstest.New(t)
	ca := newAuthority(t, proofs, "log.level=error", "validation.resolvers="+dns.Addr(), "validation.max_concurrent=32",
		"validation.wait=0s", "validation.timeout=1s", "validation.attempts=20", "validation.retry_interval=500ms")
	ca.start(t)
	f := newTraffic(t, &ca.site, proofs, 1)
	f.await(t, 10)
	c := ca.mustRegister(t)
	var waiting []string // authorizations
	for state, fault := range []dnstest.Fault{{}, {Drop: true}, {Delay: 500 * time.Millisecond}, {Rcode: 2}} {
		for n := range names {
			name := fmt.Sprintf("host%d-%d.example.test", state, n)
			dns.SetA(name, proofs.address())
			dns.SetFault(name, fault)
			url, err := c.prove(t.Context(), name, proofs)
			must(t, err)
			waiting = append(waiting, url)
		}
		began := time.Now()
		f.await(t, 20)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("with %+v, 20 certificates that need no DNS took %s", fault, took)
		}
	}
	for state := range 4 {
		for n := range names {
			dns.SetFault(fmt.Sprintf("host%d-%d.example.test", state, n), dnstest.Fault{})
		}
	}
	f.end(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, url := range waiting {
		if authz, err := c.Settled(ctx, url); err != nil || authz.Status != "valid" {
			t.Fatalf("%s: %+v %v", url, authz, err)
		}
	}
}

// prove orders a certificate for a name and answers its challenge.
func (c *client) prove(ctx context.Context, name string, proofs *target) (authorizationURL string, err error) {
	order, err := c.NewOrder(ctx, acmetest.DNS(name), nil)
	if err != nil {
		return "", err
	}
	authz, err := c.ReadAuthorization(ctx, order.Authorizations[0])
	if err != nil {
		return "", err
	}
	challenge, err := authz.Of("http-01")
	if err != nil {
		return "", err
	}
	proofs.expect(authz, challenge, c.KeyAuthorization(challenge.Token))
	_, err = c.Post(ctx, challenge.URL, struct{}{})
	return order.Authorizations[0], err
}
