package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chancery/internal/store"
	"chancery/internal/store/postgres/postgrestest"
	"chancery/internal/store/storetest"
)

// TestKill kills the server in the middle of load, five times. The load goes
// on through it without an error, and every acknowledged step is there.
func TestKill(t *testing.T) {
	t.Parallel()
	server, err := postgrestest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Remove()
	})
	s := openAt(t, Options{URL: server.Database(t), Connections: 8, Deadline: time.Minute})
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	l := &load{store: s, account: account.ID}
	l.start(t, 8)
	for range 5 {
		l.wait(t, 20)
		server.Stop(syscall.SIGKILL)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	l.wait(t, 20)
	l.stop()
	l.check(t)
}

// TestConnectionsCut cuts connections between the request and the answer, at
// random moments and so at COMMIT, too. No step fails or happens twice.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	server := theServer(t)
	url := server.Database(t)
	p := newProxy(t, server)
	s := openAt(t, Options{URL: strings.Replace(url, fmt.Sprint(server.Port), fmt.Sprint(p.port), 1), Connections: 4, Deadline: time.Minute})
	account := storetest.NewAccount(t)
	if _, _, err := s.CreateAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	p.every.Store(37)
	l := &load{store: s, account: account.ID}
	l.start(t, 4)
	l.wait(t, 300)
	l.stop()
	p.every.Store(0)
	l.check(t)
	if p.cut.Load() < 10 {
		t.Errorf("only %d connections were cut", p.cut.Load())
	}
	counts, err := s.CountCertificates(t.Context(), "", "", time.Now())
	if err != nil || counts.Valid != len(l.issued) {
		t.Errorf("%+v certificates are counted, want %d (%v)", counts, len(l.issued), err)
	}
}

// TestSilentServer has a server that accepts and never answers: steps end at
// the store's deadline.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	server := theServer(t)
	url := server.Database(t)
	_ = openAt(t, Options{URL: url}).Close() // the first takes longer
	p := newProxy(t, server)
	s := openAt(t, Options{URL: strings.Replace(url, fmt.Sprint(server.Port), fmt.Sprint(p.port), 1), Connections: 2, Deadline: 2 * time.Second})
	p.silent.Store(true)
	begun := time.Now()
	_, err := s.Account(t.Context(), "a")
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the error is %v", err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the error is %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("two steps took %s", took)
	}
}

// TestLostInTransaction loses a node while it has a transaction open under a
// lease, without a word to the server: another has the lease when it has ended.
func TestLostInTransaction(t *testing.T) {
	t.Parallel()
	url := theServer(t).Database(t)
	lost := openAt(t, Options{URL: url, Deadline: time.Second})
	other := openAt(t, Options{URL: url, Deadline: 8 * time.Second})
	lease, err := lost.TakeLease(t.Context(), "job", "a", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	taken := store.ErrClaimed
	err = update(t.Context(), lost, "test", func(c *conn) error {
		if err := c.run(fencing(lease.Fence())...); err != nil {
			return err
		}
		for errors.Is(taken, store.ErrClaimed) {
			_, taken = other.TakeLease(t.Context(), "job", "b", time.Second)
		}
		return nil
	})
	if taken != nil {
		t.Errorf("the other node does not get the lease: %v", taken)
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the step of the node that was lost: %v", err)
	}
}

// load issues certificates until it is stopped, and remembers what was
// acknowledged.
type load struct {
	store   *Store
	account string
	suffers bool         // the server may say that it can't answer now
	failed  atomic.Int64 // how often it did
	done    atomic.Int64
	ended   atomic.Bool
	group   sync.WaitGroup
	mu      sync.Mutex
	issued  map[string]store.CertificateKey // by order; guarded by mu
}

func (l *load) start(t *testing.T, workers int) {
	t.Cleanup(l.stop)
	l.issued = map[string]store.CertificateKey{}
	for worker := range workers {
		l.group.Go(func() {
			for i := 0; !l.ended.Load(); i++ {
				id, key, err := storetest.Issue(t, l.store, l.account, fmt.Sprintf("host%d-%d.example", worker, i))
				if l.suffers && errors.Is(err, store.ErrUnavailable) {
					l.failed.Add(1)
					<-time.After(time.Millisecond)
					continue
				}
				if err != nil {
					t.Error(err)
					l.ended.Store(true)
					return
				}
				l.mu.Lock()
				l.issued[id] = key
				l.mu.Unlock()
				l.done.Add(1)
			}
		})
	}
}

// wait returns when so many more have been issued.
func (l *load) wait(t *testing.T, more int64) {
	t.Helper()
	for want := l.done.Load() + more; l.done.Load() < want; {
		if l.ended.Load() || t.Context().Err() != nil {
			t.Fatal("the load has ended")
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (l *load) stop() {
	l.ended.Store(true)
	l.group.Wait()
}

func (l *load) check(t *testing.T) {
	t.Helper()
	for id, key := range l.issued {
		order, err := l.store.Order(t.Context(), id)
		if err != nil || order.Certificate == nil || *order.Certificate != key {
			t.Errorf("order %s was acknowledged, but is %+v (%v)", id, order, err)
		}
		if c, err := l.store.Certificate(t.Context(), key); err != nil || c.Owner.ID != id {
			t.Errorf("certificate %s was acknowledged, but is %+v (%v)", key.Serial, c, err)
		}
	}
	left, err := l.store.Intents(t.Context(), time.Now().Add(time.Hour), 10)
	if err != nil || len(left) > 0 {
		t.Errorf("%d intents are left over (%v)", len(left), err)
	}
}

// proxy stands between store and server and can cut connections.
type proxy struct {
	port   int
	target string
	every  atomic.Int64 // cut at each answer of that number; 0 for none
	answer atomic.Int64
	cut    atomic.Int64
	silent atomic.Bool // answers are kept back
}

func newProxy(t *testing.T, s *postgrestest.Server) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	p := &proxy{port: listener.Addr().(*net.TCPAddr).Port, target: fmt.Sprintf("127.0.0.1:%d", s.Port)}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

func (p *proxy) serve(client net.Conn) {
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	defer func() { _ = client.Close() }()
	for buf := make([]byte, 64<<10); ; {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if p.silent.Load() {
			continue
		}
		if every := p.every.Load(); every > 0 && p.answer.Add(1)%every == 0 {
			p.cut.Add(1) // what was asked for was done: that is what the answer says
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestMigrateRefusesNewer checks that a database that a later version has
// taken for itself is left alone, and one that it shares is not.
func TestMigrateRefusesNewer(t *testing.T) {
	t.Parallel()
	url := theServer(t).Database(t)
	_ = openAt(t, Options{URL: url}).Close()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	for oldest, want := range map[int]bool{1: true, 99: false} {
		if _, err := c.Exec(t.Context(), "UPDATE chancery_schema SET version = 99, oldest = $1", oldest); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), Options{URL: url})
		if (err == nil) != want {
			t.Errorf("with schemas from %d on: %v", oldest, err)
		}
		if err == nil {
			_ = s.Close()
		}
	}
}
