// Package ca is the road every certificate walks, whatever door it was asked
// for at: policy, profile, lint, intent, issuer, record. Doors prove who asks
// for what and hand over a Request; this package knows none of their
// protocols, and nothing else signs certificates.
package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/policy"
	"chancery/internal/profile"
	"chancery/internal/store"
)

// Request is what a door asks for once it has proven who asks and that the
// identifiers are the requester's. It is stored with the intent, so that the
// issuance can go on after a crash.
type Request struct {
	Door        string      `json:"door"`                  // "acme", "token", "self"
	AccountID   string      `json:"account,omitempty"`     // the ACME account, if any
	Provisioner string      `json:"provisioner,omitempty"` // what proved who asks, at doors that have several
	Subject     string      `json:"subject,omitempty"`     // who asks, as the provisioner calls it
	Owner       store.Owner `json:"owner"`                 // the door's record that is claimed and tied to the certificate
	// OwnerExpires is until when an owner that is a token is remembered as
	// spent; zero is for ever.
	OwnerExpires time.Time               `json:"owner_expires,omitzero"`
	Identifiers  []identifier.Identifier `json:"identifiers"`
	PublicKey    []byte                  `json:"public_key"`    // DER SubjectPublicKeyInfo
	CSR          []byte                  `json:"csr,omitempty"` // DER, as received; its signature is verified by the door
	Profile      string                  `json:"profile"`
	Wishes       profile.Wishes          `json:"wishes,omitzero"`
	Facts        expr.Facts              `json:"facts,omitzero"` // what the door knows of the requester, for the profile
	// Replaces is the certificate that this one is to take the place of, as the
	// requester says; nil for none.
	Replaces *store.CertificateKey `json:"replaces,omitempty"`
	// IssuerID, when set, is the issuer that signs, whatever the profile says:
	// for certificates that an issuer needs for itself.
	IssuerID string `json:"issuer,omitempty"`

	// Preauthorized are those of the identifiers that the requester's grant
	// stands for instead of a proof. It must still do so.
	Preauthorized []identifier.Identifier `json:"preauthorized,omitempty"`
}

// requester names who asked in records and in the audit log.
func (r *Request) requester() string {
	switch {
	case r.Provisioner != "":
		return r.Door + ":" + r.Provisioner + "/" + r.Subject
	case r.AccountID != "":
		return r.Door + ":" + r.AccountID
	default:
		return r.Door
	}
}

// Issuer signs stored intents.
type Issuer interface {
	ID() string
	Certificate() *x509.Certificate
	// Ready reports, at once, why the issuer could not sign now.
	Ready() error
	Issue(ctx context.Context, intent store.Intent) (certificate []byte, err error)
}

// Policy answers whether a requester may have identifiers.
type Policy interface {
	Decide(ctx context.Context, q policy.Question) (policy.Decision, error)
	// DecideAdded is asked about names that profiles add.
	DecideAdded(ctx context.Context, q policy.Question) error
}

// Linter says what a relying party would object to in a certificate that is
// about to be signed.
type Linter interface {
	Check(tbs, signatureAlgorithm []byte) error
}

// Places says where relying parties find out about an issuer and its
// certificates.
type Places interface {
	// Of assigns a new certificate to a partition of its issuer's revocation
	// lists, 0 for none, and returns the URLs that go into it, "" for those
	// there are not. Nothing is assigned when the certificate is not to be
	// revocable.
	Of(ctx context.Context, issuerID string, revocable bool) (Place, error)
}

// Place is what Places says of one certificate.
type Place struct {
	Partition                  int64
	IssuerURL, CRLURL, OCSPURL string
}

// Auditor writes one line for each change of state.
type Auditor interface {
	Audit(ctx context.Context, action string, attrs ...slog.Attr)
}

// Deps is what an Authority is made of. All fields are required unless they
// say otherwise.
type Deps struct {
	Store    store.Issuance
	Issuers  map[string]Issuer // by the names that profiles give; DefaultIssuer is among them
	Former   map[string]Issuer // earlier generations, by their IDs: only requests that name them get them
	Places   Places            // nil when certificates are to say nothing of revocation
	Policy   Policy
	Profiles map[string]*profile.Profile
	// Own are the profiles of certificates that the CA needs itself: no door
	// can ask for them, and they are not revocable. May be nil.
	Own      map[string]*profile.Profile
	Linter   Linter
	CheckKey func(crypto.PublicKey) error // refuses weak keys
	Now      func() time.Time
	Rand     io.Reader
	Log      *slog.Logger
	Auditor  Auditor
	// Issued is told the profile and outcome of each issuance; may be nil.
	Issued func(profile, outcome string)
}

