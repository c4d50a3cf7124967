package acme

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"
	"sync"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// account is a stored account with its key ready for use.
type account struct {
	store.Account
	key *JWK
}

// checkValid refuses accounts that were closed (RFC 8555 §7.3.6).
func (a *account) checkValid() error {
	if a.Status == store.AccountValid {
		return nil
	}
	return newProblem(unauthorized, "the account is %s", a.Status).with(http.StatusUnauthorized)
}

// accountCache keeps the accounts most requests are about, so that their keys
// are parsed once.
type accountCache struct {
	mu      sync.Mutex
	known   map[string]*account // guarded by mu
	changes uint64              // guarded by mu; counts calls of forget
}

const maxCachedAccounts = 10_000

// get returns the account of that id, or the store's error.
func (c *accountCache) get(ctx context.Context, from store.Accounts, id string) (*account, error) {
	c.mu.Lock()
	found, changes := c.known[id], c.changes
	c.mu.Unlock()
	if found != nil {
		return found, nil
	}
	stored, err := from.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	key, err := ParseJWK(stored.Key.JWK)
	if err != nil {
		return nil, failure.Wrap("read stored account key", err)
	}
	found = &account{stored, key}
	c.mu.Lock()
	defer c.mu.Unlock()
	if changes == c.changes { // else what was read may be of before the change
		c.put(found)
	}
	return found, nil
}

// put needs mu. A full cache loses any one account.
func (c *accountCache) put(a *account) {
	if c.known == nil {
		c.known = map[string]*account{}
	}
	for id := range c.known {
		if len(c.known) < maxCachedAccounts {
			break
		}
		delete(c.known, id)
	}
	c.known[a.ID] = a
}

// forget is called after each change of an account.
func (c *accountCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, id)
	c.changes++
}

// forgetAll is called when any accounts may have changed.
func (c *accountCache) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
	c.changes++
}

// accountBody is an account object (RFC 8555 §7.1.2).
type accountBody struct {
	Status                 store.AccountStatus `json:"status"`
	Contact                []string            `json:"contact,omitempty"`
	TermsOfServiceAgreed   bool                `json:"termsOfServiceAgreed,omitempty"`
	ExternalAccountBinding json.RawMessage     `json:"externalAccountBinding,omitempty"`
	Orders                 string              `json:"orders"`
}

func (r *request) showAccount(a store.Account) *response {
	return answer(accountBody{
		Status:                 a.Status,
		Contact:                a.Contact,
		TermsOfServiceAgreed:   !a.TermsAgreed.IsZero(),
		ExternalAccountBinding: a.BindingRequest,
		Orders:                 r.url("account", a.ID, "orders"),
	}).set("Location", r.url("account", a.ID))
}

type newAccountRequest struct {
	Contact                []string        `json:"contact"`
	TermsOfServiceAgreed   bool            `json:"termsOfServiceAgreed"`
	OnlyReturnExisting     bool            `json:"onlyReturnExisting"`
	ExternalAccountBinding json.RawMessage `json:"externalAccountBinding"`
}

// newAccount serves RFC 8555 §7.3 and §7.3.1.
func (d *Door) newAccount(ctx context.Context, r *request) (*response, error) {
	var wanted newAccountRequest
	if err := r.decode(&wanted); err != nil {
		return nil, err
	}
	if err := d.checkKey(r.jws.JWK); err != nil {
		return nil, err
	}
	stored, err := d.deps.Store.AccountByKey(ctx, r.jws.JWK.Thumbprint)
	switch {
	case err == nil:
		return d.existingAccount(ctx, r, stored)
	case !errors.Is(err, store.ErrNotFound):
		return nil, failure.Wrap("look up account", err)
	case wanted.OnlyReturnExisting:
		return nil, newProblem(accountDoesNotExist, "no account has this key")
	}
	fresh, err := d.draftAccount(ctx, r, wanted)
	if err != nil {
		return nil, err
	}
	taken, err := d.deps.Limits.Account(ctx, r.source())
	if err != nil {
		return nil, err
	}
	stored, created, err := d.deps.Store.CreateAccount(ctx, fresh)
	if err != nil || !created {
		taken.Refund(ctx)
	}
	if err != nil {
		return nil, bindingProblem(fresh.BindingID, failure.Wrap("create account", err))
	}
	if !created { // the same key came twice at once
		return d.existingAccount(ctx, r, stored)
	}
	d.annotate(ctx, "account", stored.ID)
	d.audit(ctx, "account.created", stored.ID, slog.String("binding", stored.BindingID), slog.String("key", stored.Key.Thumbprint))
	return r.showAccount(stored).created(r.url("account", stored.ID)), nil
}

// source is the address that the request came from.
func (r *request) source() netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // of a pipe there is none, and then all count as one
	return from.Addr()
}

func (d *Door) existingAccount(ctx context.Context, r *request, stored store.Account) (*response, error) {
	d.annotate(ctx, "account", stored.ID)
	if err := (&account{Account: stored}).checkValid(); err != nil {
		return nil, err
	}
	return r.showAccount(stored), nil
}

