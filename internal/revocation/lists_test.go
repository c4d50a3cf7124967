package revocation

import (
	"context"
	"encoding/asn1"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"chancery/internal/failure"
	"chancery/internal/issuer"
	"chancery/internal/store"
)

// issuingDistributionPoint is that extension as a stranger reads it (RFC 5280
// §5.2.5).
type issuingDistributionPoint struct {
	DistributionPoint struct {
		FullName []asn1.RawValue `asn1:"optional,tag:0"`
	} `asn1:"optional,tag:0"`
	OnlyUserCerts bool `asn1:"optional,tag:1"`
	OnlyCACerts   bool `asn1:"optional,tag:2"`
}

func TestRevocationIsListed(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	good, goodLeaf := a.issue("tls-server")
	bad, badLeaf := a.issue("tls-server")
	if good.Partition != 1 || bad.Partition != 1 {
		t.Fatalf("they are in partitions %d and %d, want 1", good.Partition, bad.Partition)
	}
	a.revoke(bad, 1)
	before := a.list(1)
	if len(before.RevokedCertificateEntries) != 0 {
		t.Error("the list that was made before the first certificate has entries")
	}
	a.publish()
	for _, partition := range []int64{0, 1} {
		list := a.list(partition)
		if listsSerial(list, goodLeaf) || !listsSerial(list, badLeaf) {
			t.Errorf("the list of partition %d has %v", partition, list.RevokedCertificateEntries)
			continue
		}
		entry := list.RevokedCertificateEntries[0]
		if entry.ReasonCode != 1 || entry.RevocationTime.Unix() != a.now().Unix() {
			t.Errorf("the entry says reason %d at %s", entry.ReasonCode, entry.RevocationTime)
		}
		if !slices.Equal(list.AuthorityKeyId, a.chain[0].SubjectKeyId) || list.NextUpdate.Sub(list.ThisUpdate) > 25*time.Hour {
			t.Errorf("AKI %X, from %s to %s", list.AuthorityKeyId, list.ThisUpdate, list.NextUpdate)
		}
	}
	if a.list(1).Number.Cmp(before.Number) <= 0 || !a.list(1).ThisUpdate.After(before.ThisUpdate) {
		t.Error("neither number nor thisUpdate may stay")
	}
}

func TestDistributionPointIsTheCertificates(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	a.publish()
	if len(leaf.CRLDistributionPoints) != 1 || leaf.CRLDistributionPoints[0] != ListURL(baseURL, a.id, 1) {
		t.Fatalf("the certificate names %q", leaf.CRLDistributionPoints)
	}
	if !slices.Equal(leaf.OCSPServer, []string{baseURL + "/ocsp"}) || !slices.Equal(leaf.IssuingCertificateURL, []string{IssuerURL(baseURL, a.id)}) {
		t.Errorf("the certificate names %q and %q", leaf.OCSPServer, leaf.IssuingCertificateURL)
	}
	for _, extension := range a.list(1).Extensions {
		if extension.Id.String() != "2.5.29.28" {
			continue
		}
		var point issuingDistributionPoint
		if rest, err := asn1.Unmarshal(extension.Value, &point); err != nil || len(rest) > 0 {
			t.Fatal(err)
		}
		names := point.DistributionPoint.FullName
		if !extension.Critical || len(names) != 1 || string(names[0].Bytes) != leaf.CRLDistributionPoints[0] || !point.OnlyUserCerts || point.OnlyCACerts {
			t.Errorf("critical %v, %+v", extension.Critical, point)
		}
	}
	for _, extension := range a.list(0).Extensions {
		if extension.Id.String() == "2.5.29.28" {
			t.Error("the full list has an issuing distribution point")
		}
	}
}

func TestCertificatesThatAreNotRevocableHaveNoList(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	short, leaf := a.issue("shortlived")
	if short.Partition != 0 || leaf.CRLDistributionPoints != nil || leaf.OCSPServer != nil || leaf.IssuingCertificateURL == nil {
		t.Errorf("partition %d, %q, %q, %q", short.Partition, leaf.CRLDistributionPoints, leaf.OCSPServer, leaf.IssuingCertificateURL)
	}
	settings := defaultSettings()
	settings.BaseURL = ""
	a.lists.Configure(settings)
	without, leaf := a.issue("tls-server")
	if without.Partition != 0 || leaf.CRLDistributionPoints != nil || leaf.OCSPServer != nil || leaf.IssuingCertificateURL != nil {
		t.Errorf("without a URL: partition %d, %q, %q", without.Partition, leaf.CRLDistributionPoints, leaf.OCSPServer)
	}
	a.revoke(without, 0)
	a.publish()
	if !listsSerial(a.list(0), leaf) {
		t.Error("the full list is without a certificate that has no partition")
	}
}

