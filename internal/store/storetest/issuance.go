package storetest

import (
	"crypto/sha256"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/store"
)

func issuanceTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"begins when an order is ready":          issuanceBegins,
		"does not begin otherwise":               issuanceRefused,
		"ends with a certificate":                issuanceEnds,
		"of the CA itself has no owner":          issuanceWithoutOwner,
		"left over is listed, oldest first":      intentsAreListed,
		"abandoned goes on with another serial":  abandonedGoesOn,
		"abandoned for good ends the order":      abandonedEnds,
		"abandoned is settled":                   abandonedIsSettled,
		"with an unreadable TBS can be given up": unreadableIsAbandoned,
	}
}

var (
	tbsNotBefore = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	tbsNotAfter  = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
)

// tbs begins like every TBSCertificate does (RFC 5280 §4.1); of its validity
// the first time is a UTCTime and the second a GeneralizedTime.
func tbs() []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
		b.AddASN1Int64(1)                                      // serialNumber
		b.AddASN1(asn1.SEQUENCE, func(*cryptobyte.Builder) {}) // signature
		b.AddASN1(asn1.SEQUENCE, func(*cryptobyte.Builder) {}) // issuer
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1UTCTime(tbsNotBefore)
			b.AddASN1GeneralizedTime(tbsNotAfter)
		})
	})
	return b.BytesOrPanic()
}

func (s *suite) intents(before time.Time, limit int) []store.Intent {
	s.Helper()
	list, err := s.store.Intents(s.ctx, before, limit)
	s.must(err)
	return list
}

func (s *suite) readCertificate(key store.CertificateKey) store.Certificate {
	s.Helper()
	c, err := s.store.Certificate(s.ctx, key)
	s.must(err)
	return c
}

func issuanceBegins(s *suite) {
	o := s.ready("a.example")
	intent := s.begin(o)
	got := s.readOrder(o.ID)
	s.same(got.Finalized, intent.Created)
	s.same(got.Status(s.now), store.OrderProcessing)
	s.same(s.intents(intent.Deadline.Add(time.Millisecond), 10), []store.Intent{intent})
	_, err := s.store.Certificate(s.ctx, intent.CertificateKey)
	s.is(err, store.ErrNotFound)
}

func issuanceRefused(s *suite) {
	pending, failed, withdrawn := s.order("a.example"), s.order("a.example"), s.ready("a.example")
	s.must(s.store.FinishAuthorization(s.ctx, failed.AuthorizationIDs[0], s.failed()))
	s.must(s.store.FailOrder(s.ctx, withdrawn.ID, report("withdrawn")))
	processing, valid := s.ready("a.example"), s.ready("a.example")
	s.issue(valid)
	left := s.begin(processing)
	for id, want := range map[string]error{
		pending.ID: store.ErrNotReady, failed.ID: store.ErrNotReady, withdrawn.ID: store.ErrNotReady,
		processing.ID: store.ErrClaimed, valid.ID: store.ErrClaimed, s.id(): store.ErrNotFound,
	} {
		s.is(s.store.BeginIssuance(s.ctx, s.newIntent(id)), want)
	}
	late := s.ready("a.example")
	intent := s.newIntent(late.ID)
	intent.Created = late.Expires
	s.is(s.store.BeginIssuance(s.ctx, intent), store.ErrNotReady)
	s.same(s.intents(s.now.Add(time.Hour), 10), []store.Intent{left})
}

func issuanceEnds(s *suite) {
	o := s.ready("a.example", "b.example")
	c := s.newCertificate(s.begin(o), o.AccountID, "a.example", "b.example")
	for range 3 { // it can be repeated
		s.is(s.store.CompleteIssuance(s.ctx, c), nil)
		got := s.readOrder(o.ID)
		s.same(got.Certificate, &c.CertificateKey)
		s.same(got.Status(s.now), store.OrderValid)
		s.same(s.readCertificate(c.CertificateKey), c)
		s.same(s.intents(s.now.Add(time.Hour), 10), []store.Intent(nil))
	}
	o.Certificate, o.Finalized = &c.CertificateKey, s.now
	s.same(s.readOrder(o.ID), o)
	s.is(s.store.CompleteIssuance(s.ctx, s.newCertificate(s.newIntent(o.ID), o.AccountID)), store.ErrNotFound)
	s.must(s.store.Revoke(s.ctx, c.CertificateKey, store.Revocation{At: s.now}))
	s.status(o.ID, store.OrderValid)
}

func issuanceWithoutOwner(s *suite) {
	intent := s.newIntent("")
	intent.Owner, intent.Request = store.Owner{}, nil
	s.is(s.store.BeginIssuance(s.ctx, intent), nil)
	s.same(s.intents(s.now.Add(time.Hour), 10), []store.Intent{intent})
	c := s.newCertificate(intent, "")
	c.Requester, c.Rule, c.Profile = "self", "", ""
	s.is(s.store.CompleteIssuance(s.ctx, c), nil)
	s.same(s.readCertificate(c.CertificateKey), c)

	intent.CertificateKey = s.key(s.now)
	s.must(s.store.BeginIssuance(s.ctx, intent))
	s.is(s.store.AbandonIntent(s.ctx, intent.CertificateKey, s.now, nil, report("left over")), nil)
	s.same(s.readCertificate(intent.CertificateKey).Abandoned, true)
}

