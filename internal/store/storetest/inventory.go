package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"chancery/internal/identifier"
	"chancery/internal/store"
)

func inventoryTests() map[string]func(*suite) {
	return map[string]func(*suite){"answers what a plain list does": func(s *suite) {
		rapid.Check(s.T, func(t *rapid.T) {
			s.tidy(store.TidyCutoff{Certificates: s.now.AddDate(100, 0, 0)}) // what the run before left
			m := &inventoryModel{suite: s, t: t, inventory: inventory{first: map[string]time.Time{}}}
			t.Repeat(map[string]func(*rapid.T){
				"":           m.check,
				"issue":      m.issue,
				"issue more": m.issue,
				"renew":      m.renew,
				"abandon":    m.abandonOne,
				"revoke":     m.revokeOne,
				"revoke all": m.revokeAll,
				"tidy":       m.tidyOld,
			})
		})
	}}
}

// inventoryModel does the same to a store and to a plain list.
type inventoryModel struct {
	*suite
	inventory
	t *rapid.T
}

// What certificates are made of, so few that they have much in common.
var (
	someNames = []identifier.Identifier{
		dns("a.old.corp"), dns("b.old.corp"), dns("*.old.corp"), dns("old.corp"), dns("x.a.old.corp"), dns("web.new.corp"),
		dns("localhost"), {Type: identifier.IP, Value: "10.0.0.1"}, {Type: identifier.Email, Value: "Ops@old.corp"},
		{Type: identifier.URI, Value: "spiffe://old.corp/a.b"},
	}
	somePatterns   = []string{"*.old.corp", "**.old.corp", "**.corp", "**", "*.corp", "a.old.corp", "**.a.old.corp", "*.none", "10.0.0.1", "**.0.0.1"}
	someParts      = []string{"old", "corp", "web", "a.o", "zzz", "local", "10.", "ops@", "old.corp", "x.a.old.corp", "dns", "://", "co", "é", "\"or\""}
	someRequesters = []string{"token:ci/app", "token:ci/db", "token:cix/app", "acme:one", "acme:two", "self", ""}
	someIssuers    = []string{"00aa", "00bb"}
	someProfiles   = []string{"tls-server", "tls-client"}
	someSubjects   = []string{"", "CN=a,O=Corp", "O=Corp"}
	someAccounts   = []string{"", "one", "two"}
)

func (m *inventoryModel) draw(label string, n int) int {
	return rapid.IntRange(0, n-1).Draw(m.t, label)
}

// one is one of a list.
func one[T any](m *inventoryModel, label string, list []T) T { return list[m.draw(label, len(list))] }

// moment is within some hours.
func (m *inventoryModel) moment(label string) time.Time {
	return m.now.Add(time.Duration(rapid.IntRange(-4, 4).Draw(m.t, label)) * time.Hour)
}

func (m *inventoryModel) names() []identifier.Identifier {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(someNames), 0, 3, rapid.ID).Draw(m.t, "names")
}

// someKey is that of a certificate, or of none.
func (m *inventoryModel) someKey(label string) store.CertificateKey {
	if i := m.draw(label, len(m.certificates)+1); i > 0 {
		return m.certificates[i-1].CertificateKey
	}
	return store.CertificateKey{IssuerID: someIssuers[0]}
}

func (m *inventoryModel) issue(*rapid.T) { m.issueFor(m.names()) }

// renew issues for names that have a certificate.
func (m *inventoryModel) renew(*rapid.T) {
	if len(m.certificates) > 0 {
		m.issueFor(one(m, "names of", m.certificates).Identifiers)
	}
}

func (m *inventoryModel) issueFor(names []identifier.Identifier) {
	c := m.newCertificate(m.newIntent(""), one(m, "account", someAccounts))
	c.CertificateKey = m.key(m.moment("serial"))
	c.IssuerID, c.Profile, c.Subject = one(m, "issuer", someIssuers), one(m, "profile", someProfiles), one(m, "subject", someSubjects)
	c.Requester, c.Identifiers = one(m, "requester", someRequesters), slices.Clone(names)
	c.Issued, c.NotAfter = m.moment("issued"), m.moment("end")
	c.KeyHash = [32]byte{byte(m.draw("key", 3))}
	if m.draw("replaces", 3) == 0 {
		key := m.someKey("replaced")
		c.Replaces = &key
	}
	if len(c.Identifiers) == 0 {
		c.Identifiers = nil
	}
	m.add(m.record(c))
}