func TestPartitionsAreFilled(t *testing.T) {
	settings := defaultSettings()
	settings.ListSize = 3
	first := newAuthority(t, settings, nil)
	var partitions []int64
	for range 7 {
		issued, _ := first.issue("tls-server")
		partitions = append(partitions, issued.Partition)
	}
	if want := []int64{1, 1, 1, 2, 2, 2, 3}; !slices.Equal(partitions, want) {
		t.Errorf("partitions %v, want %v", partitions, want)
	}
	// A new process goes on where the old one was.
	again := NewLists(first.lists.deps)
	place, err := again.Of(t.Context(), first.id, true)
	if err != nil || place.Partition != 3 {
		t.Errorf("after a restart: %+v, %v; want partition 3", place, err)
	}
}

func TestPartitionKeepsItsURL(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	old, oldLeaf := a.issue("tls-server")
	moved := defaultSettings()
	moved.BaseURL = "http://elsewhere.example.test"
	a.lists.Configure(moved)
	fresh, freshLeaf := a.issue("tls-server")
	if fresh.Partition != 2 || freshLeaf.CRLDistributionPoints[0] != ListURL(moved.BaseURL, a.id, 2) {
		t.Errorf("after the move: partition %d, %q", fresh.Partition, freshLeaf.CRLDistributionPoints)
	}
	a.revoke(old, 4)
	a.pass(2 * time.Second)
	a.publish()
	document, err := a.lists.List(t.Context(), a.id, 1)
	if err != nil {
		t.Fatal(err)
	}
	if url, err := distributionPoint(document.DER); err != nil || url != oldLeaf.CRLDistributionPoints[0] {
		t.Errorf("the old partition's list now is for %q, %v; want %q", url, err, oldLeaf.CRLDistributionPoints[0])
	}
	// Whoever starts under the new URL does not go on with an old partition.
	if place, err := NewLists(a.lists.deps).Of(t.Context(), a.id, true); err != nil || place.Partition == 2 {
		t.Errorf("under the old URL again: %+v, %v", place, err)
	}
}

// brokenStore fails where it is read.
type brokenStore struct{ ListStore }

var errStore = failure.New(failure.Unavailable, "the store does not answer")

func (brokenStore) NewestPartition(context.Context, string) (store.Partition, error) {
	return store.Partition{}, errStore
}

func (brokenStore) RevocationList(context.Context, string, int64) (store.RevocationList, error) {
	return store.RevocationList{}, errStore
}

func TestListsOutliveTheStore(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	a.issue("tls-server")
	a.lists.deps.Store = brokenStore{a.lists.deps.Store}
	a.pass(time.Minute)
	if a.list(1) == nil {
		t.Error("a list that is at hand is not served while the store is away")
	}
	if _, err := a.lists.List(t.Context(), a.id, 2); failure.KindOf(err) != failure.Unavailable {
		t.Errorf("%v, want one of kind Unavailable", err)
	}
}

func TestStoreFailureIsUnavailable(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	deps := a.lists.deps
	deps.Store = brokenStore{deps.Store}
	if _, err := NewLists(deps).Of(t.Context(), a.id, true); failure.KindOf(err) != failure.Unavailable {
		t.Errorf("%v, want one of kind Unavailable", err)
	}
}

// moody signs lists only when it is in the mood.
type moody struct {
	*issuer.Local
	mu   sync.Mutex
	fail error
}

func (m *moody) set(err error) { m.mu.Lock(); m.fail = err; m.mu.Unlock() }

func (m *moody) SignRevocationList(ctx context.Context, tbs []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	return m.Local.SignRevocationList(ctx, tbs)
}

