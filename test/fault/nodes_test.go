package fault

import (
	"math/rand/v2"
	"syscall"
	"testing"
)

// TestKillNodes kills one node of three after the other in the middle of load,
// each at any moment of its work, and starts it again.
func TestKillNodes(t *testing.T) {
	t.Parallel()
	proofs := newTarget(t)
	c := newCluster(t, chancery, proofs, newDatabase(t), 3)
	f := newTraffic(t, &c.site, proofs, 8)
	for range 6 {
		f.await(t, 10+rand.Int64N(10))
		victim := c.nodes[rand.IntN(len(c.nodes))]
		victim.kill()
		f.await(t, 10)
		victim.start(t)
	}
	f.await(t, 10)
	c.check(t, f)
}

// TestKillPostgreSQL kills the server under three nodes.
func TestKillPostgreSQL(t *testing.T) {
	t.Parallel()
	proofs, server := newTarget(t), newPostgreSQL(t)
	c := newCluster(t, chancery, proofs, server.Database(t), 3)
	f := newTraffic(t, &c.site, proofs, 8)
	for range 3 {
		f.await(t, 20)
		server.Stop(syscall.SIGKILL)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	f.await(t, 20)
	c.check(t, f)
}
