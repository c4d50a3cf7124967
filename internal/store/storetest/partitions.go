package storetest

import (
	"slices"
	"time"

	"chancery/internal/store"
)

func partitionTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"are numbered from 1 by issuer":      partitionsAreNumbered,
		"count their certificates":           partitionsCount,
		"that are new have a stale list":     partitionsNeedLists,
		"make lists stale by revocation":     revocationsMakeStale,
		"have lists of a clock put back":     listsAreAhead,
		"make lists stale by abandonment":    abandonmentMakesStale,
		"make lists stale by bulk":           bulkMakesStale,
		"are due before their next update":   listsAreDue,
		"end with their last certificate":    partitionsEnd,
		"without certificates end when full": emptyPartitionsEnd,
		"go on with a new certificate":       partitionsGoOn,
	}
}

func (s *suite) partition() int64 {
	s.Helper()
	p, err := s.store.NewPartition(s.ctx, issuerID, s.now)
	s.must(err)
	return p.Number
}

// in is a stored certificate of a partition that is good for so long.
func (s *suite) in(partition int64, left time.Duration) store.Certificate {
	s.Helper()
	return s.certificate(func(c *store.Certificate) { c.Partition, c.NotAfter = partition, s.now.Add(left) })
}

func (s *suite) revoke(c store.Certificate) {
	s.Helper()
	s.must(s.store.Revoke(s.ctx, c.CertificateKey, store.Revocation{At: s.now, Reason: 1}))
}

// stale are the lists that have changed, or are due at a time.
func (s *suite) stale(due time.Time) []store.StaleList {
	s.Helper()
	list, err := s.store.StaleLists(s.ctx, []string{issuerID}, due, s.never(), 0)
	s.must(err)
	return list
}

// never is after the NextUpdate of every list.
func (s *suite) never() time.Time { return s.now.AddDate(100, 0, 0) }

// staleAre reports partitions whose lists are stale and should not be, or the
// other way round.
func (s *suite) staleAre(due time.Time, want ...int64) {
	s.Helper()
	var got []int64
	for _, list := range s.stale(due) {
		got = append(got, list.Partition)
	}
	s.same(got, want)
}

// listFor is the next list of a partition, good for an hour.
func (s *suite) listFor(stale store.StaleList, at time.Time) store.RevocationList {
	return store.RevocationList{
		IssuerID: stale.IssuerID, Partition: stale.Partition, Number: stale.Number + 1,
		ThisUpdate: at, NextUpdate: at.Add(time.Hour), DER: []byte{0x30, byte(stale.Number)},
	}
}

// publish brings all lists up to date that are stale.
func (s *suite) publish(at, due time.Time) {
	s.Helper()
	for _, stale := range s.stale(due) {
		s.must(s.store.PublishList(s.ctx, s.listFor(stale, at), stale.Basis, store.Fence{}))
	}
	s.staleAre(time.Time{})
}

func partitionsAreNumbered(s *suite) {
	_, err := s.store.NewestPartition(s.ctx, issuerID)
	s.is(err, store.ErrNotFound)
	for number := range int64(3) {
		p, err := s.store.NewPartition(s.ctx, issuerID, s.now.Add(time.Duration(number)))
		s.is(err, nil)
		s.same(p, store.Partition{IssuerID: issuerID, Number: number + 1, Created: s.now})
		newest, err := s.store.NewestPartition(s.ctx, issuerID)
		s.is(err, nil)
		s.same(newest, p)
	}
	p, err := s.store.NewPartition(s.ctx, "another", s.now)
	s.is(err, nil)
	s.same(p.Number, int64(1))
	_, err = s.store.NewestPartition(s.ctx, "a third")
	s.is(err, store.ErrNotFound)
	s.revoke(s.certificate(func(c *store.Certificate) { c.IssuerID = "a third" }))
	_, err = s.store.NewestPartition(s.ctx, "a third") // the full list is none
	s.is(err, store.ErrNotFound)
	p, err = s.store.NewPartition(s.ctx, "a third", s.now)
	s.is(err, nil)
	s.same(p.Number, int64(1))
}

func partitionsCount(s *suite) {
	first := s.partition()
	s.in(first, time.Hour)
	second := s.partition()
	s.revoke(s.in(second, time.Hour))
	s.in(second, -time.Hour)
	s.in(0, time.Hour)
	s.certificate(func(c *store.Certificate) { c.IssuerID, c.Partition = "another", second })
	s.same(s.in(second, time.Hour).Partition, second)
	p, err := s.store.NewestPartition(s.ctx, issuerID)
	s.is(err, nil)
	s.same(p.Issued, 3)
}