func TestListsOutliveTheirSigner(t *testing.T) {
	var signer *moody
	a := newAuthority(t, defaultSettings(), func(l *issuer.Local) Issuer { signer = &moody{Local: l}; return signer })
	bad, leaf := a.issue("tls-server")
	a.publish()
	signer.set(errors.New("the token is gone"))
	a.revoke(bad, 0)
	a.pass(time.Minute)
	a.publish()
	if listsSerial(a.list(1), leaf) || a.lists.Trouble() != nil {
		t.Errorf("the old list must stay, and is good yet: %v", a.lists.Trouble())
	}
	a.pass(24 * time.Hour)
	a.publish()
	if a.lists.Trouble() == nil || a.overdue != 2 { // the partition's and the full one
		t.Errorf("trouble %v, %d overdue", a.lists.Trouble(), a.overdue)
	}
	signer.set(nil)
	a.pass(time.Minute)
	a.publish()
	if !listsSerial(a.list(1), leaf) || a.lists.Trouble() != nil || a.overdue != 0 {
		t.Errorf("with the token back: trouble %v, %d overdue", a.lists.Trouble(), a.overdue)
	}
}

func TestListsAreRenewedInTime(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	a.publish()
	first := a.list(1)
	a.pass(10 * time.Hour) // it was made for 22.5 hours
	a.publish()
	if a.list(1).Number.Cmp(first.Number) != 0 {
		t.Error("a list was renewed long before half of its life")
	}
	a.pass(time.Hour)
	a.publish()
	if a.list(1).Number.Cmp(first.Number) <= 0 {
		t.Error("no other list when half of its life was over")
	}
	// A partition that is full gets no list any more once its last certificate
	// is dead.
	if _, err := a.store.NewPartition(t.Context(), a.id, a.now()); err != nil {
		t.Fatal(err)
	}
	a.clock.Store(leaf.NotAfter.Add(time.Hour).UnixNano())
	a.publish()
	last := a.list(1)
	a.pass(30 * 24 * time.Hour)
	a.publish()
	if a.list(1).Number.Cmp(last.Number) != 0 {
		t.Error("a list is made on and on for nobody")
	}
}

func TestExpiredEntriesAreListedOnceMore(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	bad, leaf := a.issue("tls-server")
	a.revoke(bad, 0)
	a.clock.Store(leaf.NotAfter.Add(-time.Hour).UnixNano())
	a.publish()
	a.pass(2 * time.Hour)
	another, _ := a.issue("tls-server") // so that the list is made anew
	a.revoke(another, 0)
	a.publish()
	if !listsSerial(a.list(1), leaf) {
		t.Error("an entry went before a list was made after its expiry (RFC 5280 §3.3)")
	}
	a.pass(2 * time.Hour)
	another, _ = a.issue("tls-server")
	a.revoke(another, 0)
	a.publish()
	if listsSerial(a.list(1), leaf) {
		t.Error("an entry stays for ever")
	}
}

func TestNumbersGrowAfterARestore(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	a.issue("tls-server")
	a.publish()
	a.pass(time.Minute)
	fresh := newAuthority(t, defaultSettings(), nil) // an earlier state, without the list
	fresh.clock.Store(a.now().UnixNano())
	fresh.issue("tls-server")
	fresh.publish()
	if fresh.list(1).Number.Cmp(a.list(1).Number) <= 0 {
		t.Errorf("after %s came %s", a.list(1).Number, fresh.list(1).Number)
	}
}

// TestClockThatWasAhead: lists that were made while the clock was ahead are not
// yet valid to others, and have dropped what had not expired.
func TestClockThatWasAhead(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	bad, leaf := a.issue("tls-server")
	if _, err := a.store.NewPartition(t.Context(), a.id, a.now()); err != nil {
		t.Fatal(err)
	}
	a.revoke(bad, 1)
	a.publish()
	for _, ahead := range []time.Duration{13 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour} {
		for range 2 { // the second list leaves out what expired before the first
			a.pass(ahead)
			a.publish()
		}
		wrong := a.list(1)
		modified := wrong.ThisUpdate.Format(http.TimeFormat)
		a.pass(-2 * ahead)
		a.lists.paceOf(a.id).fullAfter = time.Time{} // by the real clock it is a time that nobody puts back
		a.publish()
		for _, partition := range []int64{0, 1} {
			list := a.list(partition)
			if list.ThisUpdate.After(a.now()) || list.NextUpdate.After(a.now().Add(24*time.Hour)) {
				t.Errorf("%s ahead: after the clock was put right, list %d is good from %s to %s", ahead, partition, list.ThisUpdate, list.NextUpdate)
			}
			if !listsSerial(list, leaf) {
				t.Errorf("%s ahead: list %d has lost an entry", ahead, partition)
			}
		}
		right := a.list(1)
		if right.Number.Cmp(wrong.Number) <= 0 {
			t.Errorf("%s ahead: number %s came after %s", ahead, right.Number, wrong.Number)
		}
		document, err := a.lists.List(t.Context(), a.id, 1)
		if err != nil {
			t.Fatal(err)
		}
		serve := func(w http.ResponseWriter, r *http.Request) { document.Serve(w, r, a.now()) }
		if again := get(t, serve, "GET", "/", nil, "If-Modified-Since", modified); again.Code != http.StatusOK {
			t.Errorf("%s ahead: who has the wrong list is told to keep it: %d", ahead, again.Code)
		}
	}
}

