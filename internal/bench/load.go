package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is one run: what its clients share. Fields without a lock don't change
// once the load begins.
type load struct {
	*Config
	names     *namer
	answers   *answers
	directory directory
	clients   []*client
	meter     meter

	began   time.Time
	tickets atomic.Int64 // orders that were given out to clients
}

func newLoad(c *Config) (*load, error) {
	var random [8]byte
	if _, err := io.ReadFull(c.Rand, random[:]); err != nil {
		return nil, fmt.Errorf("couldn't choose names: %w", err)
	}
	names, err := newNamer(c.Domain, c.Names, binary.BigEndian.Uint64(random[:])>>24)
	if err != nil {
		return nil, err
	}
	return &load{Config: c, names: names, answers: newAnswers(), meter: meter{failures: map[string]Failure{}}}, nil
}

// prepare does what is not measured: it finds the directory, registers the
// accounts, makes the keys, connects all clients and has a nonce for each.
func (l *load) prepare(ctx context.Context) error {
	for range l.Clients {
		key, err := ecdsa.GenerateKey(elliptic.P256(), l.Rand)
		if err != nil {
			return fmt.Errorf("couldn't make a key: %w", err)
		}
		csrs, err := newRequester(l.Rand, key)
		if err != nil {
			return err
		}
		l.clients = append(l.clients, &client{load: l, csrs: csrs, http: l.newHTTPClient()})
	}
	if err := l.clients[0].findDirectory(ctx); err != nil {
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	for i, c := range l.clients {
		work.Go(func() error { return c.setUp(ctx, i) })
	}
	if err := work.Wait(); err != nil {
		return err
	}
	l.shareAccounts()
	return nil
}

// newHTTPClient has one kept connection of its own. HTTP/1.1 costs both sides
// less than HTTP/2 for requests that follow each other.
func (l *load) newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:              http.ProxyFromEnvironment,
		TLSClientConfig:    &tls.Config{RootCAs: l.Roots, MinVersion: tls.VersionTLS12},
		DisableCompression: true,
	}}
}

// setUp registers the accounts number, number+Clients and so on.
func (c *client) setUp(ctx context.Context, number int) error {
	for ; number < c.Accounts; number += c.Clients {
		registered, err := c.register(ctx)
		if err != nil {
			return fmt.Errorf("couldn't register an account: %w", err)
		}
		c.accounts = append(c.accounts, registered)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	nonce, err := c.nonce(ctx)
	if err != nil {
		return fmt.Errorf("couldn't get a nonce: %w", err)
	}
	c.nonces = append(c.nonces, nonce)
	return nil
}

// register makes an account (RFC 8555 §7.3).
func (c *client) register(ctx context.Context) (*account, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	made, err := newAccount(c.Rand)
	if err != nil {
		return nil, err
	}
	payload := map[string]any{"termsOfServiceAgreed": true}
	if c.EAB.KeyID != "" {
		binding, err := made.bind(c.directory.NewAccount, c.EAB)
		if err != nil {
			return nil, err
		}
		payload["externalAccountBinding"] = binding
	}
	got, err := c.post(ctx, made, c.directory.NewAccount, payload)
	if err != nil {
		return nil, err
	}
	if made.url = got.header.Get("Location"); made.url == "" {
		return nil, fmt.Errorf("no account URL in the answer: %w", errAnswer)
	}
	return made, nil
}

// shareAccounts gives those who have no account of their own one of another's.
func (l *load) shareAccounts() {
	for i, c := range l.clients[min(l.Accounts, l.Clients):] {
		c.accounts = l.clients[i%l.Accounts].accounts
	}
}

func (l *load) close() {
	for _, c := range l.clients {
		c.http.CloseIdleConnections()
	}
}

// run puts the server under load until the end of the count or the time, or
// until ctx is done.
func (l *load) run(ctx context.Context) (*Result, error) {
	before, err := l.serverUsage()
	if err != nil {
		return nil, err
	}
	own := ownCPU()
	l.began = l.Now()
	stopReporting := l.startReporting()
	var work sync.WaitGroup
	for _, c := range l.clients {
		work.Go(func() { c.work(ctx) })
	}
	work.Wait()
	stopReporting()
	r := l.meter.result(l.began)
	r.Client = ownCPU() - own
	r.Interrupted = ctx.Err() != nil
	r.Late = l.late(l.Now().Sub(l.began))
	after, err := l.serverUsage()
	if err == nil && l.PID != 0 {
		r.Server = &ServerUsage{CPU: after.cpu - before.cpu, Peak: after.peak}
	}
	return r, nil // a server that is gone by now is not measured
}

func (l *load) serverUsage() (usage, error) {
	if l.PID == 0 {
		return usage{}, nil
	}
	return usageOf(l.PID)
}

// reportInterval is the time between two reports.
const reportInterval = 250 * time.Millisecond

// startReporting reports until the function it returns is called, which
// reports once more.
func (l *load) startReporting() (stop func()) {
	if l.Report == nil {
		return func() {}
	}
	quit := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		ticker := time.NewTicker(reportInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				l.Report(l.meter.snapshot(l.Now().Sub(l.began)))
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		reporting.Wait()
		l.Report(l.meter.snapshot(l.Now().Sub(l.began)))
	}
}

// networkPause is how long a client waits after it could not reach the server,
// so that one that is down doesn't fill the measurement.
const networkPause = 100 * time.Millisecond

// work issues until there is no more to begin.
func (c *client) work(ctx context.Context) {
	for {
		number, intended, ok := c.next(ctx)
		if !ok {
			return
		}
		limited, cancel := context.WithTimeout(ctx, c.Timeout)
		err := c.issue(limited, c.names.of(number))
		cancel()
		if ctx.Err() != nil {
			return // given up: neither a success nor a failure
		}
		ended := c.Now()
		c.meter.record(ended, ended.Sub(intended), err)
		if err != nil && c.Rate == 0 && isNetwork(err) {
			_ = pause(ctx, networkPause) // next looks at ctx
		}
	}
}

// next waits until the next order is to begin. Latency counts from intended:
// with a rate that is a moment of the schedule, whether a client was free or
// not, so that a slow server can't hide what it makes others wait.
func (l *load) next(ctx context.Context) (number int, intended time.Time, ok bool) {
	number = int(l.tickets.Add(1) - 1)
	now := l.Now()
	if intended = now; l.Rate > 0 {
		intended = l.began.Add(l.offset(number))
	}
	if l.Count > 0 && number >= l.Count || l.For > 0 && max(intended.Sub(l.began), now.Sub(l.began)) >= l.For {
		l.tickets.Add(-1) // not begun
		return 0, time.Time{}, false
	}
	if pause(ctx, intended.Sub(now)) != nil {
		return 0, time.Time{}, false
	}
	return number, intended, true
}

// offset is when an order is to begin, from the beginning of the load on.
func (l *load) offset(number int) time.Duration {
	return time.Duration(float64(number) / l.Rate * float64(time.Second))
}

// late is how many orders were to begin by now and have not.
func (l *load) late(now time.Duration) int {
	if l.Rate == 0 {
		return 0
	}
	if l.For > 0 {
		now = min(now, l.For)
	}
	due := int(math.Ceil(now.Seconds() * l.Rate))
	if l.Count > 0 {
		due = min(due, l.Count)
	}
	return max(due-int(l.tickets.Load()), 0)
}