func (d *Door) draftAccount(ctx context.Context, r *request, wanted newAccountRequest) (store.Account, error) {
	id, err := d.newID()
	if err != nil {
		return store.Account{}, err
	}
	fresh := store.Account{
		ID:      id,
		Key:     store.AccountKey{Thumbprint: r.jws.JWK.Thumbprint, JWK: r.jws.JWK.JSON},
		Contact: wanted.Contact,
		Status:  store.AccountValid,
		Created: d.deps.Now(),
	}
	if err := checkContacts(wanted.Contact); err != nil {
		return fresh, err
	}
	if r.TermsOfService != "" && !wanted.TermsOfServiceAgreed {
		problem := newProblem(userActionRequired, "agree to the terms of service at %s", r.TermsOfService).
			set("Link", "<"+r.TermsOfService+`>;rel="terms-of-service"`)
		problem.Instance = r.TermsOfService // RFC 8555 §7.3.3: where a person can agree
		return fresh, problem
	}
	if wanted.TermsOfServiceAgreed {
		fresh.TermsAgreed = fresh.Created
	}
	return fresh, d.bind(ctx, r, wanted.ExternalAccountBinding, &fresh)
}

// bind checks an external account binding (RFC 8555 §7.3.4). The key is
// consumed with the creation of the account.
func (d *Door) bind(ctx context.Context, r *request, raw json.RawMessage, fresh *store.Account) error {
	if len(raw) == 0 || string(raw) == "null" {
		if r.EABRequired {
			return newProblem(externalAccountRequired, "this CA only takes accounts with an external account binding; ask its operator for a key (chancery eab create)")
		}
		return nil
	}
	eab, err := ParseEAB(raw)
	if err != nil {
		return gateProblem(err)
	}
	binding, err := d.deps.Store.Binding(ctx, eab.KeyID)
	if err != nil {
		return bindingProblem(eab.KeyID, failure.Wrap("read binding key", err))
	}
	if err := eab.Verify(binding.Secret, r.jws.JWK, r.jws.URL); err != nil {
		return gateProblem(err)
	}
	fresh.BindingID, fresh.BindingRequest = binding.ID, eab.Raw
	return nil
}

// bindingProblem says what is wrong with a binding key; other errors stay.
func bindingProblem(id string, err error) error {
	var reason string
	switch {
	case errors.Is(err, store.ErrNotFound):
		reason = "does not exist"
	case errors.Is(err, store.ErrRevoked):
		reason = "was revoked"
	case errors.Is(err, store.ErrExpired):
		reason = "has expired"
	case errors.Is(err, store.ErrFull):
		reason = "has as many accounts as it may have"
	case errors.Is(err, store.ErrUsed):
		reason = "is for a single account and already used"
	default:
		return err
	}
	return newProblem(unauthorized, "the external account binding key %.60q %s; ask the CA's operator for another", id, reason).because(err)
}

const (
	maxContacts      = 10
	maxContactLength = 320 // of an address: 64 + 1 + 255 (RFC 5321 §4.5.3.1)
)

// checkContacts takes mailto URLs of one plain address each (RFC 8555 §7.3).
func checkContacts(contacts []string) error {
	if len(contacts) > maxContacts {
		return newProblem(invalidContact, "there are %d contacts; at most %d are taken", len(contacts), maxContacts)
	}
	for _, contact := range contacts {
		scheme, address, found := strings.Cut(contact, ":")
		switch {
		case !found:
			return newProblem(invalidContact, "the contact %.60q is no URL; write it like mailto:admin@example.corp", contact)
		case !strings.EqualFold(scheme, "mailto"):
			return newProblem(unsupportedContact, "contacts of the scheme %.20q are not supported; use mailto", scheme)
		}
		if strings.ContainsAny(address, "?,") {
			return newProblem(invalidContact, "the contact %.60q has header fields or several addresses; give one address", contact)
		}
		address, err := url.PathUnescape(address)
		parsed, parseErr := mail.ParseAddress(address)
		if err != nil || parseErr != nil || parsed.Address != address || len(address) > maxContactLength {
			return newProblem(invalidContact, "the contact %.60q is no e-mail address", contact)
		}
	}
	return nil
}

// updateAccount reads, changes or deactivates an account (RFC 8555 §7.3.2,
// §7.3.6).
func (d *Door) updateAccount(ctx context.Context, r *request) (*response, error) {
	if r.PathValue("id") != r.account.ID {
		return nil, newProblem(unauthorized, "the request is signed by another account than it is about")
	}
	if r.jws.EmptyPayload {
		return r.showAccount(r.account.Account), nil
	}
	var wanted struct {
		Contact *[]string           `json:"contact"`
		Status  store.AccountStatus `json:"status"`
	}
	if err := r.decode(&wanted); err != nil {
		return nil, err
	}
	if wanted.Status == store.AccountDeactivated {
		return d.deactivateAccount(ctx, r)
	}
	if wanted.Contact == nil {
		return r.showAccount(r.account.Account), nil // other members are ignored
	}
	if err := checkContacts(*wanted.Contact); err != nil {
		return nil, err
	}
	stored, err := d.deps.Store.SetContact(ctx, r.account.ID, *wanted.Contact)
	if err != nil {
		return nil, failure.Wrap("update account", err)
	}
	d.accounts.forget(r.account.ID)
	d.audit(ctx, "account.updated", r.account.ID)
	return r.showAccount(stored), nil
}

func (d *Door) deactivateAccount(ctx context.Context, r *request) (*response, error) {
	report := failure.ReportOf(failure.New(failure.Unauthorized, "the account was deactivated"))
	stored, err := d.deps.Store.CloseAccount(ctx, r.account.ID, store.AccountDeactivated, report)
	if err != nil {
		return nil, failure.Wrap("deactivate account", err)
	}
	d.accounts.forget(r.account.ID)
	d.audit(ctx, "account.deactivated", r.account.ID)
	return r.showAccount(stored), nil
}
