package sqlite

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"chancery/internal/serial"
	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

const benchIssuer = "0123456789abcdef"

// fill writes n certificates, of which every so many is revoked, into
// partitions of so many each, without their steps: those take too long.
func fill(b *testing.B, s *Store, n, revokedEach, partitionSize int) {
	b.Helper()
	now := time.Now()
	for from := 0; from < n; from += 10_000 {
		err := update(b.Context(), s, "fill", func(c *conn) error {
			for i := from; i < min(n, from+10_000); i++ {
				certificate := store.Certificate{
					CertificateKey: store.CertificateKey{IssuerID: benchIssuer, Serial: benchSerial(i)}, Requester: "self", Profile: "tls-server",
					DER: make([]byte, 800), NotBefore: now, NotAfter: now.Add(90*24*time.Hour + time.Duration(i)*time.Millisecond), Issued: now,
					Partition: int64(i/partitionSize) + 1,
				}
				binary.BigEndian.PutUint64(certificate.Fingerprint[:], uint64(i)*0x9e3779b97f4a7c15)
				if i%revokedEach == 0 {
					certificate.Revocation = &store.Revocation{At: now, Reason: 1}
				}
				if err := insertCertificate(c, &certificate); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func benchSerial(i int) (n serial.Number) {
	n[0] = 1
	binary.BigEndian.PutUint64(n[1:], uint64(i))
	return n
}

// BenchmarkRevoked reads all the lines of a full list of 100,000, and those of
// a partition's list of 1000, with ten times as many certificates as that.
func BenchmarkRevoked(b *testing.B) {
	s := openTest(b)
	const n, size = 1_000_000, 10_000
	fill(b, s, n, 10, size)
	for name, partition := range map[string]int64{"full": 0, "partition": 50} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			count := 0
			for b.Loop() {
				count = 0
				if err := s.Revoked(b.Context(), benchIssuer, partition, time.Now(), func(store.RevokedEntry) error {
					count++
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/entry")
		})
	}
	b.Run("newest partition", func(b *testing.B) {
		err := update(b.Context(), s, "fill", func(c *conn) error {
			_, err := c.exec(upsertPartitionChanged, benchIssuer, n/size)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if p, err := s.NewestPartition(b.Context(), benchIssuer); err != nil || p.Issued != size {
				b.Fatal(p, err)
			}
		}
	})
}

// BenchmarkMarkStale is what a revocation adds to its step.
func BenchmarkMarkStale(b *testing.B) {
	s := openTest(b)
	fillPartitions(b, s, 100_000, false)
	err := update(b.Context(), s, "mark stale", func(c *conn) error {
		for i := 0; b.Loop(); i++ {
			if err := markStale(c, benchIssuer, int64(i%100_000+1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// fillPartitions makes partitions whose lists are up to date.
func fillPartitions(b *testing.B, s *Store, n int, ended bool) {
	b.Helper()
	now := time.Now()
	err := update(b.Context(), s, "fill", func(c *conn) error {
		for i := range n {
			if err := c.one(func(*row) {}, insertPartition, benchIssuer, now, benchIssuer); err != nil {
				return err
			}
			if _, err := c.exec(updatePartitionPublished, 0, 1, now.Add(time.Hour), ended, benchIssuer, i+1, 1, 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	full := store.RevocationList{IssuerID: benchIssuer, Number: 1, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
	if err := s.PublishList(b.Context(), full, 0, store.Fence{}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStaleLists asks what is stale among 100,000 partitions, when they
// are all up to date, and when all but the full list have ended long ago.
func BenchmarkStaleLists(b *testing.B) {
	for name, at := range map[string]struct {
		ended bool
		due   time.Duration
		want  int
	}{"up to date": {false, 0, 0}, "ended": {true, 2 * time.Hour, 1}, "due": {false, 2 * time.Hour, 100}} {
		b.Run(name, func(b *testing.B) {
			s := openTest(b)
			fillPartitions(b, s, 100_000, at.ended)
			for b.Loop() {
				if list, err := s.StaleLists(b.Context(), []string{benchIssuer}, time.Now().Add(at.due), time.Now().Add(24*time.Hour), 100); err != nil || len(list) != at.want {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// BenchmarkRevoke is a revocation with all that it makes stale, from 64
// goroutines, of a few certificates and of many.
func BenchmarkRevoke(b *testing.B) {
	for _, n := range []int{10_000, 300_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openTest(b)
			fill(b, s, n+b.N, n+b.N, 10_000)
			storetest.Benchmark(b, "revocation", func(i int64) error {
				return s.Revoke(b.Context(), store.CertificateKey{IssuerID: benchIssuer, Serial: benchSerial(int(i))}, store.Revocation{At: time.Now()})
			})
		})
	}
}
