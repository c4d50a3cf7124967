package fault

import (
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/store/postgres"
	"chancery/internal/store/postgres/postgrestest"
)

// cluster is nodes of one CA behind a balancer, which is its site: each request
// may reach another node.
type cluster struct {
	site
	nodes []*authority
	url   string // of the database, as this process reaches it
}

// newCluster makes a cluster and starts it. The nodes reach the database by url.
func newCluster(t *testing.T, program string, proofs *target, url string, nodes int, settings ...string) *cluster {
	t.Helper()
	addresses := newNetwork()
	public := addresses.host(100)
	name, _, _ := strings.Cut(public, ":")
	first := initialize(t, program, addresses.host(1), proofs, append([]string{
		"store.url=" + url, "names=" + name, "log.level=warn", "validation.timeout=2s",
	}, settings...)...)
	c := &cluster{site: site{base: "https://" + public, roots: first.roots, unsteady: true}, nodes: []*authority{first}, url: url}
	for number := 2; number <= nodes; number++ {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(number))
		if out, err := exec.Command("cp", "-a", first.dir, dir).CombinedOutput(); err != nil { // with who may read what
			t.Fatalf("%v: %s", err, out)
		}
		node := &authority{
			site: site{base: "https://" + addresses.host(number), roots: first.roots}, dir: dir, program: program,
			set: []string{"listen=" + addresses.host(number), "external_url=" + c.base},
		}
		node.endWith(t)
		c.nodes = append(c.nodes, node)
	}
	var targets []string
	for _, node := range c.nodes {
		node.start(t)
		targets = append(targets, strings.TrimPrefix(node.base, "https://"))
	}
	newRelay(t, public, targets...)
	return c
}

// check ends the traffic and holds what clients were told against what is
// stored.
func (c *cluster) check(t *testing.T, f *traffic) {
	t.Helper()
	f.end(t)
	database, err := postgres.Open(t.Context(), postgres.Options{URL: c.url})
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	for _, node := range c.nodes {
		node.await(t, "the node to be ready", node.ready)
	}
	c.nodes[0].awaitFor(t, time.Minute, "all intents to be settled", func() error {
		left, err := database.Intents(t.Context(), time.Now().AddDate(100, 0, 0), 1000)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d are not: %v", len(left), serials(left))
		}
		return err
	})
	inventory := c.nodes[0].certificates(t)
	checkInventory(t, inventory, f.tickets, abandonedIn(inventory))
	orders := c.nodes[0].orders(t)
	for id, order := range orders {
		if order.Status == "processing" {
			t.Errorf("the order %s is stuck in %s", id, order.Status)
		}
	}
	for _, k := range f.tickets {
		if status := orders[path.Base(k.order.URL)].Status; status != "valid" {
			t.Errorf("the order %s is %q, and its client has the certificate", k.order.URL, status)
		}
	}
	t.Logf("%d serials abandoned", len(abandonedIn(inventory)))
}

// postgreSQL is the server of all tests but those that break theirs.
var postgreSQL struct {
	once   sync.Once
	server *postgrestest.Server
	err    error
}

// newDatabase makes an empty database on it.
func newDatabase(t *testing.T) (url string) {
	t.Helper()
	postgreSQL.once.Do(func() { postgreSQL.server, postgreSQL.err = postgrestest.New() })
	if postgreSQL.err != nil {
		t.Fatal(postgreSQL.err)
	}
	return postgreSQL.server.Database(t)
}

// newPostgreSQL is a server that a test may break.
func newPostgreSQL(t *testing.T) *postgrestest.Server {
	t.Helper()
	server, err := postgrestest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Remove() })
	return server
}
