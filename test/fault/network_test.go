package fault

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDatabaseNetwork has a bad network between two nodes and the database: it
// cuts connections at any moment, and just after a COMMIT was sent, so that
// nobody knows whether it happened; it is slow; and it is silent for longer than
// a step waits.
func TestDatabaseNetwork(t *testing.T) {
	t.Parallel()
	proofs, direct := newTarget(t), newDatabase(t)
	wire := newRelay(t, "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", postgreSQL.server.Port))
	by := strings.Replace(direct, wire.targets[0], wire.address, 1)
	c := newCluster(t, chancery, proofs, by, 2)
	c.url = direct
	f := newTraffic(t, &c.site, proofs, 8)
	f.await(t, 10)

	wire.cutOneIn.Store(100)
	f.await(t, 60)
	wire.cutOneIn.Store(0)
	wire.cutCommit.Store(20)
	f.await(t, 60)
	wire.cutCommit.Store(0)
	t.Logf("%d connections were cut; %s", wire.cuts.Load(), f)

	wire.delay.Store(int64(50 * time.Millisecond))
	f.await(t, 20)
	wire.delay.Store(0)

	wire.silent.Store(true)
	c.nodes[0].await(t, "the node to say that it isn't ready", c.nodes[0].refuses)
	refused := f.unavailable.Load()
	c.nodes[0].await(t, "requests to be refused", func() error {
		if f.unavailable.Load() == refused {
			return fmt.Errorf("none was")
		}
		return nil
	})
	wire.silent.Store(false)
	f.await(t, 20)
	c.check(t, f)
}

// TestPgBouncer has the nodes reach the database by a pooler that gives each
// transaction another connection.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	proofs, direct := newTarget(t), newDatabase(t)
	c := newCluster(t, chancery, proofs, postgreSQL.server.NewPooler(t)(direct), 2)
	c.url = direct
	f := newTraffic(t, &c.site, proofs, 8)
	f.await(t, 60)
	c.check(t, f)
}