func partitionsNeedLists(s *suite) {
	list, err := s.store.StaleLists(s.ctx, nil, s.now, s.now, 10)
	s.is(err, nil)
	s.same(len(list), 0)
	s.staleAre(s.now, 0)
	s.partition()
	s.partition()
	s.staleAre(s.now, 0, 1, 2)
	first := s.stale(s.now)
	s.same(first[2], store.StaleList{IssuerID: issuerID, Partition: 2, Number: 0, Basis: first[2].Basis})
	for limit := range 3 {
		list, err := s.store.StaleLists(s.ctx, []string{"another", issuerID, "a third"}, s.now, s.never(), limit+1)
		s.is(err, nil)
		s.same(len(list), limit+1)
		s.same(list[0], store.StaleList{IssuerID: "another"})
	}
	s.publish(s.now, s.now)
	s.staleAre(s.now)
}

func revocationsMakeStale(s *suite) {
	first, second := s.partition(), s.partition()
	inFirst, inSecond, inNone := s.in(first, time.Hour), s.in(second, time.Hour), s.in(0, time.Hour)
	s.publish(s.now, s.now)
	for _, step := range []struct {
		certificate store.Certificate
		want        []int64
	}{{inFirst, []int64{0, 1}}, {inSecond, []int64{0, 2}}, {inNone, []int64{0}}} {
		s.revoke(step.certificate)
		s.staleAre(s.now, step.want...)
		s.is(s.store.Revoke(s.ctx, step.certificate.CertificateKey, store.Revocation{At: s.now}), store.ErrRevoked)
		s.publish(s.now, s.now)
	}
	s.is(s.store.Revoke(s.ctx, s.key(s.now), store.Revocation{At: s.now}), store.ErrNotFound)
	s.staleAre(s.now)
	s.same(s.stale(s.now.Add(2 * time.Hour))[0].Number, int64(4))
}

func abandonmentMakesStale(s *suite) {
	number := s.partition()
	s.publish(s.now, s.now)
	intent := s.newIntent("")
	intent.Owner, intent.Partition = store.Owner{}, number
	s.must(s.store.BeginIssuance(s.ctx, intent))
	s.same(s.intents(s.now.Add(time.Hour), 1), []store.Intent{intent})
	s.staleAre(s.now)
	next := s.newIntent("")
	next.Owner = store.Owner{}
	s.must(s.store.AbandonIntent(s.ctx, intent.CertificateKey, s.now, &next, nil))
	s.staleAre(s.now, 0, 1)
	s.same(s.readCertificate(intent.CertificateKey).Partition, number)
	s.same(s.revoked(number, s.now), []store.RevokedEntry{{Serial: intent.Serial, Revocation: store.Revocation{At: s.now, Reason: 5}}})
	s.publish(s.now, s.now)
	s.must(s.store.AbandonIntent(s.ctx, next.CertificateKey, s.now, nil, nil))
	s.staleAre(s.now, 0)
}

func bulkMakesStale(s *suite) {
	first, second := s.partition(), s.partition()
	var keys []store.CertificateKey
	for range 3 {
		keys = append(keys, s.in(first, time.Hour).CertificateKey, s.in(0, time.Hour).CertificateKey)
	}
	last := s.in(second, time.Hour).CertificateKey
	s.publish(s.now, s.now)
	_, err := s.store.RevokeAll(s.ctx, keys, store.Revocation{At: s.now, Reason: 4})
	s.is(err, nil)
	s.staleAre(s.now, 0, 1)
	s.same(len(s.revoked(first, s.now)), 3)
	s.publish(s.now, s.now)
	_, err = s.store.RevokeAll(s.ctx, append(keys, s.key(s.now)), store.Revocation{At: s.now})
	s.is(err, nil)
	s.staleAre(s.now) // nothing was left to revoke
	_, err = s.store.RevokeAll(s.ctx, append(keys, last), store.Revocation{At: s.now})
	s.is(err, nil)
	s.staleAre(s.now, 0, 2)
}

