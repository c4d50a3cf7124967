package servertest_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/cluster"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
	"chancery/internal/store/postgres/postgrestest"
)

// nodesOf is what a node says of all.
func nodesOf(t *testing.T, node *servertest.CA) cluster.Status {
	t.Helper()
	status, err := operatorOf(t, node).Cluster(t.Context())
	check(t, err)
	return status
}

// jobs are those of a node, by its name.
func jobs(status cluster.Status, name string) []string {
	for _, node := range status.Nodes {
		if node.Name == name {
			return node.Leases
		}
	}
	return nil
}

// TestNodesPart has nodes go, differ, and rotate their issuer one after the
// other.
func TestNodesPart(t *testing.T) {
	t.Parallel()
	nodes := servertest.StartCluster(t, theServer(t).Database(t), 2)
	all := []string{"lists:" + issuerOf(t, nodes[0]), "tidy"}
	var before cluster.Status
	learns(t, "that all jobs are done", 10*time.Second, func() bool {
		before = nodesOf(t, nodes[1])
		return len(before.Nodes) == 2 && len(before.Leases) == 2 && len(before.Warnings) == 0
	})
	for i, node := range before.Nodes {
		if !node.Ready || node.Version != "test" || node.ExternalURL != servertest.ClusterURL || node.Address != strings.TrimPrefix(nodes[i].BaseURL, "https://") {
			t.Errorf("%+v", node)
		}
	}
	nodes[0].Stop()
	learns(t, "the jobs of a node that was stopped", 4*time.Second, func() bool {
		now := nodesOf(t, nodes[1])
		return len(now.Nodes) == 1 && slices.Equal(jobs(now, "node-2"), all)
	})
	nodes[0].Restart("policy.default=deny", "policy.rules=[{name: all, allow: ['**']}]")
	learns(t, "that settings differ", 10*time.Second, func() bool {
		return slices.ContainsFunc(nodesOf(t, nodes[1]).Warnings, func(w string) bool { return strings.Contains(w, "settings of policy differ") })
	})
	rotateOne(t, nodes)
}

// issuerOf is the id of a node's issuer.
func issuerOf(t *testing.T, node *servertest.CA) string {
	t.Helper()
	loaded, err := hierarchy.Load(node.Dir)
	check(t, err)
	return store.IssuerID(loaded.Issuer().SubjectKeyId)
}

// rotateOne has one node sign with a new issuer, of which the other has nothing.
func rotateOne(t *testing.T, nodes []*servertest.CA) {
	c, err := config.Load(config.LoadOptions{Dir: nodes[0].Dir})
	check(t, err)
	made, err := hierarchy.Rotate(hierarchy.RotateOptions{
		Files: c.IssuerFiles(hierarchy.DefaultIssuer), Passphrase: []byte(servertest.RootPassphrase),
	})
	check(t, err)
	nodes[0].Reload()
	client := nodes[0].Client()
	names := acmetest.DNS("rotated.example.test")
	order, err := client.NewOrder(t.Context(), names, nil)
	check(t, err)
	check(t, client.Prove(t.Context(), order, "http-01", nodes[0].Web.HTTP01))
	csr, err := acmetest.CSR(newKey(t), names)
	check(t, err)
	order, err = client.Finalize(t.Context(), order, csr)
	check(t, err)
	var chain [][]byte
	learns(t, "the chain of an issuer of another node", soon, func() bool {
		chain, err = nodes[1].ClientOf(client).Download(t.Context(), order)
		return err == nil && len(chain) > 1 && slices.Equal(chain[1], made.Issuer().Raw)
	})
	learns(t, "the certificate of an issuer of another node", soon, func() bool {
		der := get(t, nodes[1], servertest.ClusterURL+"/ca/"+store.IssuerID(made.Issuer().SubjectKeyId)+".cer", nil)
		found, err := x509.ParseCertificate(der)
		return err == nil && found.Equal(made.Issuer())
	})
}

// TestDatabaseIsAway: while it is, nodes say so and ask clients to come back.
func TestDatabaseIsAway(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New()
	check(t, err)
	t.Cleanup(func() { check(t, server.Remove()) })
	node := servertest.StartCluster(t, server.Database(t), 1)[0]
	client := node.Client()
	if status, _ := readiness(t, node); status != http.StatusOK {
		t.Fatalf("not ready: %d", status)
	}
	server.Stop(syscall.SIGQUIT)
	began := time.Now()
	answer, err := client.Post(t.Context(), client.AccountURL, nil)
	if problem, ok := errors.AsType[*acmetest.Problem](err); !ok || problem.Status != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" || answer.Header.Get("Replay-Nonce") == "" {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("that took %s", took)
	}
	if status, text := readiness(t, node); status != http.StatusServiceUnavailable {
		t.Errorf("ready without a database: %d %s", status, text)
	}
	check(t, server.Start())
	learns(t, "that the database is back", 20*time.Second, func() bool {
		status, _ := readiness(t, node)
		return status == http.StatusOK
	})
	if _, err := client.Issue(t.Context(), acmetest.DNS("back.example.test"), newKey(t), "http-01", node.Web.HTTP01); err != nil {
		t.Error(err)
	}
}

func readiness(t *testing.T, node *servertest.CA) (status int, text string) {
	t.Helper()
	answer, err := node.HTTP.Get(servertest.ClusterURL + "/readyz")
	check(t, err)
	defer answer.Body.Close()
	return answer.StatusCode, answer.Status
}
