package acme_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// testMetadata has a redirect to a cloud's metadata service.
func testMetadata(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	for name, target := range map[string]string{
		"redirect1.example.test": "http://169.254.169.254/latest/meta-data/",
		"redirect2.example.test": "http://[::ffff:169.254.169.254]/",
		"redirect3.example.test": "http://metadata.example.test/",
	} {
		ca.DNS.SetA("metadata.example.test", "169.254.169.254")
		made := order(t, client, acmetest.DNS(name), nil)
		offered := challenge(t, authorization(t, client, made.Authorizations[0]), "http-01")
		ca.Web.Handle(servertest.ChallengePath(offered.Token), func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target, http.StatusFound)
		})
		_, settled := fail(t, client, made, "http-01")
		if !strings.Contains(settled.Error.Detail, "169.254.169.254") {
			t.Errorf("%s: %v", target, settled.Error)
		}
	}
}

// testOwnListener has a name that leads to the CA itself.
func testOwnListener(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	ca.DNS.SetA("self.example.test", ca.Web.Address)
	made := order(t, client, acmetest.DNS("self.example.test"), nil)
	offered := challenge(t, authorization(t, client, made.Authorizations[0]), "http-01")
	ca.Web.Handle(servertest.ChallengePath(offered.Token), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, ca.BaseURL+"/acme/directory", http.StatusFound)
	})
	_, settled := fail(t, client, made, "http-01")
	if settled.Error == nil || !strings.Contains(settled.Error.Detail, "9443") {
		t.Errorf("the error is %v", settled.Error)
	}
}

// TestDeadTargets has hosts that cannot be reached or never answer: their
// orders end within attempts × timeout, as type connection.
func TestDeadTargets(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "validation.timeout=500ms", "validation.attempts=2", "validation.wait=100ms")
	nobody, silent, full, cut := ca.Network.Host(10), ca.Network.Host(11), ca.Network.Host(12), ca.Network.Host(13)
	servertest.ListenHTTP(t, silent) // the kernel accepts, and nobody reads
	fill(t, servertest.ListenHTTP(t, full))
	hangUp(servertest.ListenHTTP(t, cut))
	for name, address := range map[string]string{"nothing listens": nobody, "accepts and says nothing": silent, "never answers a SYN": full, "hangs up": cut} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, began := ca.Client(), time.Now()
			made := order(t, client, acmetest.IP(address), nil)
			authz, settled := fail(t, client, made, "http-01")
			for _, problem := range []*acmetest.Problem{authz.Challenges[0].Error, settled.Error} {
				if problem == nil || !strings.HasSuffix(problem.Type, ":connection") || !strings.Contains(problem.Detail, address) {
					t.Errorf("the error is %v", problem)
				}
			}
			stored, err := ca.Store().Authorization(t.Context(), idOf(made.Authorizations[0]))
			check(t, err)
			if len(stored.Attempts) != 2 {
				t.Errorf("there were %d attempts", len(stored.Attempts))
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// fill fills the backlog of a listener that never accepts, so that further
// SYNs are dropped. What the kernel keeps is bounded by its somaxconn.
func fill(t *testing.T, listener net.Listener) {
	t.Helper()
	raw, err := listener.(*net.TCPListener).SyscallConn()
	check(t, err)
	check(t, shrinkBacklog(raw))
	for range 10 {
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), 200*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the backlog never fills")
}

// hangUp accepts connections and closes them until the listener is closed.
func hangUp(listener net.Listener) {
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
}

// TestSlowResolver has a DNS server that never answers.
func TestSlowResolver(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "validation.timeout=500ms", "validation.attempts=2", "validation.wait=100ms")
	client := ca.Client()
	ca.DNS.SetFault("slow.example.test", dropped)
	ca.DNS.SetFault("_acme-challenge.slow.example.test", dropped)
	for i, method := range []string{"http-01", "dns-01"} {
		made := order(t, client, acmetest.DNS("slow.example.test"), nil)
		began := time.Now()
		_, settled := fail(t, client, made, method)
		if !strings.HasSuffix(settled.Error.Type, ":dns") || time.Since(began) > 15*time.Second {
			t.Errorf("%d: %v after %v", i, settled.Error, fmt.Sprint(time.Since(began)))
		}
	}
}
