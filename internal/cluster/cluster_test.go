package cluster_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/internal/cluster"
	"chancery/internal/store"
	"chancery/internal/store/postgres"
	"chancery/internal/store/postgres/postgrestest"
)

var (
	server      *postgrestest.Server // one for all tests
	serverError error
	serverOnce  sync.Once
)

func TestMain(m *testing.M) {
	code := m.Run()
	if server != nil {
		_ = server.Remove()
	}
	os.Exit(code)
}

func database(t *testing.T) *postgres.Store {
	t.Helper()
	serverOnce.Do(func() { server, serverError = postgrestest.New() })
	check(t, serverError)
	opened, err := postgres.Open(t.Context(), postgres.Options{URL: server.Database(t), Connections: 8})
	check(t, err)
	t.Cleanup(func() { check(t, opened.Close()) })
	return opened
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition that comes true by itself.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("it did not come true that %s", what)
		}
	}
}

// line is a node's way to the store, which can be cut.
type line struct {
	*postgres.Store
	cut atomic.Bool
}

var errCut = errors.New("the line is cut")

func (l *line) TakeLease(ctx context.Context, name, holder string, life time.Duration) (store.Lease, error) {
	if l.cut.Load() {
		return store.Lease{}, errCut
	}
	return l.Store.TakeLease(ctx, name, holder, life)
}

func (l *line) GiveLease(ctx context.Context, lease store.Lease) error {
	if l.cut.Load() {
		return errCut
	}
	return l.Store.GiveLease(ctx, lease)
}

func (l *line) SeeNode(ctx context.Context, node store.Node) error {
	if l.cut.Load() {
		return errCut
	}
	return l.Store.SeeNode(ctx, node)
}

func (l *line) Versions(ctx context.Context) (map[store.Kind]int64, error) {
	if l.cut.Load() {
		return nil, errCut
	}
	return l.Store.Versions(ctx)
}

// member is a running node.
type member struct {
	*cluster.Member
	line     *line
	stop     func() // waits
	forgot   atomic.Int64
	reloaded atomic.Int64
	failing  atomic.Bool // reloads fail
}

func details(context.Context) cluster.Details {
	return cluster.Details{Ready: true, ExternalURL: "https://ca.test", Issuers: map[string]string{"default": "a"}}
}

func start(t *testing.T, at *postgres.Store, name string, life time.Duration, describe func(context.Context) cluster.Details, jobs ...string) *member {
	t.Helper()
	m := &member{line: &line{Store: at}}
	m.Member = cluster.New(cluster.Deps{
		Store: m.line, Name: name, Version: "0.6.0", Now: time.Now, Elapsed: time.Now, Log: slog.New(slog.DiscardHandler), Describe: describe, LeaseLife: life,
		Forget: map[store.Kind]func(){store.KindIncidents: func() { m.forgot.Add(1) }},
		Reload: map[store.Kind]func(context.Context) error{store.KindProvisioners: func(context.Context) error {
			m.reloaded.Add(1)
			if m.failing.Load() {
				return errCut
			}
			return nil
		}},
	})
	m.SetJobs(jobs)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }() // stop waits for it
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(m.stop)
	return m
}

func (m *member) holds(job string) bool {
	_, held := m.Held(job)
	return held
}

