package storetest

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"chancery/internal/serial"
	"chancery/internal/store"
)

func listTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are kept and replaced":          listsAreKept,
		"have numbers that grow":         listNumbersGrow,
		"of an earlier basis stay stale": listsStayStale,
		"name what is revoked":           listsNameRevoked,
		"name what is revoked in all":    fullListsNameRevoked,
		"stop at the caller's error":     listsStop,
		"name more than is held at once": listsNameMany,
	}
}

// revoked are the lines of a partition's list.
func (s *suite) revoked(partition int64, expiredAfter time.Time) (list []store.RevokedEntry) {
	s.Helper()
	s.must(s.store.Revoked(s.ctx, issuerID, partition, expiredAfter, func(e store.RevokedEntry) error {
		list = append(list, e)
		return nil
	}))
	return list
}

func (s *suite) readList(partition int64) store.RevocationList {
	s.Helper()
	list, err := s.store.RevocationList(s.ctx, issuerID, partition)
	s.must(err)
	return list
}

func listsAreKept(s *suite) {
	number := s.partition()
	for _, partition := range []int64{0, number, 7} {
		_, err := s.store.RevocationList(s.ctx, issuerID, partition)
		s.is(err, store.ErrNotFound)
	}
	var lists []store.RevocationList
	for range 2 {
		lists = nil
		for _, stale := range s.stale(s.now.Add(24 * time.Hour)) {
			list := s.listFor(stale, s.now)
			list.DER = make([]byte, 100_000*(stale.Number+1))
			s.is(s.store.PublishList(s.ctx, list, stale.Basis, store.Fence{}), nil)
			s.same(s.readList(stale.Partition), list)
			lists = append(lists, list)
		}
	}
	s.same(len(lists), 2)
	for _, list := range lists {
		s.same(s.readList(list.Partition), list)
	}
	_, err := s.store.RevocationList(s.ctx, "another", 0)
	s.is(err, store.ErrNotFound)
}

func listNumbersGrow(s *suite) {
	number := s.partition()
	for _, partition := range []int64{0, number} {
		list := s.listFor(store.StaleList{IssuerID: issuerID, Partition: partition, Number: 9}, s.now)
		s.is(s.store.PublishList(s.ctx, list, 0, store.Fence{}), nil)
		for _, other := range []int64{-1, 0, 1, 9, 10} {
			late := list
			late.Number, late.DER, late.NextUpdate = other, []byte("other"), s.now.Add(time.Hour)
			s.is(s.store.PublishList(s.ctx, late, 0, store.Fence{}), store.ErrClaimed)
		}
		s.same(s.readList(partition), list)
		list.Number = 1 << 60
		s.is(s.store.PublishList(s.ctx, list, 0, store.Fence{}), nil)
		s.same(s.readList(partition), list)
	}
	s.is(s.store.PublishList(s.ctx, store.RevocationList{IssuerID: "another"}, 0, store.Fence{}), store.ErrClaimed)
	_, err := s.store.RevocationList(s.ctx, "another", 0)
	s.is(err, store.ErrNotFound)
}

// listsStayStale revokes between the reading of what has changed and the
// publication of the list made from it.
func listsStayStale(s *suite) {
	one, two := s.in(0, time.Hour), s.in(0, time.Hour)
	before := s.stale(s.now)[0]
	s.revoke(one)
	after := s.stale(s.now)[0]
	s.is(s.store.PublishList(s.ctx, s.listFor(before, s.now), before.Basis, store.Fence{}), nil)
	s.staleAre(s.now, 0)
	late := s.listFor(after, s.now)
	s.is(s.store.PublishList(s.ctx, late, after.Basis, store.Fence{}), store.ErrClaimed)
	late.Number++
	s.is(s.store.PublishList(s.ctx, late, after.Basis, store.Fence{}), nil)
	s.staleAre(s.now)

	late.Number++
	s.is(s.store.PublishList(s.ctx, late, before.Basis, store.Fence{}), store.ErrClaimed) // it may lack what the one in force has
	late.Number++
	s.is(s.store.PublishList(s.ctx, late, 1000, store.Fence{}), nil) // a basis that never was promises nothing
	s.revoke(two)
	s.staleAre(s.now, 0)
}