// Authority issues certificates. Its methods may be called by any number of
// goroutines.
type Authority struct {
	deps     Deps
	issuers  atomic.Pointer[signers]
	profiles atomic.Pointer[map[string]*profile.Profile]
	stopping chan struct{} // closed when Run is to end
	work     sync.WaitGroup

	mu     sync.Mutex
	failed []store.Intent // nobody is at work on them any more; guarded by mu
}

// New returns the authority; Run must be called for it to settle what a crash
// or a failing signer leaves behind.
func New(deps Deps) (*Authority, error) {
	if len(deps.Profiles) == 0 {
		return nil, errors.New("couldn't set up the authority: there are no profiles")
	}
	a := &Authority{deps: deps, stopping: make(chan struct{})}
	if err := a.SetIssuers(deps.Issuers, deps.Former); err != nil {
		return nil, failure.Wrap("set up the authority", err)
	}
	a.SetProfiles(deps.Profiles)
	return a, nil
}

// SetProfiles replaces the profiles for all requests from now on.
func (a *Authority) SetProfiles(profiles map[string]*profile.Profile) {
	profiles = maps.Clone(profiles)
	a.profiles.Store(&profiles)
}

// Profile returns the profile of that name, or a failure of kind BadProfile
// that lists those there are.
func (a *Authority) Profile(name string) (*profile.Profile, error) {
	profiles := *a.profiles.Load()
	if found := profiles[name]; found != nil {
		return found, nil
	}
	return nil, failure.New(failure.BadProfile, "there is no profile %.60q; this CA has %v", name, slices.Sorted(maps.Keys(profiles)))
}

// Profiles returns the profiles in force by name. The map must not be changed.
func (a *Authority) Profiles() map[string]*profile.Profile { return *a.profiles.Load() }

// CheckValidity reports, early, whether Issue could honour the wished times
// under the profile of that name.
func (a *Authority) CheckValidity(profileName string, wishes profile.Wishes) error {
	shape, err := a.Profile(profileName)
	if err != nil {
		return err
	}
	issuer, err := a.issuerFor(shape, "")
	if err != nil {
		return err
	}
	_, _, err = shape.Validity(issuer.shape, wishes, a.deps.Now())
	return err
}

// Allows asks policy, early, what Issue will ask it again: so that a door can
// refuse names before anybody proves them.
func (a *Authority) Allows(ctx context.Context, q policy.Question) error {
	_, err := a.Decide(ctx, q)
	return err
}

// Decide is Allows with the answer in full; that is there also when the error
// is a refusal.
func (a *Authority) Decide(ctx context.Context, q policy.Question) (policy.Decision, error) {
	return Decide(ctx, a.deps.Policy, *a.profiles.Load(), q)
}

// Decide asks policy, and then the profile whether it is for such requesters
// and takes such names.
func Decide(ctx context.Context, judge Policy, profiles map[string]*profile.Profile, q policy.Question) (policy.Decision, error) {
	decision, err := judge.Decide(ctx, q)
	if err != nil {
		return decision, failure.Wrap("ask policy", err)
	}
	shape := profiles[q.Profile]
	if shape == nil { // not known yet
		return decision, nil
	}
	grant := factsOf(decision.Grant)
	if grant == nil && q.Provisioner != "" {
		grant = &expr.Grant{Name: q.Provisioner, Profiles: q.Profiles}
	}
	err = shape.CheckUse(q.Door, &expr.Facts{Grant: grant})
	if err == nil {
		err = shape.CheckNames(q.Identifiers)
	}
	if err != nil {
		decision.RefuseAll("profile "+q.Profile, err)
		return decision, err
	}
	return decision, nil
}

// factsOf is what expressions may know of a grant.
func factsOf(g *policy.Grant) *expr.Grant {
	if g == nil {
		return nil
	}
	return &expr.Grant{ID: g.ID, Name: g.Name, Labels: g.Labels, Profiles: g.Profiles}
}
