package sqlite

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/store"
)

func openTest(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "chancery.db"), Readers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		checkRecent(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newID(t testing.TB) string {
	id, err := store.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Error(err)
	}
	return id
}

func pidText() string { return strconv.Itoa(os.Getpid()) }

// cpu is what the process has used, in user and system mode.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// parallel runs f b.N times in 64 goroutines and reports runs by second and
// the CPU time of one.
func parallel(b *testing.B, unit string, f func(i int64) error) {
	var next atomic.Int64
	var group sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu()
	for range 64 {
		group.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit+"/s")
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-µs/"+unit)
}

func testAccount(t testing.TB) store.Account {
	id := newID(t)
	return store.Account{
		ID: id, Key: store.AccountKey{Thumbprint: "key of " + id, JWK: []byte(`{"kty":"EC"}`)},
		Status: store.AccountValid, Created: time.Now(),
	}
}

// BenchmarkWriters is the smallest durable step, from 64 goroutines.
func BenchmarkWriters(b *testing.B) {
	s := openTest(b)
	parallel(b, "tx", func(int64) error {
		_, _, err := s.CreateAccount(b.Context(), testAccount(b))
		return err
	})
}

// BenchmarkIssuance is what one certificate over ACME asks of the store: four
// durable steps and the usual reads.
func BenchmarkIssuance(b *testing.B) {
	s := openTest(b)
	account := testAccount(b)
	if _, _, err := s.CreateAccount(b.Context(), account); err != nil {
		b.Fatal(err)
	}
	parallel(b, "cert", func(int64) error {
		_, err := issue(b, s, account.ID, rand.Text()+".example")
		return err
	})
}

// issue takes an order of one name from its creation to its certificate.
func issue(t testing.TB, s *Store, accountID, name string) (orderID string, err error) {
	ctx, now := context.Background(), time.Now()
	order := testOrder(t, accountID, name, now)
	certificate := testCertificate(t, &order, now)
	authzID := order.Authorizations[0].ID
	for _, step := range []func() error{
		func() error { _, err := s.ValidAuthorizations(ctx, accountID, order.Identifiers, now); return err },
		func() error { _, _, err := s.CreateOrder(ctx, order, order.Authorizations); return err },
		func() error { _, err := s.Authorization(ctx, authzID); return err },
		func() error {
			return s.FinishAuthorization(ctx, authzID, store.Outcome{
				Method: "http-01", Settled: now, Expires: now.Add(8 * time.Hour),
				Attempt: &store.Attempt{Method: "http-01", Started: now, Took: time.Millisecond, Transcript: []byte(`[{"url":"http://a.example"}]`)},
			})
		},
		func() error { _, err := s.Order(ctx, order.ID); return err },
		func() error {
			return s.BeginIssuance(ctx, store.Intent{
				CertificateKey: certificate.CertificateKey, Owner: certificate.Owner, TBS: certificate.DER,
				Request: certificate.DER[:600], Attempt: 1, Created: now, Deadline: now.Add(time.Minute),
			})
		},
		func() error { return s.CompleteIssuance(ctx, certificate) },
		func() error { _, err := s.Order(ctx, order.ID); return err },
		func() error { _, err := s.Certificate(ctx, certificate.CertificateKey); return err },
	} {
		if err := step(); err != nil {
			return order.ID, err
		}
	}
	return order.ID, nil
}

func testOrder(t testing.TB, accountID, name string, now time.Time) store.Order {
	id := identifier.Identifier{Type: identifier.DNS, Value: name}
	return store.Order{
		ID: newID(t), AccountID: accountID, Profile: "tls-server", Identifiers: []identifier.Identifier{id}, Created: now,
		Expires: now.Add(time.Hour), Authorizations: []store.Authorization{{
			ID: newID(t), AccountID: accountID, Identifier: id, Token: newID(t), Methods: []string{"http-01", "dns-01", "tls-alpn-01"},
			State: store.AuthorizationPending, Created: now, Expires: now.Add(time.Hour),
		}},
	}
}

func testCertificate(t testing.TB, order *store.Order, now time.Time) store.Certificate {
	n, err := serial.New(now, rand.Reader)
	if err != nil {
		t.Error(err)
	}
	der := make([]byte, 800)
	_, _ = rand.Read(der)
	return store.Certificate{
		CertificateKey: store.CertificateKey{IssuerID: "0123456789abcdef", Serial: n}, Owner: store.Owner{Kind: store.OwnerOrder, ID: order.ID},
		AccountID: order.AccountID, Requester: "acme:" + order.AccountID, Profile: "tls-server", Rule: "default", Identifiers: order.Identifiers,
		DER: der, Fingerprint: [32]byte(der[:32]), NotBefore: now, NotAfter: now.Add(90 * 24 * time.Hour), Issued: now,
	}
}
