package servertest

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/processtest"
)

// ClusterURL is what clients call all nodes of StartCluster by.
const ClusterURL = "https://ca.example.test"

// StartCluster makes a CA with several nodes on the empty PostgreSQL database at
// a URL, and serves it until the test ends. The nodes have the same keys, the
// same DNS server and the same Web, each has a directory and an address of its
// own, and the HTTP of each reaches that node by ClusterURL.
func StartCluster(t testing.TB, database string, nodes int, set ...string) []*CA {
	t.Helper()
	files, err := template()
	if err != nil {
		t.Fatal(err)
	}
	set = append([]string{"store=" + database, "external_url=" + ClusterURL, "http_url=http://ca.example.test"}, set...)
	cluster := []*CA{start(t, files, append(set[:len(set):len(set)], "node.name=node-1"))}
	cluster[0].join()
	for number := 2; number <= nodes; number++ {
		first := cluster[0]
		node := &CA{
			t: t, Dir: t.TempDir(), Network: first.Network, DNS: first.DNS, Web: first.Web, log: new(output),
			address: first.Network.Host(10 + number), set: append(set[:len(set):len(set)], fmt.Sprintf("node.name=node-%d", number)),
		}
		t.Cleanup(node.showLog)
		node.install(files)
		node.begin()
		node.join()
		cluster = append(cluster, node)
	}
	return cluster
}

// join has clients of this node use the URL of all.
func (c *CA) join() {
	c.public, c.DirectoryURL = ClusterURL, ClusterURL+"/acme/directory"
	c.HTTP = c.Proxied()
}

// ServeApart goes on serving in a process of its own, which runs the program at
// that path until the test ends. The methods that stop and change the server are
// not for such a CA.
func (c *CA) ServeApart(program string) {
	c.t.Helper()
	c.HTTP.CloseIdleConnections()
	c.Stop()
	args := []string{"serve", "--dir", c.Dir}
	for _, set := range c.settings() {
		args = append(args, "--set", set)
	}
	process, err := processtest.Start(exec.CommandContext(context.Background(), program, args...))
	c.check(err)
	c.t.Cleanup(func() {
		if err := process.End(syscall.SIGTERM); err != nil || c.t.Failed() {
			c.t.Errorf("the server ended with %v and wrote:\n%s", err, process.Output())
		}
	})
	c.check(process.Await("the server to be ready", time.Minute, func() error {
		answer, err := c.HTTP.Get(c.BaseURL + "/readyz")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", answer.Status)
		}
		return nil
	}))
}

// ClientOf returns a client of this node for the account of another node's.
func (c *CA) ClientOf(account *acmetest.Client) *acmetest.Client {
	c.t.Helper()
	client := c.NewClient()
	client.Key, client.AccountURL = account.Key, account.AccountURL
	return client
}
