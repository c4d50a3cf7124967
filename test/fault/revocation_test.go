package fault

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chancery/internal/admin"
)

// listURL is what the CA of this test is told that relying parties reach it by.
const listURL = "http://ca.example.test"

// relyingParty reads revocation lists, again and again.
type relyingParty struct {
	ca     *authority
	issuer *x509.Certificate
	paths  []string

	mu      sync.Mutex
	numbers map[string]*big.Int // the last ones seen, by path; guarded by mu
}

// TestKillWhilePublishing kills the server while it revokes and publishes. Who
// reads its lists never sees a broken one, nor one older than before; and what
// was acknowledged as revoked is listed soon after the server is back.
func TestKillWhilePublishing(t *testing.T) {
	t.Parallel()
	proofs := newTarget(t)
	ca := newAuthority(t, proofs, "log.level=warn", "http_url="+listURL, "revocation.list_size=20")
	ca.start(t)
	l := newLoad(t, ca, proofs)
	for _, err := range l.burst(t, trigger{count: 150}, func() { l.enough.Store(true) }) {
		t.Fatal(err)
	}
	p := newRelyingParty(t, ca, l.tickets)
	todo, acknowledged := l.tickets, []string{}
	for round := 0; round < 6 && len(todo) > 0; round++ {
		var done []string
		done, todo = p.revokeUntilKilled(t, todo)
		acknowledged = append(acknowledged, done...)
		ca.start(t)
		ca.await(t, "the revocations to be listed", func() error { return p.misses(acknowledged) })
	}
	t.Logf("%d revocations acknowledged, lists %v", len(acknowledged), p.numbers)
}

func newRelyingParty(t *testing.T, ca *authority, tickets []*ticket) *relyingParty {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(ca.dir, "intermediate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	issuer, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	p := &relyingParty{ca: ca, issuer: issuer, numbers: map[string]*big.Int{}}
	for _, k := range tickets {
		if k.leaf == nil {
			continue
		}
		path := strings.TrimPrefix(k.leaf.CRLDistributionPoints[0], listURL)
		if !slices.Contains(p.paths, path) {
			p.paths = append(p.paths, path)
		}
	}
	return p
}

// revokeUntilKilled revokes certificates while lists are read, and kills the
// server at some moment of the second in which it publishes.
func (p *relyingParty) revokeUntilKilled(t *testing.T, todo []*ticket) (acknowledged []string, left []*ticket) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { acknowledged, left = p.revoke(ctx, todo) })
	work.Go(func() { p.keepReading(ctx, t) })
	<-time.After(time.Duration(900+rand.IntN(300)) * time.Millisecond)
	p.ca.kill()
	cancel()
	work.Wait()
	return acknowledged, left
}

// keepReading reads the lists until ctx is done.
func (p *relyingParty) keepReading(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		for _, path := range p.paths {
			if _, err := p.read(path); err != nil && !errors.Is(err, errNoAnswer) {
				t.Error(err)
			}
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// revoke revokes one certificate after the other until the server is gone.
func (p *relyingParty) revoke(ctx context.Context, todo []*ticket) (acknowledged []string, left []*ticket) {
	client := admin.Dial(filepath.Join(p.ca.dir, "admin.sock"))
	defer func() { _ = client.Close() }()
	for i, k := range todo {
		if k.leaf == nil {
			continue
		}
		if _, err := client.RevokeCertificate(ctx, k.serial(), "superseded"); err != nil {
			return acknowledged, todo[i+1:]
		}
		acknowledged = append(acknowledged, k.serial())
		select {
		case <-time.After(20 * time.Millisecond): // so that every second has some
		case <-ctx.Done():
		}
	}
	return acknowledged, nil
}

// errNoAnswer is of a server that is gone, or not yet there.
var errNoAnswer = errors.New("the server does not answer")

// read reads a list and checks it, and that it is no older than the one before.
func (p *relyingParty) read(path string) (*x509.RevocationList, error) {
	status, body := p.ca.get(path)
	if status == 0 {
		return nil, errNoAnswer
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d: %s", path, status, body)
	}
	list, err := x509.ParseRevocationList([]byte(body))
	if err == nil {
		err = list.CheckSignatureFrom(p.issuer)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is broken: %w", path, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.numbers[path]; last != nil && list.Number.Cmp(last) < 0 {
		return nil, fmt.Errorf("%s: after list %s came %s", path, last, list.Number)
	}
	p.numbers[path] = list.Number
	return list, nil
}

// misses says which of the serial numbers is in none of the lists.
func (p *relyingParty) misses(serials []string) error {
	listed := map[string]bool{}
	for _, path := range p.paths {
		list, err := p.read(path)
		if err != nil {
			return err
		}
		for _, entry := range list.RevokedCertificateEntries {
			listed[fmt.Sprintf("%040x", entry.SerialNumber)] = true
		}
	}
	for _, serial := range serials {
		if !listed[serial] {
			return fmt.Errorf("%s is in none of the lists", serial)
		}
	}
	return nil
}
