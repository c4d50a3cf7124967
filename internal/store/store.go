// Package store says what Chancery keeps and which steps change it. Every
// method of Store is one business step in one transaction; none exposes a
// transaction, a row, or reading and writing by key. The engines are in the
// packages below this one and pass the same suite, storetest. This package
// knows no HTTP and no protocol, and decides nothing that policy decides.
package store

import (
	"context"
	"errors"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// What a step can report beside success. Engines return these, wrapped or
// not; any other error means that the store itself failed, and whether the
// step happened is then unknown.
var (
	ErrNotFound    = errors.New("there is no such record")
	ErrKeyInUse    = errors.New("another account has this key")
	ErrNotValid    = errors.New("it is no longer valid")
	ErrNotPending  = errors.New("the authorization is no longer pending")
	ErrNotReady    = errors.New("the order is not ready")
	ErrClaimed     = errors.New("another request has already claimed it")
	ErrReplaced    = errors.New("the certificate is already replaced by another order")
	ErrUsed        = errors.New("it is used up")
	ErrFull        = errors.New("the key has as many accounts as it may have")
	ErrRevoked     = errors.New("it is already revoked")
	ErrExpired     = errors.New("it has expired")
	ErrUnavailable = errors.New("the store cannot answer now")
)

// Store is all the state of one certificate authority. Its methods may be
// called by any number of goroutines. A step that was acknowledged survives
// the loss of power. Zero times mean "not" or "never"; times are kept to the
// millisecond, in UTC. What is given to it and what it returns may be shared
// with other callers: nobody changes what a record points to.
type Store interface {
	Accounts
	Orders
	Authorizations
	Issuance
	Certificates
	Services
	RevocationLists
	Incidents
	Bindings
	Provisioners
	AdminTokens

	// Ping reports whether the store can be written to now.
	Ping(ctx context.Context) error
	// Tidy removes up to limit records of each kind that ended before the
	// times in cutoff, in small transactions, and says how many went.
	Tidy(ctx context.Context, cutoff TidyCutoff, limit int) (removed int, err error)
	// Close finishes the steps under way and releases the store.
	Close() error
}

// TidyCutoff says which ended records have been kept long enough. A zero time
// keeps that kind for ever.
type TidyCutoff struct {
	Orders         time.Time // orders whose Expires is earlier, unless they are being finalized
	Authorizations time.Time // authorizations whose Expires is earlier, unless an order that stays lists them
	Certificates   time.Time // certificates whose NotAfter is earlier, with their names
	Tokens         time.Time // spent one-time tokens that were to be remembered until an earlier time

	// Of a Shared store only.
	Nonces time.Time // nonces made earlier, which then count as spent
	Limits time.Time // what limits counted and was worked off earlier
	Fence  Fence     // of every transaction
}

// Accounts are the steps of ACME accounts (RFC 8555 §7.3).
type Accounts interface {
	// CreateAccount stores a new account. When one with the same key exists,
	// whatever its status, that one is returned with created false and
	// nothing changes. When account.BindingID is set, the binding key is
	// consumed in the same transaction: ErrNotFound, ErrRevoked, ErrExpired,
	// ErrUsed (single-use and used) or ErrFull (as many valid accounts as its
	// grant allows) then say why nothing was created.
	CreateAccount(ctx context.Context, account Account) (stored Account, created bool, err error)
	// Account returns the account of that id, or ErrNotFound.
	Account(ctx context.Context, id string) (Account, error)
	// AccountByKey returns the account that has the key now, or ErrNotFound.
	AccountByKey(ctx context.Context, thumbprint string) (Account, error)
	// SetContact replaces the contacts of a valid account: ErrNotFound, ErrNotValid.
	SetContact(ctx context.Context, id string, contact []string) (Account, error)
	// ChangeKey gives a valid account a new key if it still has the old one
	// (else ErrNotFound). When another account has the new key the error is a
	// *KeyInUseError. Orders and authorizations stay as they are.
	ChangeKey(ctx context.Context, id, oldThumbprint string, key AccountKey) (Account, error)
	// CloseAccount makes a valid account deactivated or revoked for good, and
	// ends its orders that are not being finalized with the report. ErrNotValid
	// when it was closed before.
	CloseAccount(ctx context.Context, id string, status AccountStatus, report *failure.Report) (Account, error)
	// ListAccounts returns a page of accounts, newest first.
	ListAccounts(ctx context.Context, query AccountQuery) ([]Account, error)
}

// Orders are the steps of orders before they are finalized (RFC 8555 §7.4).
type Orders interface {
	// CreateOrder stores an order with those of its authorizations that are
	// new; order.Authorizations holds all of them, in order.
	//
	// When order.Replaces is set and an order that is not invalid at
	// order.Created names the same certificate, nothing is stored: if that
	// order is the same account's, of the same identifiers and profile and not
	// yet valid, it is returned with created false; else the error is
	// ErrReplaced. ErrNotValid when the account was closed meanwhile,
	// ErrNotFound when there never was one.
	CreateOrder(ctx context.Context, order Order, fresh []Authorization) (stored Order, created bool, err error)
	// Order returns an order with its authorizations, or ErrNotFound.
	Order(ctx context.Context, id string) (Order, error)
	// FailOrder ends an order that is neither valid, invalid nor being
	// finalized; on any other it does nothing. ErrNotFound.
	FailOrder(ctx context.Context, id string, report *failure.Report) error
	// ListOrders returns a page of orders with their authorizations, newest first.
	ListOrders(ctx context.Context, query OrderQuery) ([]Order, error)
}

// Authorizations are the steps of authorizations and their challenges
// (RFC 8555 §7.5). One that expired while it was pending is no longer so. The
// steps that take an id report ErrNotFound when there is none such.
type Authorizations interface {
	// CreateAuthorization stores an authorization of no order
	// (pre-authorization). ErrNotValid, ErrNotFound: its account's.
	CreateAuthorization(ctx context.Context, authz Authorization) error
	// Authorization returns the authorization of that id, or ErrNotFound.
	Authorization(ctx context.Context, id string) (Authorization, error)
	// ValidAuthorizations returns, of the account's authorizations that are
	// valid and expire after the given time, the one that expires last for
	// each of the wanted names, which may be wildcards. Names without one are
	// not in the map.
	ValidAuthorizations(ctx context.Context, accountID string, names []identifier.Identifier, after time.Time) (map[identifier.Identifier]Authorization, error)
	// ValidAncestors returns, for each of the names that are below one, the
	// account's authorization of the nearest name above it that is valid,
	// counts for subdomains, and expires after the given time.
	ValidAncestors(ctx context.Context, accountID string, names []identifier.Identifier, after time.Time) (map[identifier.Identifier]Authorization, error)
	// ClaimValidation makes a pending authorization processing by
	// claim.Method, so that the validation goes on after a restart. It
	// replaces an earlier claim of the same method. ErrNotPending when its
	// outcome is known or another method is being tried.
	ClaimValidation(ctx context.Context, id string, claim ValidationClaim) error
	// RecordAttempt keeps a failed attempt that will be repeated at next, and
	// frees the claim until then. ErrNotPending when the outcome is known.
	RecordAttempt(ctx context.Context, id string, attempt Attempt, next time.Time) error
	// FinishAuthorization settles a pending or processing authorization, once
	// and for all: ErrNotPending when its outcome is already known.
	FinishAuthorization(ctx context.Context, id string, outcome Outcome) error
	// DeactivateAuthorization ends a pending, processing or valid
	// authorization by its owner's wish; ErrNotPending on any other.
	DeactivateAuthorization(ctx context.Context, id string) (Authorization, error)
	// DueValidations claims, until lease, up to limit authorizations that are
	// processing, whose next attempt is due at now and whose claim, if any,
	// has run out, and returns them.
	DueValidations(ctx context.Context, now, lease time.Time, limit int) ([]Authorization, error)
}

// Issuance are the two steps around every signature, and what settles the
// first when the second never came.
type Issuance interface {
	// BeginIssuance stores what is about to be signed and claims its owner in
	// the same transaction. For an OwnerOrder the order must be ready at
	// intent.Created: ErrNotReady, or ErrClaimed when it is processing or
	// valid, or ErrNotFound. For an OwnerToken, ErrUsed when it was spent
	// before.
	BeginIssuance(ctx context.Context, intent Intent) error
	// CompleteIssuance records the certificate that came of the intent of the
	// same key, settles the intent, and ties the certificate to its owner. It
	// can be repeated. ErrNotFound when the intent was settled otherwise.
	CompleteIssuance(ctx context.Context, certificate Certificate) error
	// Intents returns up to limit intents not settled whose deadline is
	// before the given time, oldest first.
	Intents(ctx context.Context, deadlineBefore time.Time, limit int) ([]Intent, error)
	// AbandonIntent settles an intent that may or may not have been signed:
	// its serial is recorded as an abandoned certificate, revoked at now. With
	// next, that intent is stored in its place and keeps the owner's claim;
	// without, the owner's order ends with the report, and an owner's token
	// can be spent again. ErrNotFound when the intent is already settled, and
	// nothing changes.
	AbandonIntent(ctx context.Context, key CertificateKey, now time.Time, next *Intent, report *failure.Report) error
}

// Certificates are the inventory and its questions.
type Certificates interface {
	// RegisterIssuer makes an issuer and its chain known; repeating is harmless.
	RegisterIssuer(ctx context.Context, issuer Issuer) error
	// Issuers returns every issuer there ever was.
	Issuers(ctx context.Context) ([]Issuer, error)
	// Unexpired counts the issuer's certificates, revoked and abandoned ones
	// included, whose NotAfter is after now, and says when the last of them
	// ends.
	Unexpired(ctx context.Context, issuerID string, now time.Time) (count int, last time.Time, err error)
	// Certificate returns one certificate, or ErrNotFound.
	Certificate(ctx context.Context, key CertificateKey) (Certificate, error)
	// ListCertificates returns a page of certificates, newest serial first. A
	// query that says when they were revoked, expire or were issued (the first
	// of these that it says) gets them by that time, the latest first. What a
	// page costs depends on how much the query selects, not on how much else
	// there is. ErrNotFound when query.Before is needed for that and gone.
	ListCertificates(ctx context.Context, query CertificateQuery) ([]Certificate, error)
	// CountCertificates counts, for an issuer and a profile or "" for all. It
	// costs the same however many certificates there are.
	CountCertificates(ctx context.Context, issuerID, profile string, now time.Time) (CertificateCounts, error)
	// Revoke marks a certificate as revoked, and its revocation lists as
	// stale. ErrRevoked when it is, ErrNotFound.
	Revoke(ctx context.Context, key CertificateKey, revocation Revocation) error
	// RevokeAll does so for all that are there and not revoked, in one
	// transaction, and returns the keys of these. Callers pass 1000 at most.
	RevokeAll(ctx context.Context, keys []CertificateKey, revocation Revocation) (revoked []CertificateKey, err error)
	// ReplacedBy returns the newest certificate that replaces this one, or
	// ErrNotFound.
	ReplacedBy(ctx context.Context, key CertificateKey) (CertificateKey, error)
	// Replacement returns the id of the order that is not invalid at now and
	// replaces the certificate (RFC 9773 §5), or ErrNotFound.
	Replacement(ctx context.Context, key CertificateKey, now time.Time) (orderID string, err error)
}

// Services are the certificates by their sets of names.
type Services interface {
	// Service returns a service, or ErrNotFound.
	Service(ctx context.Context, id string) (Service, error)
	// ListServices returns a page of services, those first that were first
	// seen last. A query for unhealthy ones, or that says when they expire,
	// gets those that end last first. ErrNotFound when query.Before is gone.
	ListServices(ctx context.Context, query ServiceQuery) ([]Service, error)
}

// RevocationLists are the CRLs, each of a partition of an issuer's
// certificates, and what keeps them true. A certificate that is revoked, or
// abandoned, makes the list of its partition and the full list of its issuer
// stale in the same transaction. Those of partition 0 are in the full list only.
type RevocationLists interface {
	// NewPartition begins the issuer's next partition.
	NewPartition(ctx context.Context, issuerID string, now time.Time) (Partition, error)
	// NewestPartition returns the issuer's newest partition, or ErrNotFound.
	NewestPartition(ctx context.Context, issuerID string) (Partition, error)
	// StaleLists returns up to limit lists (0 means 100) of the issuers named
	// that have changed since they were published, were never published, or
	// whose NextUpdate is before the first of the given times, in this order. It
	// leaves out lists that nobody needs any more: their certificates had all
	// expired at the ThisUpdate of the list in force, and there have been some.
	// But all are stale whose NextUpdate is after the second time: a clock was
	// ahead when they were made. It costs what it returns.
	StaleLists(ctx context.Context, issuerIDs []string, nextUpdateBefore, nextUpdateAfter time.Time, limit int) ([]StaleList, error)
	// Revoked calls each for the certificates of a partition (0: of all) that
	// are revoked and had not expired at the given time, by partition, expiry
	// and serial. It returns the first error of each. What is revoked while it
	// runs may be left out: the list is stale again. It costs what it returns,
	// holds a page of it, and each may use the store.
	Revoked(ctx context.Context, issuerID string, partition int64, expiredAfter time.Time, each func(RevokedEntry) error) error
	// PublishList puts a list in force that was made from what StaleLists
	// returned before, with the basis it gave. ErrClaimed when another is in
	// force with the same or a higher number, or of a later basis. ErrFenced.
	PublishList(ctx context.Context, list RevocationList, basis int64, fence Fence) error
	// RevocationList returns the list in force, or ErrNotFound.
	RevocationList(ctx context.Context, issuerID string, partition int64) (RevocationList, error)
}

// Incidents are what is wrong with certificates that should be renewed early.
type Incidents interface {
	// CreateIncident stores a new incident.
	CreateIncident(ctx context.Context, incident Incident) error
	// CloseIncident ends it: ErrNotFound, ErrNotValid when it is closed.
	CloseIncident(ctx context.Context, id string, now time.Time) error
	// ListIncidents returns all incidents, newest first.
	ListIncidents(ctx context.Context) ([]Incident, error)
}

// Provisioners are those made while the server runs.
type Provisioners interface {
	// CreateProvisioner stores a new one. ErrClaimed when the name is taken.
	CreateProvisioner(ctx context.Context, provisioner Provisioner) error
	// ListProvisioners returns all, by name.
	ListProvisioners(ctx context.Context) ([]Provisioner, error)
	// RemoveProvisioner removes one, or says ErrNotFound.
	RemoveProvisioner(ctx context.Context, name string) error
}

// AdminTokens are secrets for the administrative API.
type AdminTokens interface {
	// CreateAdminToken stores a new one.
	CreateAdminToken(ctx context.Context, token AdminToken) error
	// AdminToken returns the one of that id, or ErrNotFound.
	AdminToken(ctx context.Context, id string) (AdminToken, error)
	// ListAdminTokens returns all, newest first.
	ListAdminTokens(ctx context.Context) ([]AdminToken, error)
	// RevokeAdminToken ends one: ErrNotFound, ErrRevoked.
	RevokeAdminToken(ctx context.Context, id string, now time.Time) error
}

// Bindings are the keys of external account binding (RFC 8555 §7.3.4).
type Bindings interface {
	// CreateBinding stores a new key.
	CreateBinding(ctx context.Context, binding Binding) error
	// Binding returns the key of that id, or ErrNotFound.
	Binding(ctx context.Context, id string) (Binding, error)
	// ListBindings returns all keys, newest first, without their secrets.
	ListBindings(ctx context.Context) ([]Binding, error)
	// UpdateBinding changes a key that is not revoked: ErrNotFound, ErrRevoked.
	UpdateBinding(ctx context.Context, id string, change BindingChange) (Binding, error)
	// RevokeBinding ends a key's use for new accounts: ErrNotFound, ErrRevoked.
	RevokeBinding(ctx context.Context, id string, now time.Time) error
}

// KeyInUseError is the error of ChangeKey when another account has the key.
// It is ErrKeyInUse to errors.Is.
type KeyInUseError struct{ HolderID string }

func (e *KeyInUseError) Error() string { return ErrKeyInUse.Error() }

// Is makes the error ErrKeyInUse.
func (e *KeyInUseError) Is(target error) bool { return target == ErrKeyInUse }
