// Package storetest is the one suite that every engine of package store passes:
// a test for each promise of its interface, the races included. It judges
// engines by their answers only, never by how they keep things; what an engine
// does when its disk or its server fails is tested beside the engine.
package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// Run runs the suite. open makes an empty store that judges expiry by the real
// clock, and that is closed by the test's cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) { RunGroups(t, open) }

// RunGroups runs some groups of the suite, all when none is named, for stores
// that keep things in other ways than usual.
func RunGroups(t *testing.T, open func(t *testing.T) store.Store, names ...string) {
	for _, group := range []struct {
		name  string
		tests map[string]func(*suite)
	}{
		{"accounts", accountTests()},
		{"bindings", bindingTests()},
		{"orders", orderTests()},
		{"replaces", replacesTests()},
		{"authorizations", authorizationTests()},
		{"validations", validationTests()},
		{"issuance", issuanceTests()},
		{"one-time tokens", tokenTests()},
		{"certificates", certificateTests()},
		{"listing", listingTests()},
		{"services", serviceTests()},
		{"inventory", inventoryTests()},
		{"partitions", partitionTests()},
		{"revocation lists", listTests()},
		{"administration", administrationTests()},
		{"tidy", tidyTests()},
		{"races", raceTests()},
		{"model", modelTests()},
		{"whole", wholeTests()},
	} {
		if len(names) > 0 && !slices.Contains(names, group.name) {
			continue
		}
		t.Run(group.name, func(t *testing.T) {
			for name, test := range group.tests {
				t.Run(name, func(t *testing.T) {
					t.Parallel() // they mostly wait for the disk
					test(newSuite(t, open(t)))
				})
			}
		})
	}
}

// suite is one test's store and what makes records for it. Its helpers end the
// test when the store does not do what they need.
type suite struct {
	*testing.T
	store store.Store
	ctx   context.Context
	now   time.Time // a whole millisecond, when the test began
}

func newSuite(t *testing.T, s store.Store) *suite {
	return &suite{T: t, store: s, ctx: t.Context(), now: time.Now().UTC().Truncate(time.Millisecond)}
}

// must ends the test at an unexpected error.
func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// is reports an error that is not the wanted one (nil for none).
func (s *suite) is(err, want error) {
	s.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		s.Errorf("the error is %v, want %v", err, want)
	}
}

// same reports a difference between two values.
func (s *suite) same(got, want any) {
	s.Helper()
	if !reflect.DeepEqual(got, want) {
		s.Errorf("got  %s\nwant %s", dump(got), dump(want))
	}
}

