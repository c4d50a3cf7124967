package storetest

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// NewID is an identifier for a record.
func NewID(t testing.TB) string {
	id, err := store.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Error(err)
	}
	return id
}

// NewAccount is a valid account that is not stored.
func NewAccount(t testing.TB) store.Account {
	id := NewID(t)
	return store.Account{
		ID: id, Key: store.AccountKey{Thumbprint: "key of " + id, JWK: []byte(`{"kty":"EC"}`)},
		Status: store.AccountValid, Created: time.Now(),
	}
}

// NewOrder is an order of one name with a fresh authorization, not stored.
func NewOrder(t testing.TB, accountID, name string, now time.Time) store.Order {
	id := identifier.Identifier{Type: identifier.DNS, Value: name}
	return store.Order{
		ID: NewID(t), AccountID: accountID, Profile: "tls-server", Identifiers: []identifier.Identifier{id}, Created: now,
		Expires: now.Add(time.Hour), Authorizations: []store.Authorization{{
			ID: NewID(t), AccountID: accountID, Identifier: id, Token: NewID(t), Methods: []string{"http-01", "dns-01", "tls-alpn-01"},
			State: store.AuthorizationPending, Created: now, Expires: now.Add(time.Hour),
		}},
	}
}

// NewCertificate is a certificate of an order, as large as usual, that says
// nothing.
func NewCertificate(t testing.TB, order *store.Order, now time.Time) store.Certificate {
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

// Issue takes an order of one name from its creation to its certificate, with
// the questions that ACME asks meanwhile.
func Issue(t testing.TB, s store.Store, accountID, name string) (orderID string, key store.CertificateKey, err error) {
	ctx, now := context.Background(), time.Now()
	order := NewOrder(t, accountID, name, now)
	certificate := NewCertificate(t, &order, now)
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
			return order.ID, certificate.CertificateKey, err
		}
	}
	return order.ID, certificate.CertificateKey, nil
}

// IssueMany issues so many certificates to a new account, each for a name of its
// own.
func IssueMany(t testing.TB, s store.Store, n int) {
	t.Helper()
	account := NewAccount(t)
	if _, _, err := s.CreateAccount(context.Background(), account); err != nil {
		t.Fatal(err)
	}
	if err := inParallel(int64(n), func(int64) error {
		_, _, err := Issue(t, s, account.ID, rand.Text()+".example")
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// Benchmark runs f b.N times in 64 goroutines and reports runs by second and
// the CPU time of one.
func Benchmark(b *testing.B, unit string, f func(i int64) error) {
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu()
	err := inParallel(int64(b.N), f)
	b.StopTimer()
	if err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit+"/s")
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-µs/"+unit)
}

// inParallel calls f n times, in 64 goroutines, and returns its first error.
func inParallel(n int64, f func(i int64) error) (first error) {
	var next atomic.Int64
	var group sync.WaitGroup
	var once sync.Once
	for range 64 {
		group.Go(func() {
			for i := next.Add(1); i <= n; i = next.Add(1) {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					return
				}
			}
		})
	}
	group.Wait()
	return first
}

// cpu is what the process has used, in user and system mode.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