func TestOneNodeDoesAJob(t *testing.T) {
	t.Parallel()
	at := database(t)
	nodes := []*member{start(t, at, "a", 0, details, "x", "y"), start(t, at, "b", 0, details, "x", "y"), start(t, at, "c", 0, details, "y")}
	holders := func(job string) (held []*member) {
		for _, node := range nodes {
			if node.holds(job) {
				held = append(held, node)
			}
		}
		return held
	}
	for _, job := range []string{"x", "y"} {
		until(t, job+" is done by one", func() bool { return len(holders(job)) == 1 })
	}
	if nodes[2].holds("x") {
		t.Error("a node does a job that it is not ready for")
	}
	first := holders("x")[0]
	fence, _ := first.Held("x")
	stopped := time.Now()
	first.stop()
	if first.holds("x") {
		t.Error("a node that has ended holds a lease")
	}
	until(t, "the job of a node that was stopped is done by another", func() bool { return len(holders("x")) == 1 })
	if took := time.Since(stopped); took > 5*time.Second {
		t.Errorf("that took %s", took)
	}
	if next, _ := holders("x")[0].Held("x"); next.Token <= fence.Token {
		t.Errorf("the fence %+v follows %+v", next, fence)
	}
	until(t, "y is done by one, too, if the first had that", func() bool { return len(holders("y")) == 1 })
	moved := holders("y")[0]
	moved.SetJobs(nil)
	until(t, "a job that a node is no longer ready for is done by another", func() bool {
		return !moved.holds("y") && len(holders("y")) == 1
	})
}

func TestNodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	const life = 3 * time.Second
	at := database(t)
	first := start(t, at, "a", life, details, "x")
	until(t, "it does the job", func() bool { return first.holds("x") })
	second := start(t, at, "b", life, details, "x")
	fence, _ := first.Held("x")
	first.line.cut.Store(true)
	cut, both := time.Now(), false
	until(t, "the other does the job", func() bool {
		one := first.holds("x") // asked first: it must not hold it any more when the other does
		other := second.holds("x")
		both = both || one && other
		return other
	})
	if both {
		t.Error("both nodes thought that they do the job")
	}
	if took := time.Since(cut); took < life/2 || took > 2*life {
		t.Errorf("the job moved after %s", took)
	}
	if err := at.PublishList(t.Context(), store.RevocationList{IssuerID: "i", Number: 1}, 0, fence); fence.Lease == "" || !errors.Is(err, store.ErrFenced) && !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the node that was cut off can write: %v", err)
	}
	first.line.cut.Store(false)
	second.stop()
	until(t, "it does the job again", func() bool { return first.holds("x") })
}

func TestChangesAreSeen(t *testing.T) {
	t.Parallel()
	at := database(t)
	node := start(t, at, "a", 0, details)
	until(t, "all is read at first", func() bool { return node.forgot.Load() == 1 && node.reloaded.Load() == 1 })
	incident := store.Incident{ID: "1", Opened: time.Now(), RenewBy: time.Now(), Query: []byte("{}")}
	check(t, at.CreateIncident(t.Context(), incident))
	began := time.Now()
	until(t, "an incident is noticed", func() bool { return node.forgot.Load() == 2 })
	if took := time.Since(began); took > time.Second {
		t.Errorf("that took %s", took)
	}
	if node.reloaded.Load() != 1 {
		t.Error("what did not change was read again")
	}
	node.failing.Store(true)
	check(t, at.CreateProvisioner(t.Context(), store.Provisioner{Name: "p", Spec: []byte("{}"), Created: time.Now()}))
	until(t, "a reload that fails is tried again", func() bool { return node.reloaded.Load() >= 3 })
	node.failing.Store(false)
	check(t, at.CloseIncident(t.Context(), incident.ID, time.Now()))
	until(t, "an incident's end is noticed meanwhile", func() bool { return node.forgot.Load() == 3 })
	node.line.cut.Store(true)
	until(t, "nothing is kept while the store does not answer", func() bool { return node.forgot.Load() >= 5 })
}

