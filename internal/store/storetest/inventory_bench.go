package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// inventorySize is how many certificates RunInventoryBenchmark has, a tenth of them
// revoked: CHANCERY_BENCH_CERTIFICATES, or few enough to be quick.
func inventorySize(b *testing.B) int {
	text := os.Getenv("CHANCERY_BENCH_CERTIFICATES")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// Of whatever many certificates, these have what is looked for.
const (
	rareOnes = 50 // of a name, account, profile and so on that few have
	rareAt   = 100
)

// inventoryBench is a filled store.
type inventoryBench struct {
	store.Store
	now    time.Time
	good   []store.CertificateKey // in no order
	sample store.Certificate      // one of the rare ones
}

// certificateNumber is the i-th of n certificates: it is issued one in two
// times for names that have one already, over a year.
func (v *inventoryBench) certificateNumber(i, n int, random *rand.ChaCha8) store.Certificate {
	issued := v.now.Add(-time.Duration(n-i) * (365 * 24 * time.Hour / time.Duration(n)))
	number, _ := serial.New(issued, random)
	host := i/1000*1000 + i%500
	c := store.Certificate{
		CertificateKey: store.CertificateKey{IssuerID: "0123456789abcdef", Serial: number},
		AccountID:      fmt.Sprint("account", host%50), Profile: "tls-server", Rule: "default",
		Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: fmt.Sprintf("web-%05x.team%d.corp.example", host, host%200)}},
		DER:         make([]byte, 800), KeyHash: sha256.Sum256([]byte(fmt.Sprint("key", i/2))),
		NotBefore: issued, NotAfter: issued.Add(90 * 24 * time.Hour), Issued: issued,
	}
	_, _ = random.Read(c.DER)
	if rare := n / rareOnes; i%rare == rareAt {
		c.IssuerID, c.AccountID, c.Profile, c.Subject = "fedcba9876543210", "rare", "rare", "CN=rare,O=Corp"
		c.Identifiers[0].Value = fmt.Sprintf("zebra%d.old.corp", i/rare)
		c.NotAfter = issued.Add(20 * 365 * 24 * time.Hour)
	}
	c.Requester = "acme:" + c.AccountID
	c.Fingerprint = sha256.Sum256(c.DER)
	return c
}

// fill stores the certificates in large steps.
func (v *inventoryBench) fill(b *testing.B, n int, enter func([]store.Certificate) error) {
	const batch = 1000
	random := rand.NewChaCha8([32]byte{1})
	choose := rand.New(random)
	for from := 0; from < n; from += batch {
		list := make([]store.Certificate, min(batch, n-from))
		var bad []store.CertificateKey
		for i := range list {
			list[i] = v.certificateNumber(from+i, n, random)
			if key := list[i].CertificateKey; list[i].AccountID == "rare" || choose.IntN(10) == 0 {
				bad = append(bad, key)
			}
		}
		err := enter(list)
		if err == nil {
			_, err = v.RevokeAll(b.Context(), bad, store.Revocation{At: list[0].Issued.Add(time.Hour), Reason: 1})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// look finds what the benchmarks ask for.
func (v *inventoryBench) look(b *testing.B) {
	list, err := v.ListCertificates(b.Context(), store.CertificateQuery{Profile: "rare", Limit: 1})
	if err != nil || len(list) != 1 {
		b.Fatalf("%d rare certificates (%v)", len(list), err)
	}
	v.sample = list[0]
	query := store.CertificateQuery{Status: store.CertificateGood, Now: v.now, Limit: 5000}
	if list, err = v.ListCertificates(b.Context(), query); err != nil {
		b.Fatal(err)
	}
	for i := range list {
		v.good = append(v.good, list[i].CertificateKey)
	}
	rand.Shuffle(len(v.good), func(i, j int) { v.good[i], v.good[j] = v.good[j], v.good[i] })
}

// RunInventoryBenchmark measures what must not grow with the inventory. enter
// stores certificates as CompleteIssuance does, many at once. A store that is
// full already stays as it is.
func RunInventoryBenchmark(b *testing.B, s store.Store, enter func([]store.Certificate) error) {
	v := &inventoryBench{Store: s, now: time.Now().Truncate(time.Second)}
	n := inventorySize(b)
	counts, err := s.CountCertificates(b.Context(), "", "", v.now)
	if err != nil {
		b.Fatal(err)
	}
	if counts.Valid+counts.Expired+counts.Revoked < n {
		start := time.Now()
		v.fill(b, n, enter)
		b.Logf("%d certificates in %s", n, time.Since(start))
	}
	start := time.Now()
	if _, err := s.Tidy(b.Context(), store.TidyCutoff{}, 1); err != nil { // does what is left for later
		b.Fatal(err)
	}
	b.Logf("tidied in %s", time.Since(start))
	v.look(b)
	v.lists(b)
	v.services(b)
	v.counts(b)
	v.revocations(b)
}

// page measures a page of certificates and checks how many are on it.
func (v *inventoryBench) page(b *testing.B, name string, query store.CertificateQuery, want int) {
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			list, err := v.ListCertificates(context.Background(), query)
			if err != nil || len(list) != want {
				b.Fatalf("%d certificates, want %d: %v", len(list), want, err)
			}
		}
	})
}

