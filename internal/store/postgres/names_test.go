package postgres

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/store"
	"chancery/internal/store/storetest"
)

// recordNamed stores a certificate of a name, which ends at that time.
func recordNamed(t *testing.T, s *Store, name string, end time.Time) {
	t.Helper()
	certificate := storetest.NewCertificate(t, &store.Order{}, time.Now())
	certificate.Owner, certificate.NotAfter = store.Owner{}, end
	certificate.Identifiers = []identifier.Identifier{{Type: identifier.DNS, Value: name}}
	err := update(t.Context(), s, "record", func(c *conn) error {
		queries, err := entry(insertCertificate, &certificate)
		if err != nil {
			return err
		}
		return c.last(queries...)
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSearchedDomains has services come into one domain and go from it, in
// stores of several processes. What is there is found by a part of the domain
// each time; when all is gone, the search is empty.
func TestSearchedDomains(t *testing.T) {
	t.Parallel()
	url := theServer(t).Schema(t)
	stores := []*Store{openAt(t, Options{URL: url, Connections: 2}), openAt(t, Options{URL: url, Connections: 2}), openAt(t, Options{URL: url, Connections: 2})}
	now := time.Now()
	for round := range 40 {
		var group sync.WaitGroup
		for i, s := range stores {
			group.Go(func() {
				if i == 0 {
					tidy(t, s, now)
					return
				}
				end := now.Add(time.Hour)
				if round%4 < 3 {
					end = now.Add(-time.Hour) // goes with the next round
				}
				recordNamed(t, s, fmt.Sprintf("host%d-%d.shared.corp", i, round), end)
				if err := s.catchUp(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		plain, err := stores[0].ListCertificates(t.Context(), store.CertificateQuery{NamePattern: "*.shared.corp"})
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"hared.corp", ".shared", "d.c"} {
			found, err := stores[0].ListCertificates(t.Context(), store.CertificateQuery{NamePart: part})
			if err != nil || len(found) != len(plain) {
				t.Fatalf("round %d: %d certificates are found by %s, want %d (%v)", round, len(found), part, len(plain), err)
			}
		}
	}
	tidy(t, stores[0], now.Add(2*time.Hour))
	for _, table := range []string{"services", "service_names", "service_parts", "domain_parts", "searched_domains"} {
		if left := rowsOf(t, stores[0], "SELECT 'a' FROM "+table); len(left) > 0 {
			t.Errorf("%d rows are left over in %s", len(left), table)
		}
	}
}
