package fault

import (
	"fmt"
	"net"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
)

// target is the network that certificates are for: it answers http-01 on all
// loopback addresses, except that those in 127.221.0.0/16 take the question and
// say nothing.
type target struct {
	port   int
	proofs sync.Map // token to key authorization
	next   atomic.Int64
	silent atomic.Int64 // questions that hang now
}

func newTarget(t *testing.T) *target {
	t.Helper()
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &target{port: listener.Addr().(*net.TCPAddr).Port}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: g}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return g
}

func (g *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	local := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if local.IP.To4()[1] == 221 {
		g.silent.Add(1)
		defer g.silent.Add(-1)
		<-r.Context().Done() // the asker has given up
		return
	}
	if proof, ok := g.proofs.Load(path.Base(r.URL.Path)); ok {
		_, _ = w.Write([]byte(proof.(string)))
		return
	}
	http.NotFound(w, r)
}

// address is one that answers and that no certificate was asked for yet.
func (g *target) address() string { return g.in(220) }

// silentAddress is a new one that says nothing.
func (g *target) silentAddress() string { return g.in(221) }

func (g *target) in(network int) string {
	n := g.next.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", network, n>>8&0xff, n&0xff)
}

// expect is the solver for addresses that answer.
func (g *target) expect(_ *acmetest.Authorization, challenge acmetest.Challenge, keyAuthorization string) {
	g.proofs.Store(challenge.Token, keyAuthorization)
}