func TestStatus(t *testing.T) {
	t.Parallel()
	at := database(t)
	a := start(t, at, "ca-1", 0, details, "tidy")
	b := start(t, at, "ca-2", 0, details, "tidy")
	status := func() cluster.Status {
		status, err := cluster.Look(t.Context(), at)
		check(t, err)
		return status
	}
	until(t, "both are there", func() bool { return len(status().Nodes) == 2 && len(status().Leases) == 1 })
	found := status()
	if len(found.Warnings) > 0 || found.Store != cluster.PostgreSQL || found.Nodes[0].Name != "ca-1" || found.Nodes[0].ID != a.ID() ||
		found.Nodes[1].ID != b.ID() || !found.Nodes[0].Ready || len(found.Nodes[0].Leases)+len(found.Nodes[1].Leases) != 1 {
		t.Errorf("%+v", found)
	}
	b.stop()
	until(t, "one that was stopped is gone", func() bool { return len(status().Nodes) == 1 })
}

// TestWarnings has nodes that don't go together.
func TestWarnings(t *testing.T) {
	t.Parallel()
	at := database(t)
	now := time.Now()
	see := func(name, version string, clock time.Time, details string) {
		check(t, at.SeeNode(t.Context(), store.Node{ID: name + version, Name: name, Version: version, Started: now, Clock: clock, Details: []byte(details)}))
	}
	see("a", "0.6.0", now, `{"ready": true, "external_url": "https://x", "issuers": {"default": "1"}, "settings": {"acme": "1", "policy": "1"}, "jobs": ["tidy"]}`)
	see("b", "0.7.1", now.Add(-time.Minute), `{"ready": true, "external_url": "https://x", "issuers": {"default": "1"}, "settings": {"acme": "1", "policy": "1"}}`)
	see("c", "0.8.0", now, `{"ready": false, "reason": "no signer", "external_url": "https://y", "issuers": {"default": "2", "mesh": "3"}, "settings": {"acme": "1", "policy": "2"}}`)
	see("c", "dev", now, `[]`)
	found, err := cluster.Look(t.Context(), at)
	check(t, err)
	all := strings.Join(found.Warnings, "\n")
	for _, want := range []string{
		"the clock of b is -1m", "c can't issue: no signer", "external_url differs: ", "a, b has https://x; c has https://y",
		"the settings of policy differ between ", "certificate of the issuer default differs", "c has 3; a, b has none",
		"the versions 0.6.0 and 0.8.0 should not", "the versions 0.6.0 and dev should not", "2 nodes are called c", "nobody does the job tidy",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing is said of %q:\n%s", want, all)
		}
	}
	for _, wrong := range []string{"0.7.1 and 0.8.0", "0.6.0 and 0.7.1", "settings of acme", "can't issue: \n", "has ;"} {
		if strings.Contains(all, wrong) {
			t.Errorf("%q is said:\n%s", wrong, all)
		}
	}
}

// listed is a store that only tells of nodes.
type listed struct {
	cluster.Store
	nodes []store.Node
	now   time.Time
}

func (l listed) ListNodes(context.Context) ([]store.Node, time.Time, error) {
	return l.nodes, l.now, nil
}
func (l listed) ListLeases(context.Context) ([]store.Lease, error) { return nil, nil }

func TestMissingNodes(t *testing.T) {
	now := time.Now()
	node := func(id, name string, age time.Duration) store.Node {
		at := now.Add(-age)
		return store.Node{ID: id, Name: name, Version: "0.6.0", Started: at, Clock: at, Seen: at, Details: []byte(`{"ready": true}`)}
	}
	found, err := cluster.Look(t.Context(), listed{now: now, nodes: []store.Node{
		node("killed", "a", time.Minute), node("again", "a", time.Second), node("gone", "b", time.Minute), node("c", "c", 14*time.Second),
	}})
	check(t, err)
	var ids []string
	for _, one := range found.Nodes {
		ids = append(ids, one.ID)
	}
	if !slices.Equal(ids, []string{"again", "gone", "c"}) || !found.Nodes[1].Missing || found.Nodes[2].Missing {
		t.Errorf("%+v", found.Nodes)
	}
	if len(found.Warnings) != 1 || !strings.Contains(found.Warnings[0], "the node b (gone) was not seen for 1m0s") {
		t.Errorf("%q", found.Warnings)
	}
}