func TestFullListCanBeLeftOut(t *testing.T) {
	settings := defaultSettings()
	settings.FullList = false
	a := newAuthority(t, settings, nil)
	a.issue("tls-server")
	a.publish()
	if _, err := a.lists.List(t.Context(), a.id, 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

func TestConditionalRequests(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	bad, _ := a.issue("tls-server")
	a.publish()
	serve := func(w http.ResponseWriter, r *http.Request) {
		document, err := a.lists.List(r.Context(), a.id, 1)
		if err != nil {
			t.Fatal(err)
		}
		document.Serve(w, r, a.now())
	}
	first := get(t, serve, "GET", "/", nil)
	etag, modified := first.Header().Get("ETag"), first.Header().Get("Last-Modified")
	if first.Code != 200 || first.Header().Get("Content-Type") != "application/pkix-crl" || etag == "" || modified == "" ||
		first.Header().Get("Cache-Control") != "max-age=60, public, no-transform, must-revalidate" {
		t.Errorf("%d %v", first.Code, first.Header())
	}
	if head := get(t, serve, "HEAD", "/", nil); head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("ETag") != etag {
		t.Errorf("HEAD: %d, %d bytes", head.Code, head.Body.Len())
	}
	for _, condition := range [][]string{{"If-None-Match", etag}, {"If-Modified-Since", modified}} {
		if again := get(t, serve, "GET", "/", nil, condition...); again.Code != 304 || again.Body.Len() != 0 {
			t.Errorf("%v: %d", condition, again.Code)
		}
	}
	a.revoke(bad, 0) // in the same second
	a.publish()
	for _, condition := range [][]string{{"If-None-Match", etag}, {"If-Modified-Since", modified}} {
		if changed := get(t, serve, "GET", "/", nil, condition...); changed.Code != 200 {
			t.Errorf("after a revocation, %v: %d", condition, changed.Code)
		}
	}
	a.pass(48 * time.Hour)
	if late := get(t, serve, "GET", "/", nil); late.Header().Get("Cache-Control") != "max-age=0, public, no-transform, must-revalidate" {
		t.Errorf("past nextUpdate: %q", late.Header().Get("Cache-Control"))
	}
}

func TestManyAskForPlacesAtOnce(t *testing.T) {
	settings := defaultSettings()
	settings.ListSize = 10
	a := newAuthority(t, settings, nil)
	counts := map[int64]int{}
	var mu sync.Mutex
	var work sync.WaitGroup
	for range 100 {
		work.Go(func() {
			place, err := a.lists.Of(t.Context(), a.id, true)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			counts[place.Partition]++
		})
	}
	work.Wait()
	for partition, count := range counts {
		if count != 10 {
			t.Errorf("partition %d has %d, want 10", partition, count)
		}
	}
}

func TestListCacheIsBounded(t *testing.T) {
	c := newListCache(100)
	for i := range int64(10) {
		c.put(&heldList{Document: NewList(make([]byte, 30), time.Time{}, time.Time{}), key: listKey{"x", i}, number: 1, checked: time.Unix(1, 0)})
	}
	if c.size != 90 || c.get(listKey{"x", 9}, time.Time{}) == nil || c.get(listKey{"x", 6}, time.Time{}) != nil {
		t.Errorf("%d octets are held", c.size)
	}
	c.put(&heldList{Document: NewList(make([]byte, 101), time.Time{}, time.Time{}), key: listKey{"x", 9}, number: 2, checked: time.Unix(1, 0)})
	if c.size != 60 || c.get(listKey{"x", 9}, time.Time{}) != nil {
		t.Errorf("with one too large: %d octets are held", c.size)
	}
	c.put(&heldList{Document: NewList(nil, time.Time{}, time.Time{}), key: listKey{"x", 8}, number: 0, checked: time.Unix(1, 0)})
	if held := c.get(listKey{"x", 8}, time.Time{}); held == nil || held.number != 1 {
		t.Error("an older list took the place of a newer one")
	}
}
