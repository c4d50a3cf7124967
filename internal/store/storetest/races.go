package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"chancery/internal/store"
)

const (
	rounds = 50
	rivals = 8
)

func raceTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"new accounts with one key":      raceAccounts,
		"a single-use key":               raceBinding,
		"a key for some accounts":        raceFull,
		"key changes to one key":         raceKeys,
		"orders that replace one":        raceReplaces,
		"finalizations of one order":     raceBegin,
		"outcomes of one authorization":  raceFinish,
		"completions of one issuance":    raceComplete,
		"completion with abandonment":    raceAbandon,
		"claims of due validations":      raceDue,
		"revocations of one certificate": raceRevoke,
		"revocations in bulk":            raceInventory,
		"orders of one account":          raceOrders,
		"one one-time token":             raceToken,
		"a token that is freed":          raceFreedToken,
		"one name for provisioners":      raceProvisioner,
		"lists of one partition":         racePublish,
		"new partitions":                 racePartitions,
		"revocation with publication":    raceRevokePublish,
		"finalization with deactivation": raceDeactivate,
	}
}

// race runs f in n goroutines that start together and returns their errors.
func race(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// oneWins ends the test unless exactly one error is nil and the others are
// lost, which says that they came too late.
func (s *suite) oneWins(errs []error, lost error) (winner int) {
	s.Helper()
	winner = -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			s.Fatalf("both %d and %d won", winner, i)
		case !errors.Is(err, lost):
			s.Fatalf("%d lost with %v, want %v", i, err, lost)
		}
	}
	if winner < 0 {
		s.Fatal("nobody won")
	}
	return winner
}

// errExisting stands for "found, not created" where a step reports that
// without an error.
var errExisting = errors.New("it exists")

func raceAccounts(s *suite) {
	for range rounds {
		account := s.newAccount()
		got := make([]string, rivals)
		errs := race(rivals, func(i int) error {
			mine := account
			mine.ID = s.id()
			stored, created, err := s.store.CreateAccount(s.ctx, mine)
			got[i] = stored.ID
			if err == nil && !created {
				err = errExisting
			}
			return err
		})
		winner := s.oneWins(errs, errExisting)
		for _, id := range got {
			s.same(id, got[winner])
		}
	}
}

func raceBinding(s *suite) {
	for range rounds {
		b := s.newBinding()
		b.SingleUse = true
		s.bind(b)
		account := make([]store.Account, rivals)
		errs := race(rivals, func(i int) error {
			account[i] = s.newAccount()
			account[i].BindingID = b.ID
			_, _, err := s.store.CreateAccount(s.ctx, account[i])
			return err
		})
		winner := s.oneWins(errs, store.ErrUsed)
		b.UsedBy, b.Used, b.Uses = account[winner].ID, s.now, 1
		s.same(s.readBinding(b.ID), b)
	}
}

func raceFull(s *suite) {
	const most = 3
	for range rounds {
		b := s.newBinding()
		b.Grant.MaxAccounts = most
		s.bind(b)
		created := 0
		for _, err := range race(rivals, func(int) error {
			account := s.newAccount()
			account.BindingID = b.ID
			_, _, err := s.store.CreateAccount(s.ctx, account)
			return err
		}) {
			if err == nil {
				created++
				continue
			}
			s.is(err, store.ErrFull)
		}
		s.same(created, most)
		s.same(s.readBinding(b.ID).Uses, most)
	}
}

func raceKeys(s *suite) {
	var accounts []store.Account
	for range rivals {
		accounts = append(accounts, s.account())
	}
	for round := range rounds {
		key := store.AccountKey{Thumbprint: fmt.Sprint("wanted ", round), JWK: []byte("{}")}
		errs := race(rivals, func(i int) error {
			_, err := s.store.ChangeKey(s.ctx, accounts[i].ID, accounts[i].Key.Thumbprint, key)
			return err
		})
		winner := s.oneWins(errs, store.ErrKeyInUse)
		accounts[winner].Key = key
		holder, err := s.store.AccountByKey(s.ctx, key.Thumbprint)
		s.is(err, nil)
		s.same(holder, accounts[winner])
	}
}

func raceReplaces(s *suite) {
	var accounts []store.Account
	for range rivals {
		accounts = append(accounts, s.account())
	}
	for range rounds {
		key := s.key(s.now)
		orders := make([]store.Order, rivals)
		errs := race(rivals, func(i int) error {
			orders[i] = s.newReplacing(accounts[i].ID, key, "a.example")
			_, _, err := s.store.CreateOrder(s.ctx, orders[i], orders[i].Authorizations)
			return err
		})
		winner := s.oneWins(errs, store.ErrReplaced)
		id, err := s.store.Replacement(s.ctx, key, s.now)
		s.is(err, nil)
		s.same(id, orders[winner].ID)
	}
}

func raceBegin(s *suite) {
	account := s.account()
	for range rounds {
		o := s.prove(s.create(s.newOrder(account.ID, "a.example")))
		intents := make([]store.Intent, rivals)
		errs := race(rivals, func(i int) error {
			intents[i] = s.newIntent(o.ID)
			return s.store.BeginIssuance(s.ctx, intents[i])
		})
		winner := s.oneWins(errs, store.ErrClaimed)
		s.same(s.intents(s.now.Add(time.Hour), 10), intents[winner:winner+1])
		s.must(s.store.CompleteIssuance(s.ctx, s.newCertificate(intents[winner], account.ID)))
	}
}