func intentsAreListed(s *suite) {
	s.same(s.intents(s.now.Add(time.Hour), 0), []store.Intent(nil))
	var want []string
	for i := range 5 {
		intent := s.newIntent("")
		intent.Owner = store.Owner{}
		intent.Created = s.now.Add(time.Duration(i-5) * time.Second)
		intent.Deadline = s.now.Add(time.Duration(i) * time.Second)
		s.must(s.store.BeginIssuance(s.ctx, intent))
		want = append(want, intentSerial(&intent))
	}
	s.same(ids(s.intents(s.now, 10), intentSerial), []string{})
	s.same(ids(s.intents(s.now.Add(3*time.Second), 10), intentSerial), want[:3])
	s.same(ids(s.intents(s.now.Add(time.Hour), 2), intentSerial), want[:2])
}

// abandoned is the record that an abandoned intent leaves.
func (s *suite) abandoned(i store.Intent, o store.Order) store.Certificate {
	return store.Certificate{
		CertificateKey: i.CertificateKey, Owner: i.Owner, AccountID: o.AccountID, Profile: o.Profile, Identifiers: o.Identifiers,
		DER: i.TBS, Fingerprint: sha256.Sum256(i.TBS), NotBefore: tbsNotBefore, NotAfter: tbsNotAfter, Issued: i.Created,
		Abandoned: true, Revocation: &store.Revocation{At: s.now.Add(time.Minute), Reason: 5},
	}
}

func abandonedGoesOn(s *suite) {
	o := s.ready("a.example")
	first := s.begin(o)
	next := s.newIntent(o.ID)
	next.Attempt = 2
	at := s.now.Add(time.Minute)
	s.is(s.store.AbandonIntent(s.ctx, first.CertificateKey, at, &next, report("not used")), nil)
	s.same(s.readCertificate(first.CertificateKey), s.abandoned(first, o))
	s.status(o.ID, store.OrderProcessing)
	s.same(s.intents(s.now.Add(time.Hour), 10), []store.Intent{next})

	s.is(s.store.CompleteIssuance(s.ctx, s.newCertificate(first, o.AccountID)), store.ErrNotFound)
	s.is(s.store.CompleteIssuance(s.ctx, s.newCertificate(next, o.AccountID)), nil)
	s.same(s.readOrder(o.ID).Certificate, &next.CertificateKey)
	s.status(o.ID, store.OrderValid)
}

func abandonedEnds(s *suite) {
	o := s.ready("a.example")
	intent := s.begin(o)
	why := report("the signer did not answer")
	s.is(s.store.AbandonIntent(s.ctx, intent.CertificateKey, s.now.Add(time.Minute), nil, why), nil)
	s.status(o.ID, store.OrderInvalid)
	s.same(s.readOrder(o.ID).Failure, why)
	s.same(s.readCertificate(intent.CertificateKey), s.abandoned(intent, o))
	s.same(len(s.intents(s.now.Add(time.Hour), 10)), 0)
	s.is(s.store.BeginIssuance(s.ctx, s.newIntent(o.ID)), store.ErrNotReady)

	silent := s.begin(s.ready("b.example"))
	s.is(s.store.AbandonIntent(s.ctx, silent.CertificateKey, s.now, nil, nil), nil)
	s.status(silent.Owner.ID, store.OrderInvalid)
}

func abandonedIsSettled(s *suite) {
	o := s.ready("a.example")
	done := s.issue(o)
	gone := s.begin(s.ready("b.example"))
	s.must(s.store.AbandonIntent(s.ctx, gone.CertificateKey, s.now.Add(time.Minute), nil, report("gone")))
	for _, key := range []store.CertificateKey{done.CertificateKey, gone.CertificateKey, s.key(s.now)} {
		next := s.newIntent(o.ID)
		s.is(s.store.AbandonIntent(s.ctx, key, s.now.Add(time.Hour), &next, report("again")), store.ErrNotFound)
	}
	s.same(s.readCertificate(done.CertificateKey), done)
	s.status(o.ID, store.OrderValid)
	s.same(len(s.intents(s.now.Add(time.Hour), 10)), 0)
	s.same(s.readCertificate(gone.CertificateKey).Revocation.At, s.now.Add(time.Minute))
	s.is(s.store.Revoke(s.ctx, gone.CertificateKey, store.Revocation{At: s.now}), store.ErrRevoked)
}

func unreadableIsAbandoned(s *suite) {
	o := s.ready("a.example")
	intent := s.newIntent(o.ID)
	intent.TBS = []byte("no DER")
	s.must(s.store.BeginIssuance(s.ctx, intent))
	s.is(s.store.AbandonIntent(s.ctx, intent.CertificateKey, s.now, nil, report("gone")), nil)
	c := s.readCertificate(intent.CertificateKey)
	s.same(c.Status(s.now), store.CertificateAbandoned)
	if c.NotAfter.Year() != 9999 {
		s.Errorf("it expires at %s, though nobody knows its end", c.NotAfter)
	}
}