func dump(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (s *suite) id() string {
	s.Helper()
	id, err := store.NewID(s.now, rand.Reader)
	s.must(err)
	return id
}

func (s *suite) key(at time.Time) store.CertificateKey {
	s.Helper()
	n, err := serial.New(at, rand.Reader)
	s.must(err)
	return store.CertificateKey{IssuerID: issuerID, Serial: n}
}

const issuerID = "00112233445566ff"

func dns(name string) identifier.Identifier {
	return identifier.Identifier{Type: identifier.DNS, Value: name}
}

func report(text string) *failure.Report {
	return &failure.Report{Kind: failure.Unauthorized, Text: text, Parts: []failure.Part{
		{Identifier: dns("part.example"), Kind: failure.DNS, Public: "no such name"},
	}}
}

// newAccount is an account that is not stored yet.
func (s *suite) newAccount() store.Account {
	id := s.id()
	return store.Account{
		ID: id, Key: store.AccountKey{Thumbprint: "key of " + id, JWK: []byte(`{"kty":"EC"}`)},
		Contact: []string{"mailto:a@example.com"}, Status: store.AccountValid, Created: s.now,
	}
}

// account is a stored account.
func (s *suite) account() store.Account {
	s.Helper()
	a, _, err := s.store.CreateAccount(s.ctx, s.newAccount())
	s.must(err)
	return a
}

func (s *suite) newAuthorization(accountID string, name identifier.Identifier) store.Authorization {
	return store.Authorization{
		ID: s.id(), AccountID: accountID, Identifier: name.Base(), Wildcard: name.IsWildcard(), Token: s.id(),
		Methods: []string{"http-01", "dns-01"}, State: store.AuthorizationPending,
		Created: s.now, Expires: s.now.Add(time.Hour),
	}
}

// newOrder is an order with fresh authorizations, not stored yet.
func (s *suite) newOrder(accountID string, names ...string) store.Order {
	o := store.Order{ID: s.id(), AccountID: accountID, Profile: "tls-server", Created: s.now, Expires: s.now.Add(time.Hour)}
	for _, name := range names {
		o.Identifiers = append(o.Identifiers, dns(name))
		authz := s.newAuthorization(accountID, dns(name))
		o.Authorizations = append(o.Authorizations, authz)
		o.AuthorizationIDs = append(o.AuthorizationIDs, authz.ID)
	}
	return o
}

// create stores an order whose authorizations are all fresh.
func (s *suite) create(o store.Order) store.Order {
	s.Helper()
	stored, created, err := s.store.CreateOrder(s.ctx, o, o.Authorizations)
	s.must(err)
	if !created {
		s.Fatalf("the store has order %s instead of a new one", stored.ID)
	}
	return stored
}

// order is a stored order, pending.
func (s *suite) order(names ...string) store.Order {
	s.Helper()
	return s.create(s.newOrder(s.account().ID, names...))
}

func (s *suite) readOrder(id string) store.Order {
	s.Helper()
	o, err := s.store.Order(s.ctx, id)
	s.must(err)
	return o
}

func (s *suite) readAuthorization(id string) store.Authorization {
	s.Helper()
	a, err := s.store.Authorization(s.ctx, id)
	s.must(err)
	return a
}

// status reports an order that does not have the wanted status.
func (s *suite) status(id string, want store.OrderStatus) {
	s.Helper()
	o := s.readOrder(id)
	if got := o.Status(s.now); got != want {
		s.Errorf("the order is %s, want %s", got, want)
	}
}

func (s *suite) proven() store.Outcome {
	return store.Outcome{Method: "http-01", Thumbprint: "thumb", Settled: s.now, Expires: s.now.Add(8 * time.Hour)}
}

func (s *suite) failed() store.Outcome {
	return store.Outcome{Method: "http-01", Thumbprint: "thumb", Settled: s.now, Failure: report("wrong answer")}
}

// ready is a stored order whose names are proven.
func (s *suite) ready(names ...string) store.Order {
	s.Helper()
	return s.prove(s.order(names...))
}

func (s *suite) prove(o store.Order) store.Order {
	s.Helper()
	for _, id := range o.AuthorizationIDs {
		s.must(s.store.FinishAuthorization(s.ctx, id, s.proven()))
	}
	return s.readOrder(o.ID)
}

func (s *suite) newIntent(orderID string) store.Intent {
	return store.Intent{
		CertificateKey: s.key(s.now), Owner: store.Owner{Kind: store.OwnerOrder, ID: orderID}, TBS: tbs(),
		Request: []byte("request"), Attempt: 1, Created: s.now, Deadline: s.now.Add(time.Minute),
	}
}

// begin is the intent of an order that is being finalized.
func (s *suite) begin(o store.Order) store.Intent {
	s.Helper()
	intent := s.newIntent(o.ID)
	s.must(s.store.BeginIssuance(s.ctx, intent))
	return intent
}

// newCertificate is the certificate that comes of an intent.
func (s *suite) newCertificate(i store.Intent, accountID string, names ...string) store.Certificate {
	der := append([]byte("certificate "), i.Serial[:]...)
	c := store.Certificate{
		CertificateKey: i.CertificateKey, Owner: i.Owner, AccountID: accountID, Requester: "acme:" + accountID,
		Profile: "tls-server", Rule: "default", DER: der, Fingerprint: sha256.Sum256(der),
		NotBefore: s.now, NotAfter: s.now.Add(24 * time.Hour), Issued: s.now,
	}
	for _, name := range names {
		c.Identifiers = append(c.Identifiers, dns(name))
	}
	return c
}

// issue takes a ready order to its certificate.
func (s *suite) issue(o store.Order) store.Certificate {
	s.Helper()
	c := s.newCertificate(s.begin(o), o.AccountID)
	c.Identifiers = o.Identifiers
	s.must(s.store.CompleteIssuance(s.ctx, c))
	return c
}

// record stores a certificate of no order.
func (s *suite) record(c store.Certificate) store.Certificate {
	s.Helper()
	c.Owner = store.Owner{}
	s.must(s.store.BeginIssuance(s.ctx, store.Intent{
		CertificateKey: c.CertificateKey, Partition: c.Partition, TBS: tbs(), Attempt: 1, Created: s.now, Deadline: s.now.Add(time.Minute),
	}))
	s.must(s.store.CompleteIssuance(s.ctx, c))
	return c
}

// ids are the ids of records, in their order.
func ids[T any](list []T, id func(*T) string) []string {
	all := make([]string, 0, len(list))
	for i := range list {
		all = append(all, id(&list[i]))
	}
	return all
}

func orderID(o *store.Order) string         { return o.ID }
func accountID(a *store.Account) string     { return a.ID }
func serialOf(c *store.Certificate) string  { return c.Serial.String() }
func authzID(a *store.Authorization) string { return a.ID }
func intentSerial(i *store.Intent) string   { return i.Serial.String() }