func raceFinish(s *suite) {
	account := s.account()
	for range rounds {
		a := s.authorization(account.ID, dns("a.example"))
		errs := race(rivals, func(i int) error {
			outcome := s.failed()
			if i%2 == 0 {
				outcome = s.proven()
			}
			return s.store.FinishAuthorization(s.ctx, a.ID, outcome)
		})
		want := store.AuthorizationInvalid
		if s.oneWins(errs, store.ErrNotPending)%2 == 0 {
			want = store.AuthorizationValid
		}
		s.same(s.readAuthorization(a.ID).State, want)
	}
}

func raceComplete(s *suite) {
	account := s.account()
	for range rounds {
		o := s.prove(s.create(s.newOrder(account.ID, "a.example")))
		c := s.newCertificate(s.begin(o), account.ID, "a.example")
		for _, err := range race(rivals, func(int) error { return s.store.CompleteIssuance(s.ctx, c) }) {
			s.is(err, nil)
		}
		s.same(s.readCertificate(c.CertificateKey), c)
	}
}

func raceAbandon(s *suite) {
	account := s.account()
	for range rounds {
		o := s.prove(s.create(s.newOrder(account.ID, "a.example")))
		intent := s.begin(o)
		errs := race(2, func(i int) error {
			if i == 0 {
				return s.store.CompleteIssuance(s.ctx, s.newCertificate(intent, account.ID, "a.example"))
			}
			return s.store.AbandonIntent(s.ctx, intent.CertificateKey, s.now, nil, report("gone"))
		})
		abandoned := s.oneWins(errs, store.ErrNotFound) == 1
		s.same(s.readCertificate(intent.CertificateKey).Abandoned, abandoned)
		want := store.OrderValid
		if abandoned {
			want = store.OrderInvalid
		}
		s.status(o.ID, want)
		s.same(len(s.intents(s.now.Add(time.Hour), 10)), 0)
	}
}

func raceDue(s *suite) {
	account := s.account()
	for range rounds / 5 {
		for range 2 * rivals {
			s.processing(account.ID, s.now, time.Time{})
		}
		given := make([][]store.Authorization, rivals)
		errs := race(rivals, func(i int) (err error) {
			given[i], err = s.store.DueValidations(s.ctx, s.now, s.now.Add(time.Minute), 3)
			return err
		})
		seen := map[string]bool{}
		for i := range given {
			s.is(errs[i], nil)
			for _, a := range given[i] {
				if seen[a.ID] {
					s.Fatalf("%s was given to two", a.ID)
				}
				seen[a.ID] = true
				s.must(s.store.FinishAuthorization(s.ctx, a.ID, s.proven()))
			}
		}
		s.same(len(seen)+len(s.due(s.now, 100)), 2*rivals)
	}
}

func raceRevoke(s *suite) {
	for range rounds {
		c := s.certificate(func(*store.Certificate) {})
		errs := race(rivals, func(i int) error {
			return s.store.Revoke(s.ctx, c.CertificateKey, store.Revocation{At: s.now, Reason: i + 1})
		})
		s.same(s.readCertificate(c.CertificateKey).Revocation.Reason, s.oneWins(errs, store.ErrRevoked)+1)
	}
}

// raceOrders takes 64 orders of one account from their beginning to their end
// at the same moment.
func raceOrders(s *suite) {
	account := s.account()
	errs := race(64, func(i int) error {
		o := s.newOrder(account.ID, fmt.Sprintf("host%d.example", i))
		if _, _, err := s.store.CreateOrder(s.ctx, o, o.Authorizations); err != nil {
			return err
		}
		if err := s.store.ClaimValidation(s.ctx, o.AuthorizationIDs[0], s.claim("http-01")); err != nil {
			return err
		}
		if err := s.store.FinishAuthorization(s.ctx, o.AuthorizationIDs[0], s.proven()); err != nil {
			return err
		}
		intent := s.newIntent(o.ID)
		if err := s.store.BeginIssuance(s.ctx, intent); err != nil {
			return err
		}
		return s.store.CompleteIssuance(s.ctx, s.newCertificate(intent, account.ID, o.Identifiers[0].Value))
	})
	for _, err := range errs {
		s.is(err, nil)
	}
	list, err := s.store.ListOrders(s.ctx, store.OrderQuery{AccountID: account.ID})
	s.is(err, nil)
	s.same(len(list), 64)
	for i := range list {
		s.same(list[i].Status(s.now), store.OrderValid)
	}
}

func raceDeactivate(s *suite) {
	for range rounds {
		o := s.ready("a.example")
		intent := s.newIntent(o.ID)
		errs := race(2, func(i int) error {
			if i == 0 {
				return s.store.BeginIssuance(s.ctx, intent)
			}
			_, err := s.store.CloseAccount(s.ctx, o.AccountID, store.AccountDeactivated, report("closed"))
			return err
		})
		s.is(errs[1], nil)
		if errs[0] == nil {
			s.status(o.ID, store.OrderProcessing)
			continue
		}
		s.is(errs[0], store.ErrNotReady)
		s.status(o.ID, store.OrderInvalid)
		s.is(s.store.CompleteIssuance(s.ctx, s.newCertificate(intent, o.AccountID)), store.ErrNotFound)
	}
}
