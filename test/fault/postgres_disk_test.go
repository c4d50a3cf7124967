package fault

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"chancery/internal/store/postgres/postgrestest"
)

// TestFullDiskOfPostgreSQL takes the disk from the database of a node in the
// middle of load, and gives it back.
func TestFullDiskOfPostgreSQL(t *testing.T) {
	t.Parallel()
	disk := postgrestest.NewDisk(t, 160<<20)
	server, err := postgrestest.NewIn(filepath.Join(disk, "server"), "shared_buffers=16MB", "max_wal_size=32MB", "min_wal_size=32MB")
	must(t, err)
	t.Cleanup(func() { _ = server.Remove() })
	proofs := newTarget(t)
	c := newCluster(t, chancery, proofs, server.Database(t), 1)
	node := c.nodes[0]
	f := newTraffic(t, &c.site, proofs, 4)
	f.await(t, 10)
	filler := postgrestest.Fill(t, disk)
	node.await(t, "the node to say that it isn't ready", node.refuses)
	refused := f.unavailable.Load()
	node.await(t, "requests to be refused", func() error {
		if f.unavailable.Load() == refused {
			return errors.New("none was")
		}
		return nil
	})
	must(t, os.Remove(filler))
	node.await(t, "the node to be ready again", func() error {
		select {
		case <-server.Ended(): // it gives up when it can't write its log
			must(t, server.Start())
		default:
		}
		return node.ready()
	})
	f.await(t, 10)
	c.check(t, f)
}