func (v *inventoryBench) lists(b *testing.B) {
	c, now := v.sample, v.now
	common := v.certificateNumber(700, 1000, rand.NewChaCha8([32]byte{2}))
	middle := now.Add(-180 * 24 * time.Hour)
	for _, test := range []struct {
		name  string
		query store.CertificateQuery
		want  int
	}{
		{"all", store.CertificateQuery{}, 100},
		{"serial", store.CertificateQuery{Serial: &c.Serial}, 1},
		{"fingerprint", store.CertificateQuery{Fingerprint: &c.Fingerprint}, 1},
		{"key", store.CertificateQuery{KeyHash: &c.KeyHash}, 2},
		{"name", store.CertificateQuery{Name: c.Identifiers[0].Value}, 1},
		{"service", store.CertificateQuery{ServiceID: store.ServiceID(c.Identifiers)}, 1},
		{"part, few", store.CertificateQuery{NamePart: "zebra"}, rareOnes},
		{"part, few of common letters", store.CertificateQuery{NamePart: "old.corp"}, rareOnes},
		{"part, none", store.CertificateQuery{NamePart: "zebra.corp"}, 0},
		{"part, all", store.CertificateQuery{NamePart: ".example"}, 100},
		{"pattern, few", store.CertificateQuery{NamePattern: "*.old.corp"}, rareOnes},
		{"pattern, all", store.CertificateQuery{NamePattern: "**.corp.example"}, 100},
		{"account, few", store.CertificateQuery{AccountID: "rare"}, rareOnes},
		{"account, many", store.CertificateQuery{AccountID: common.AccountID}, 100},
		{"requester", store.CertificateQuery{Requester: "acme:rare"}, rareOnes},
		{"requester, prefix", store.CertificateQuery{Requester: "acme:"}, 100},
		{"subject", store.CertificateQuery{Subject: c.Subject}, rareOnes},
		{"profile, few", store.CertificateQuery{Profile: "rare"}, rareOnes},
		{"profile, all", store.CertificateQuery{Profile: "tls-server"}, 100},
		{"issuer, few", store.CertificateQuery{IssuerID: c.IssuerID}, rareOnes},
		{"good", store.CertificateQuery{Status: store.CertificateGood, Now: now}, 100},
		{"expired", store.CertificateQuery{Status: store.CertificateExpired, Now: now}, 100},
		{"revoked", store.CertificateQuery{Status: store.CertificateRevoked, Now: now}, 100},
		{"issued", store.CertificateQuery{IssuedBefore: middle}, 100},
		{"expires", store.CertificateQuery{ExpiresAfter: now, ExpiresBefore: now.Add(30 * 24 * time.Hour)}, 100},
		{"revoked before", store.CertificateQuery{RevokedBefore: middle}, 100},
		{"profile and status", store.CertificateQuery{Profile: "rare", Status: store.CertificateRevoked, Now: now}, rareOnes},
		{"part and status", store.CertificateQuery{NamePart: "zebra", Status: store.CertificateGood, Now: now}, 0},
		{"old page", store.CertificateQuery{Before: &c.CertificateKey, NamePart: "example"}, 100},
	} {
		v.page(b, test.name, test.query, test.want)
	}
}

func (v *inventoryBench) services(b *testing.B) {
	for _, test := range []struct {
		name  string
		query store.ServiceQuery
		want  int
	}{
		{"services", store.ServiceQuery{}, 100},
		{"services, part", store.ServiceQuery{NamePart: "zebra"}, rareOnes},
		{"services, pattern", store.ServiceQuery{NamePattern: "**.old.corp"}, rareOnes},
		{"services, unhealthy", store.ServiceQuery{Health: store.ServiceUnhealthy, Now: v.now}, 100},
		{"services, healthy", store.ServiceQuery{Health: store.ServiceHealthy, Now: v.now}, 100},
	} {
		b.Run(test.name, func(b *testing.B) {
			for b.Loop() {
				list, err := v.ListServices(context.Background(), test.query)
				if err != nil || len(list) != test.want {
					b.Fatalf("%d services, want %d: %v", len(list), test.want, err)
				}
			}
		})
	}
}

func (v *inventoryBench) counts(b *testing.B) {
	for name, count := range map[string]func() error{
		"counts": func() error {
			counts, err := v.CountCertificates(context.Background(), "", "", v.now)
			if counts.Valid == 0 || counts.Revoked == 0 {
				return errors.New("nothing is counted")
			}
			return err
		},
		"unexpired": func() error {
			_, _, err := v.Unexpired(context.Background(), v.sample.IssuerID, v.now)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := count(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func (v *inventoryBench) revocations(b *testing.B) {
	next := 0
	take := func(n int) []store.CertificateKey {
		if next+n > len(v.good) {
			next = 0 // those that are revoked cost less, so ask for fewer
		}
		next += n
		return v.good[next-n : next]
	}
	now := store.Revocation{At: v.now, Reason: 4}
	b.Run("revoke", func(b *testing.B) {
		for b.Loop() {
			if err := v.Revoke(context.Background(), take(1)[0], now); err != nil && !errors.Is(err, store.ErrRevoked) {
				b.Fatal(err)
			}
		}
	})
	b.Run("revoke 1000", func(b *testing.B) {
		for b.Loop() {
			if _, err := v.RevokeAll(context.Background(), take(1000), now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