func listsAreDue(s *suite) {
	first, second := s.partition(), s.partition()
	s.in(first, 1000*time.Hour)
	late := s.in(second, 1000*time.Hour)
	for i, stale := range s.stale(s.now) {
		s.must(s.store.PublishList(s.ctx, s.listFor(stale, s.now.Add(time.Duration(-i)*time.Minute)), stale.Basis, store.Fence{}))
	}
	hour := s.now.Add(time.Hour)
	s.staleAre(hour.Add(-2 * time.Minute))
	s.staleAre(hour.Add(-time.Minute), 2)
	s.staleAre(hour, 2, 1)
	s.staleAre(hour.Add(time.Millisecond), 2, 1, 0)
	s.revoke(late)
	s.staleAre(hour.Add(time.Millisecond), 0, 2, 1) // what was revoked comes first
	s.publish(s.now, s.now)
	s.staleAre(hour, 1)
}

// listsAreAhead: lists that end after any that are made now are stale, also the
// last one of a partition whose certificates had expired by the clock.
func listsAreAhead(s *suite) {
	first := s.partition()
	s.in(first, time.Hour)
	s.partition()
	s.publish(s.now.Add(48*time.Hour), s.now)
	ahead := func(after time.Duration) (numbers []int64) {
		list, err := s.store.StaleLists(s.ctx, []string{issuerID}, s.now, s.now.Add(after), 0)
		s.is(err, nil)
		for _, stale := range list {
			numbers = append(numbers, stale.Partition)
			s.must(s.store.PublishList(s.ctx, s.listFor(stale, s.now), stale.Basis, store.Fence{}))
		}
		slices.Sort(numbers)
		return numbers
	}
	s.same(ahead(49*time.Hour), []int64(nil))
	s.same(ahead(48*time.Hour), []int64{0, 1, 2})
	s.same(ahead(48*time.Hour), []int64(nil))
	s.staleAre(s.now.Add(2*time.Hour), 0, 1, 2) // none of them is the last any more
}

// partitionsEnd follows lists beyond their certificates: each is published once
// more after the last has expired, and then no more.
func partitionsEnd(s *suite) {
	first := s.partition()
	s.in(first, time.Hour)
	s.revoke(s.in(first, 90*time.Minute))
	second := s.partition()
	s.in(second, 10*time.Hour)
	s.in(0, 5*time.Hour)
	day := func(at time.Duration) (now, due time.Time) { return s.now.Add(at), s.now.Add(at + 48*time.Hour) }
	for _, step := range []struct {
		at   time.Duration
		want []int64
	}{
		{0, []int64{0, 1, 2}},
		{90 * time.Minute, []int64{0, 1, 2}}, // good until the end of this moment
		{2 * time.Hour, []int64{0, 1, 2}},
		{3 * time.Hour, []int64{0, 2}},
		{10 * time.Hour, []int64{0, 2}},
		{11 * time.Hour, []int64{0, 2}},
		{12 * time.Hour, nil},
	} {
		now, due := day(step.at)
		got := map[int64]bool{}
		for _, stale := range s.stale(due) {
			got[stale.Partition] = true
		}
		want := map[int64]bool{}
		for _, number := range step.want {
			want[number] = true
		}
		s.same(got, want)
		s.publish(now, due)
	}
	list, err := s.store.RevocationList(s.ctx, issuerID, first)
	s.is(err, nil)
	s.same(list.Number, int64(3))
	s.same(s.tidy(store.TidyCutoff{Certificates: s.now.Add(1000 * time.Hour)}), 4)
	_, due := day(1000 * time.Hour)
	s.staleAre(due)
}

func emptyPartitionsEnd(s *suite) {
	s.partition()
	far := s.now.Add(1000 * time.Hour)
	s.publish(s.now, s.now)
	s.staleAre(far, 0, 1) // it waits for certificates
	s.partition()
	s.publish(s.now, far)
	s.staleAre(far, 0, 2)
	s.in(2, time.Minute)
	s.publish(s.now.Add(time.Hour), far)
	s.staleAre(far)
}

func partitionsGoOn(s *suite) {
	first, second := s.partition(), s.partition()
	s.in(first, time.Minute)
	s.in(second, time.Minute)
	far := s.now.Add(1000 * time.Hour)
	s.publish(s.now.Add(time.Hour), s.now)
	s.staleAre(far)
	s.certificate(func(c *store.Certificate) { c.IssuerID, c.Partition = "another", first })
	s.staleAre(far)
	s.in(second, time.Hour)
	s.staleAre(far, 0, 2)
	s.staleAre(s.now.Add(2 * time.Hour))
	s.publish(s.now.Add(2*time.Hour), far)
	s.staleAre(far)
	s.in(0, 3*time.Hour)
	s.staleAre(far, 0)
	s.publish(s.now.Add(4*time.Hour), far)
	s.staleAre(far)
	s.revoke(s.in(first, time.Second))
	s.staleAre(s.now, 0, 1)
}
