package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chancery/internal/ca"
	"chancery/internal/config"
	"chancery/internal/identifier"
	"chancery/internal/policy"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// fakeRoad issues certificates that are valid for 90 days, or fails.
type fakeRoad struct {
	mu     sync.Mutex
	err    error        // guarded by mu
	issued []ca.Request // guarded by mu
}

func (f *fakeRoad) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeRoad) requests() []ca.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.issued
}

func (f *fakeRoad) Allows(_ context.Context, q policy.Question) error {
	if q.Identifiers[0].Value == "forbidden.corp" {
		return errors.New("forbidden")
	}
	return nil
}

func (f *fakeRoad) Issue(_ context.Context, req ca.Request) (store.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return store.Certificate{}, f.err
	}
	f.issued = append(f.issued, req)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return store.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().AddDate(0, 0, 90)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	first := store.CertificateKey{Serial: serial.Number{19: 1}}
	return store.Certificate{CertificateKey: first, DER: der, NotBefore: template.NotBefore, NotAfter: template.NotAfter, Issued: template.NotBefore}, err
}

func dns(name string) identifier.Identifier {
	return identifier.Identifier{Type: identifier.DNS, Value: name}
}

func TestOwnCertificateIsRenewedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		road := &fakeRoad{}
		own := newOwnCertificate(road, func(string) [][]byte { return nil }, time.Now, slog.New(slog.DiscardHandler))
		own.setNames([]identifier.Identifier{dns("ca.corp"), dns("forbidden.corp")})
		if err := own.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if names := road.requests()[0].Identifiers; !slices.Equal(names, []identifier.Identifier{dns("ca.corp")}) {
			t.Errorf("issued for %v", names)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- own.run(ctx) }()

		days := func(n time.Duration) { <-time.After(n * 24 * time.Hour); synctest.Wait() }
		if days(59); len(road.requests()) != 1 {
			t.Error("renewed before two thirds of its life were over")
		}
		road.fail(errors.New("the signer is away"))
		if days(2); len(road.requests()) != 1 {
			t.Error("renewed by a signer that is away")
		}
		if leaf, _ := own.get(nil); leaf == nil {
			t.Error("the old certificate is gone")
		}
		road.fail(nil)
		if days(1); len(road.requests()) != 2 {
			t.Errorf("issued %d times, want 2", len(road.requests()))
		}
		own.setNames([]identifier.Identifier{dns("new.corp")})
		if synctest.Wait(); len(road.requests()) != 3 || road.requests()[2].Identifiers[0] != dns("new.corp") {
			t.Error("new names did not make a new certificate")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestOwnNames(t *testing.T) {
	for _, test := range []struct {
		set       []string
		listening string
		want      []string
	}{
		{nil, "127.0.0.1:9443", []string{"localhost", "127.0.0.1", "::1"}},
		{[]string{"listen=0.0.0.0:443", "names=ca.corp"}, "[::]:443", []string{"ca.corp", "localhost", "127.0.0.1", "::1"}},
		{[]string{"listen=10.0.0.1:443"}, "10.0.0.1:443", []string{"10.0.0.1"}},
		{[]string{"listen=10.0.0.1:443", "external_url=https://acme.corp", "former_urls=https://old.corp:9443"}, "10.0.0.1:443", []string{"acme.corp", "old.corp", "10.0.0.1"}},
	} {
		c, err := config.Load(config.LoadOptions{Dir: t.TempDir(), Set: test.set})
		if err != nil {
			t.Fatal(err)
		}
		address, err := net.ResolveTCPAddr("tcp", test.listening)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range ownNames(c, address) {
			got = append(got, name.Value)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.set, got, test.want)
		}
	}
}

func TestTidyCutoff(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	c, err := config.Load(config.LoadOptions{Dir: t.TempDir(), Set: []string{"retention.orders=1d", "retention.authorizations=2d"}})
	if err != nil {
		t.Fatal(err)
	}
	got := tidyCutoff(c.Retention, now)
	if want := (store.TidyCutoff{
		Orders: now.AddDate(0, 0, -1), Authorizations: now.AddDate(0, 0, -2), Tokens: now.Add(-time.Hour), Nonces: now.Add(-2 * time.Hour), Limits: now,
	}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestOwnCertificateThatIsRevoked, with many others, say, is replaced at once.
func TestOwnCertificateThatIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		road := &fakeRoad{}
		own := newOwnCertificate(road, func(string) [][]byte { return nil }, time.Now, slog.New(slog.DiscardHandler))
		own.setNames([]identifier.Identifier{dns("ca.corp")})
		if err := own.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- own.run(ctx) }()
		own.revoked([]store.CertificateKey{{Serial: serial.Number{19: 2}}})
		synctest.Wait()
		if got := len(road.requests()); got != 1 {
			t.Errorf("it was renewed %d times for another's sake", got-1)
		}
		own.revoked([]store.CertificateKey{{Serial: serial.Number{19: 1}}})
		synctest.Wait()
		if got := len(road.requests()); got != 2 {
			t.Errorf("there were %d requests", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// laterToday is when an incident wants everything renewed that was issued
// before.
type laterToday time.Time

func (l laterToday) Window(_ context.Context, c *store.Certificate, _ time.Time) (start, end time.Time, explanation string) {
	start = time.Time(l)
	if !c.Issued.Before(start) {
		start = c.NotAfter
	}
	return start, start.Add(time.Hour), ""
}

func TestOwnCertificateInAnIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		road := &fakeRoad{}
		own := newOwnCertificate(road, func(string) [][]byte { return nil }, time.Now, slog.New(slog.DiscardHandler))
		own.windows = laterToday(time.Now().Add(3 * time.Hour))
		own.setNames([]identifier.Identifier{dns("ca.corp")})
		if err := own.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- own.run(ctx) }()
		for hours, want := range []int{1, 1, 1, 2, 2} {
			synctest.Wait()
			if got := len(road.requests()); got != want {
				t.Errorf("after %d hours there were %d requests, want %d", hours, got, want)
			}
			<-time.After(time.Hour + time.Second)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