func (m *inventoryModel) abandonOne(*rapid.T) {
	intent := m.newIntent("")
	intent.IssuerID, intent.Owner = one(m, "issuer", someIssuers), store.Owner{}
	var o store.Order
	if m.draw("order", 2) == 0 {
		o = m.ready("a.old.corp")
		intent.Owner = store.Owner{Kind: store.OwnerOrder, ID: o.ID}
	}
	m.must(m.store.BeginIssuance(m.ctx, intent))
	at := m.moment("at")
	m.must(m.store.AbandonIntent(m.ctx, intent.CertificateKey, at, nil, nil))
	c := store.Abandoned(&intent, at)
	c.AccountID, c.Profile, c.Identifiers = o.AccountID, o.Profile, o.Identifiers
	m.add(c)
}

// revocation revokes in the list, if a certificate is there and not revoked.
func (m *inventoryModel) revocation(key store.CertificateKey, r store.Revocation) error {
	c := m.find(key)
	switch {
	case c == nil:
		return store.ErrNotFound
	case c.Revocation != nil:
		return store.ErrRevoked
	}
	c.Revocation = &r
	return nil
}

func (m *inventoryModel) revokeOne(*rapid.T) {
	key, r := m.someKey("revoked"), store.Revocation{At: m.moment("at"), Reason: 1}
	m.is(m.store.Revoke(m.ctx, key, r), m.revocation(key, r))
}

func (m *inventoryModel) revokeAll(*rapid.T) {
	var keys, want []store.CertificateKey
	r := store.Revocation{At: m.moment("at"), Reason: 4}
	for range m.draw("many", 5) {
		keys = append(keys, m.someKey("revoked"))
		if m.revocation(keys[len(keys)-1], r) == nil {
			want = append(want, keys[len(keys)-1])
		}
	}
	got, err := m.store.RevokeAll(m.ctx, keys, r)
	m.must(err)
	m.equal("revoked", got, want)
}

func (m *inventoryModel) tidyOld(*rapid.T) {
	cutoff := m.moment("cutoff").Add(-2 * time.Hour)
	before := len(m.certificates)
	m.certificates = slices.DeleteFunc(m.certificates, func(c store.Certificate) bool { return c.NotAfter.Before(cutoff) })
	m.equal("tidied", m.tidy(store.TidyCutoff{Certificates: cutoff}), before-len(m.certificates))
}

func (m *inventoryModel) equal(what string, got, want any) {
	m.Helper()
	if g, w := dump(got), dump(want); g != w {
		m.t.Fatalf("%s: got %s, want %s", what, g, w)
	}
}

// check asks a few questions, others each time.
func (m *inventoryModel) check(*rapid.T) {
	m.checkListing()
	m.checkServices()

	now, issuer, profile := m.moment("now"), one(m, "issuer", []string{"", "00aa", "00bb", "00cc"}), one(m, "profile", []string{"", "tls-server", "none"})
	counts, err := m.store.CountCertificates(m.ctx, issuer, profile, now)
	m.must(err)
	m.equal("counts", counts, m.count(issuer, profile, now))
	if issuer != "" {
		count, last, err := m.store.Unexpired(m.ctx, issuer, now)
		m.must(err)
		wantCount, wantLast := m.unexpired(issuer, now)
		m.equal("unexpired", fmt.Sprint(count, last), fmt.Sprint(wantCount, wantLast))
	}
	key := m.someKey("replaced")
	by, err := m.store.ReplacedBy(m.ctx, key)
	if want := m.replacedBy(key); want != nil {
		m.must(err)
		m.equal("replaced by", by, want)
	} else if !errors.Is(err, store.ErrNotFound) {
		m.t.Fatalf("replaced by %v, %v", by, err)
	}
}

