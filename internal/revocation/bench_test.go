package revocation

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"chancery/internal/serial"
	"chancery/internal/store"
)

func BenchmarkOf(b *testing.B) {
	settings := defaultSettings()
	settings.ListSize = 10_000
	a := newAuthority(b, settings, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.lists.Of(b.Context(), a.id, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	a := newAuthority(b, defaultSettings(), nil)
	issued, leaf := a.issue("tls-server")
	request := must(ocsp.CreateRequest(leaf, a.chain[0], nil))
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			a.responder.respond(b.Context(), request)
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			a.responder.Forget(issued.CertificateKey)
			a.responder.respond(b.Context(), request)
		}
	})
}

// BenchmarkList makes lists of 100,000 entries, from the entries to the
// signature.
func BenchmarkList(b *testing.B) {
	a := newAuthority(b, defaultSettings(), nil)
	now := time.Now()
	entries := make([]store.RevokedEntry, 100_000)
	for i := range entries {
		number, err := serial.New(now, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		entries[i] = store.RevokedEntry{Serial: number, Revocation: store.Revocation{At: now, Reason: 1}}
	}
	issuer := a.lists.deps.Issuers[0]
	b.ReportAllocs()
	for b.Loop() {
		list := a.lists.next(issuer, "", nil)
		for _, entry := range entries {
			list.entries = appendEntry(list.entries, entry)
		}
		tbs, err := list.toBeSigned()
		if err != nil {
			b.Fatal(err)
		}
		der, err := issuer.SignRevocationList(b.Context(), tbs)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(der)))
	}
}

// TestLargeListIsRead has crypto/x509 read what is written by hand.
func TestLargeListIsRead(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	list := a.lists.next(a.lists.deps.Issuers[0], ListURL(baseURL, a.id, 7), nil)
	entries := []store.RevokedEntry{
		{Serial: serial.Number{0x7f, 1}, Revocation: store.Revocation{At: a.now(), Reason: 10}},
		{Serial: serial.Number{19: 0x80}, Revocation: store.Revocation{At: a.now().AddDate(40, 0, 0), Reason: 7}},
		{Serial: serial.Number{19: 0x05}, Revocation: store.Revocation{At: a.now(), Reason: 8}},
		{Serial: serial.Number{}, Revocation: store.Revocation{At: a.now(), Reason: 0}},
	}
	for _, entry := range entries {
		list.entries = appendEntry(list.entries, entry)
	}
	der, err := a.lists.deps.Issuers[0].SignRevocationList(t.Context(), must(list.toBeSigned()))
	if err != nil {
		t.Fatal(err)
	}
	read, err := x509.ParseRevocationList(der)
	if err != nil || len(read.RevokedCertificateEntries) != len(entries) {
		t.Fatalf("%v, %v", read, err)
	}
	for i, want := range []int{10, 0, 0, 0} {
		got := read.RevokedCertificateEntries[i]
		if got.ReasonCode != want || !bytes.Equal(got.SerialNumber.Bytes(), entries[i].Serial.Big().Bytes()) || got.RevocationTime.Unix() != entries[i].At.Unix() {
			t.Errorf("entry %d reads %v", i, got)
		}
	}
	if url, err := distributionPoint(der); err != nil || url != list.url {
		t.Errorf("%q, %v", url, err)
	}
}

// BenchmarkBulk revokes 10,000 certificates in 100 partitions: the time until
// all lists have them.
func BenchmarkBulk(b *testing.B) {
	a := newAuthority(b, defaultSettings(), nil) // 100 in a partition
	const count = 10_000
	revoked := 0
	for b.Loop() {
		b.StopTimer()
		certificates := a.issueMany(count)
		a.pass(time.Hour)
		b.StartTimer()
		for chunk := range slices.Chunk(certificates, 1000) {
			done, err := a.store.RevokeAll(b.Context(), chunk, store.Revocation{At: a.now(), Reason: 4})
			if err != nil {
				b.Fatal(err)
			}
			revoked += len(done)
		}
		a.publish()
	}
	if entries := len(a.list(0).RevokedCertificateEntries); entries != revoked || revoked < count {
		b.Errorf("%d are revoked, and the full list has %d", revoked, entries)
	}
}

// issueMany issues certificates, many at the same time.
func (a *authority) issueMany(count int) []store.CertificateKey {
	certificates := make([]store.CertificateKey, count)
	var work sync.WaitGroup
	for part := range 50 {
		work.Go(func() {
			for i := part; i < count; i += 50 {
				issued, _ := a.issue("tls-server")
				certificates[i] = issued.CertificateKey
			}
		})
	}
	work.Wait()
	return certificates
}