// listsNameRevoked also checks at which moment a certificate leaves its list.
func listsNameRevoked(s *suite) {
	number, other := s.partition(), s.partition()
	s.in(number, time.Hour)
	s.revoke(s.in(other, time.Hour))
	s.certificate(func(c *store.Certificate) { c.IssuerID, c.Partition = "another", number })
	var want []store.RevokedEntry
	for i := range 4 {
		c := s.in(number, time.Duration(i)*time.Minute)
		why := store.Revocation{At: s.now.Add(time.Duration(i) * time.Second), Reason: i}
		s.must(s.store.Revoke(s.ctx, c.CertificateKey, why))
		want = append(want, store.RevokedEntry{Serial: c.Serial, Revocation: why})
	}
	s.same(s.revoked(number, time.Time{}), want)
	s.same(s.revoked(number, s.now), want)
	s.same(s.revoked(number, s.now.Add(time.Millisecond)), want[1:])
	s.same(s.revoked(number, s.now.Add(2*time.Minute)), want[2:])
	s.same(len(s.revoked(number, s.now.Add(time.Hour))), 0)
	s.same(len(s.revoked(7, time.Time{})), 0)
}

func fullListsNameRevoked(s *suite) {
	s.same(len(s.revoked(0, time.Time{})), 0)
	var want []string
	for range 3 {
		number := s.partition()
		for _, partition := range []int64{0, number, number} {
			c := s.in(partition, time.Hour)
			s.revoke(c)
			want = append(want, c.Serial.String())
		}
		s.revoke(s.in(number, -time.Hour))
		s.in(number, time.Hour)
	}
	s.revoke(s.certificate(func(c *store.Certificate) { c.IssuerID = "another" }))
	got := ids(s.revoked(0, s.now), func(e *store.RevokedEntry) string { return e.Serial.String() })
	s.same(descending(got), descending(want))
}

func listsStop(s *suite) {
	for range 3 {
		s.revoke(s.in(0, time.Hour))
	}
	enough, calls := errors.New("enough"), 0
	err := s.store.Revoked(s.ctx, issuerID, 0, s.now, func(store.RevokedEntry) error {
		if calls++; calls == 2 {
			return enough
		}
		return nil
	})
	s.is(err, enough)
	s.same(calls, 2)
}

// listsNameMany uses the store while its answer comes: more at once than it
// can have connections.
func listsNameMany(s *suite) {
	const many = 2500
	number := s.partition()
	want, keys := make([]serial.Number, many), make([]store.CertificateKey, many)
	for _, err := range race(many, func(i int) error {
		c := s.newCertificate(s.newIntent(""), "")
		c.Partition, c.Owner = number, store.Owner{}
		want[i], keys[i] = c.Serial, c.CertificateKey
		s.record(c)
		return nil
	}) {
		s.must(err)
	}
	for some := range slices.Chunk(keys, 1000) {
		_, err := s.store.RevokeAll(s.ctx, some, store.Revocation{At: s.now})
		s.must(err)
	}
	slices.SortFunc(want, func(a, b serial.Number) int { return slices.Compare(a[:], b[:]) })
	for i, err := range race(rivals, func(i int) error {
		var got []serial.Number
		err := s.store.Revoked(s.ctx, issuerID, int64(i%2)*number, s.now, func(e store.RevokedEntry) error {
			got = append(got, e.Serial)
			if len(got)%100 > 0 {
				return nil
			}
			_, err := s.store.Certificate(s.ctx, store.CertificateKey{IssuerID: issuerID, Serial: e.Serial})
			return err
		})
		if err == nil && !slices.Equal(got, want) {
			err = errors.New("it named others")
		}
		return err
	}) {
		if err != nil {
			s.Errorf("reader %d: %v", i, err)
		}
	}
}