func (m *inventoryModel) checkListing() {
	query := m.query()
	query.Limit = 1 + m.draw("limit", 4)
	var got []store.CertificateKey
	for {
		list, err := m.store.ListCertificates(m.ctx, query)
		m.must(err)
		for i := range list {
			m.equal("listed", list[i], m.find(list[i].CertificateKey))
			got = append(got, list[i].CertificateKey)
		}
		if len(list) > query.Limit {
			m.t.Fatalf("a page has %d certificates", len(list))
		}
		if len(list) == 0 {
			break
		}
		query.Before = &got[len(got)-1]
	}
	query.Before = nil
	if g, w := dump(got), dump(m.list(&query)); g != w {
		m.t.Fatalf("%s: got %s, want %s", dump(query), g, w)
	}
}

// query asks one to three questions.
func (m *inventoryModel) query() store.CertificateQuery {
	q := store.CertificateQuery{Now: m.moment("now")}
	questions := []func(){
		func() { q.Name = one(m, "name", someNames).Value },
		func() { q.NamePart = one(m, "part", someParts) },
		func() { q.NamePattern = one(m, "pattern", somePatterns) },
		func() { q.ServiceID = store.ServiceID(m.names()) },
		func() { q.AccountID = one(m, "account", someAccounts) },
		func() {
			q.Requester = one(m, "requester", append([]string{"token:", "token:ci/", "acme:", "x/"}, someRequesters...))
		},
		func() { q.Subject = one(m, "subject", someSubjects) },
		func() { q.Profile = one(m, "profile", someProfiles) },
		func() { q.IssuerID = one(m, "issuer", someIssuers) },
		func() { key := m.someKey("serial"); q.Serial = &key.Serial },
		func() { q.KeyHash = &[32]byte{byte(m.draw("key", 4))} },
		func() { key := m.someKey("replaced"); q.Replaces = &key },
		func() { q.IssuedAfter = m.moment("issued after") },
		func() { q.IssuedBefore = m.moment("issued before") },
		func() { q.ExpiresAfter = m.moment("expires after") },
		func() { q.ExpiresBefore = m.moment("expires before") },
		func() { q.RevokedAfter = m.moment("revoked after") },
		func() { q.RevokedBefore = m.moment("revoked before") },
		func() {
			q.Status = one(m, "status", []store.CertificateStatus{store.CertificateGood, store.CertificateExpired, store.CertificateRevoked, store.CertificateAbandoned})
		},
		func() {
			if len(m.certificates) > 0 {
				c := one(m, "fingerprint", m.certificates)
				q.Fingerprint = &c.Fingerprint
			}
		},
	}
	for range m.draw("questions", 4) {
		one(m, "question", questions)()
	}
	return q
}

func (m *inventoryModel) checkServices() {
	q := store.ServiceQuery{Now: m.moment("now"), Limit: 1 + m.draw("limit", 4)}
	questions := []func(){
		func() { q.ID = store.ServiceID(m.names()) },
		func() { q.Name = one(m, "name", someNames).Value },
		func() { q.NamePart = one(m, "part", someParts) },
		func() { q.NamePattern = one(m, "pattern", somePatterns) },
		func() {
			q.Health = one(m, "health", []store.ServiceHealth{store.ServiceHealthy, store.ServiceUnhealthy})
		},
		func() { q.ExpiresBefore = m.moment("ends before") },
	}
	for range m.draw("questions", 3) {
		one(m, "question", questions)()
	}
	want := m.services(&q)
	for {
		list, err := m.store.ListServices(m.ctx, q)
		m.must(err)
		if len(list) == 0 {
			break
		}
		for _, got := range list {
			m.equal("service", got, want[got.ID])
			delete(want, got.ID) // so it is not found twice
			alone, err := m.store.Service(m.ctx, got.ID)
			m.must(err)
			m.equal("service", alone, got)
			q.Before = got.ID
		}
	}
	if len(want) > 0 {
		m.t.Fatalf("%s does not find %s", dump(q), dump(want))
	}
}