func racePublish(s *suite) {
	for range rounds {
		stale := s.stale(s.now.Add(24 * time.Hour))[0]
		lists := make([]store.RevocationList, rivals)
		errs := race(rivals, func(i int) error {
			lists[i] = s.listFor(stale, s.now)
			lists[i].DER = []byte{byte(i)}
			return s.store.PublishList(s.ctx, lists[i], stale.Basis, store.Fence{})
		})
		winner := s.oneWins(errs, store.ErrClaimed)
		s.same(s.readList(0), lists[winner])
	}
}

func racePartitions(s *suite) {
	for round := range int64(rounds) {
		numbers := make([]int64, rivals)
		for _, err := range race(rivals, func(i int) error {
			p, err := s.store.NewPartition(s.ctx, issuerID, s.now)
			numbers[i] = p.Number
			return err
		}) {
			s.is(err, nil)
		}
		slices.Sort(numbers)
		for i, number := range numbers {
			s.same(number, round*rivals+int64(i)+1)
		}
	}
}

// raceRevokePublish revokes while several publish: no list in force ever lacks
// what an earlier one had, and when all is quiet each has all of its.
func raceRevokePublish(s *suite) {
	partitions := []int64{0, s.partition(), s.partition()}
	certificates := make([]store.Certificate, rivals*rounds)
	for i := range certificates {
		certificates[i] = s.in(partitions[i%3], time.Hour)
	}
	done := make(chan struct{})
	var publishers sync.WaitGroup
	for range 3 {
		publishers.Go(func() { s.publishUntil(done) })
	}
	errs := race(rivals, func(i int) error {
		for round := range rounds {
			if err := s.store.Revoke(s.ctx, certificates[i*rounds+round].CertificateKey, store.Revocation{At: s.now}); err != nil {
				return err
			}
		}
		return nil
	})
	close(done)
	publishers.Wait()
	for _, err := range errs {
		s.is(err, nil)
	}
	s.staleAre(s.now)
	s.same(len(s.listed(0)), rivals*rounds)
	s.same(len(s.listed(1))+len(s.listed(2)), len(certificates)-(len(certificates)+2)/3)
}

// listed are the serials of the list in force; in these tests its DER is JSON.
func (s *suite) listed(partition int64) (serials []string) {
	s.Helper()
	s.must(json.Unmarshal(s.readList(partition).DER, &serials))
	return serials
}

// publishUntil publishes what is stale, as a node does, until done is closed
// and nothing is stale any more.
func (s *suite) publishUntil(done <-chan struct{}) {
	for ending := false; ; {
		stale, err := s.store.StaleLists(s.ctx, []string{issuerID}, s.now, s.never(), 0)
		if err != nil {
			s.Error(err)
			return
		}
		for _, list := range stale {
			if err := s.publishOne(list); err != nil && !errors.Is(err, store.ErrClaimed) {
				s.Error(err)
				return
			}
		}
		if ending && len(stale) == 0 {
			return
		}
		select {
		case <-done:
			ending = true
		default:
		}
	}
}

// publishOne also checks that the list lacks nothing that the one before had.
func (s *suite) publishOne(stale store.StaleList) error {
	serials := []string{}
	err := s.store.Revoked(s.ctx, stale.IssuerID, stale.Partition, s.now, func(e store.RevokedEntry) error {
		serials = append(serials, e.Serial.String())
		return nil
	})
	if err != nil {
		return err
	}
	list := s.listFor(stale, s.now)
	if list.DER, err = json.Marshal(serials); err != nil {
		return err
	}
	before, err := s.store.RevocationList(s.ctx, stale.IssuerID, stale.Partition)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := s.store.PublishList(s.ctx, list, stale.Basis, store.Fence{}); err != nil {
		return err
	}
	return lacksNothing(before.DER, serials)
}

func lacksNothing(before []byte, now []string) error {
	var earlier []string
	if before == nil {
		return nil
	}
	if err := json.Unmarshal(before, &earlier); err != nil {
		return err
	}
	for _, serial := range earlier {
		if !slices.Contains(now, serial) {
			return errors.New("the new list lacks " + serial)
		}
	}
	return nil
}
