package store

import (
	"encoding/json"
	"slices"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/serial"
)

// AccountStatus is what an account is (RFC 8555 §7.1.6).
type AccountStatus string

// The statuses of an account.
const (
	AccountValid       AccountStatus = "valid"
	AccountDeactivated AccountStatus = "deactivated" // by its holder
	AccountRevoked     AccountStatus = "revoked"     // by an operator
)

// AccountKey is the public key by which an account's requests are known.
type AccountKey struct {
	Thumbprint string // RFC 7638 with SHA-256, in base64url
	JWK        []byte // the public key as a JWK (RFC 7517)
}

// Account is an ACME account.
type Account struct {
	ID             string
	Key            AccountKey
	Contact        []string
	Status         AccountStatus
	Created        time.Time
	TermsAgreed    time.Time       // when the terms of service were agreed to; zero if never
	BindingID      string          // the binding key it was created with; "" if none
	BindingRequest json.RawMessage // the externalAccountBinding as it was sent
}

// AccountQuery selects accounts.
type AccountQuery struct {
	BindingID string // only accounts made with this key, if set
	Before    string // only ids below this one: the last of the page before
	Limit     int    // at most so many; 0 means 100
}

// Order is a request for one certificate. Its status is not stored: Status
// derives it.
type Order struct {
	ID          string
	AccountID   string
	Profile     string
	Identifiers []identifier.Identifier // in the client's order, wildcards included
	NotBefore   time.Time               // as asked for; zero if not
	NotAfter    time.Time
	Replaces    *CertificateKey // the certificate this order renews (RFC 9773 §5)
	Created     time.Time
	Expires     time.Time
	Finalized   time.Time       // when finalization was accepted
	Failure     *failure.Report // why it ended, if for a reason of its own
	Certificate *CertificateKey // what came of it

	AuthorizationIDs []string
	Authorizations   []Authorization // filled by the steps that return orders
}

// OrderStatus is what an order is (RFC 8555 §7.1.6).
type OrderStatus string

// The statuses of an order.
const (
	OrderPending    OrderStatus = "pending"
	OrderReady      OrderStatus = "ready"
	OrderProcessing OrderStatus = "processing"
	OrderValid      OrderStatus = "valid"
	OrderInvalid    OrderStatus = "invalid"
)

// Status derives the order's status at now from its certificate, its failure,
// its authorizations and the clock.
func (o *Order) Status(now time.Time) OrderStatus {
	switch {
	case o.Certificate != nil:
		return OrderValid
	case o.Failure != nil:
		return OrderInvalid
	case !o.Finalized.IsZero():
		return OrderProcessing
	case !now.Before(o.Expires):
		return OrderInvalid
	}
	status := OrderReady
	for i := range o.Authorizations {
		switch o.Authorizations[i].Status(now) {
		case AuthorizationValid:
		case AuthorizationPending:
			status = OrderPending
		default:
			return OrderInvalid
		}
	}
	return status
}

// Repeats reports whether the order only asks again what an earlier one does
// that has no certificate yet.
func (o *Order) Repeats(earlier *Order) bool {
	names := func(o *Order) []identifier.Identifier { return identifier.Normalize(slices.Clone(o.Identifiers)) }
	return earlier.AccountID == o.AccountID && earlier.Profile == o.Profile && earlier.Certificate == nil &&
		slices.Equal(names(earlier), names(o))
}

// Standing is the first of some orders that is not invalid at now, or
// ErrNotFound.
func Standing(orders []Order, now time.Time) (Order, error) {
	for i := range orders {
		if orders[i].Status(now) != OrderInvalid {
			return orders[i], nil
		}
	}
	return Order{}, ErrNotFound
}

// OrderQuery selects orders.
type OrderQuery struct {
	AccountID string // only this account's, if set
	Before    string // only ids below this one: the last of the page before
	Limit     int    // at most so many; 0 means 100
}

// AuthorizationStatus is what an authorization is (RFC 8555 §7.1.6).
type AuthorizationStatus string

// The statuses of an authorization. AuthorizationExpired is derived, never
// stored.
const (
	AuthorizationPending     AuthorizationStatus = "pending" // also while a challenge is being processed
	AuthorizationValid       AuthorizationStatus = "valid"
	AuthorizationInvalid     AuthorizationStatus = "invalid"
	AuthorizationDeactivated AuthorizationStatus = "deactivated"
	AuthorizationExpired     AuthorizationStatus = "expired"
)

// Authorization is an account's right to a name, proven or not. Its challenges
// are not stored: they are its methods, all with its token.
type Authorization struct {
	ID         string
	AccountID  string
	Identifier identifier.Identifier // never a wildcard
	Wildcard   bool                  // it is for *.Identifier
	Token      string
	Methods    []string            // the challenge types offered
	GrantID    string              // the grant that stands for a proof; "" where there is one, or will be
	Subdomains bool                // the proof counts for the names below, too (RFC 9444)
	State      AuthorizationStatus // as last settled; Status also looks at the clock
	Created    time.Time
	Expires    time.Time

	Method      string          // the challenge being processed, or that settled it
	Thumbprint  string          // the account key's when the challenge was answered
	Settled     time.Time       // when its outcome was known
	Failure     *failure.Report // why it is invalid
	Attempts    []Attempt       // every try, oldest first
	NextAttempt time.Time       // when processing: the next try is due
	ClaimedTill time.Time       // when processing: somebody is at it until then
}

// Name is the name the authorization is for, with its wildcard.
func (a *Authorization) Name() identifier.Identifier {
	name := a.Identifier
	if a.Wildcard {
		name.Value = "*." + name.Value
	}
	return name
}

// Status derives the authorization's status at now.
func (a *Authorization) Status(now time.Time) AuthorizationStatus {
	if now.Before(a.Expires) || a.State == AuthorizationInvalid || a.State == AuthorizationDeactivated {
		return a.State
	}
	if a.State == AuthorizationPending {
		return AuthorizationInvalid // RFC 8555 §7.1.6: expiry is for valid ones
	}
	return AuthorizationExpired
}

// Processing reports whether the challenge of that method is being processed.
func (a *Authorization) Processing(method string) bool {
	return a.State == AuthorizationPending && a.Method == method
}

// Offers reports whether the authorization has a challenge of that method.
func (a *Authorization) Offers(method string) bool { return slices.Contains(a.Methods, method) }

// Attempt is one try to validate a challenge.
type Attempt struct {
	Method     string          `json:"method"`
	Started    time.Time       `json:"started"`
	Took       time.Duration   `json:"took"` // in nanoseconds
	Failure    *failure.Report `json:"failure,omitempty"`
	Transcript json.RawMessage `json:"transcript,omitempty"`
}

// ValidationClaim says who validates what until when.
type ValidationClaim struct {
	Method      string
	Thumbprint  string    // the account key's, at the time of the answer
	NextAttempt time.Time // when the first attempt is due
	Till        time.Time // when others may take over
}

// Outcome settles an authorization.
type Outcome struct {
	Method     string
	Thumbprint string
	Attempt    *Attempt        // the last try; kept after those recorded before
	Failure    *failure.Report // nil when the name is proven
	Settled    time.Time
	Expires    time.Time // until when a proof can be used; zero leaves it unchanged
}

// Owner is what an issuance belongs to: the record that is claimed when it
// begins and tied to the certificate when it ends.
type Owner struct {
	Kind OwnerKind
	ID   string
}

// OwnerKind is the kind of record that owns an issuance.
type OwnerKind string

// The kinds of owners.
const (
	OwnerNone  OwnerKind = ""      // nothing is claimed
	OwnerOrder OwnerKind = "order" // an ACME order
	OwnerToken OwnerKind = "token" // a one-time token: its ID is spent
)

// CertificateKey names a certificate: serial numbers are unique by issuer only.
type CertificateKey struct {
	IssuerID string
	Serial   serial.Number
}

// Intent is what is about to be signed. It is stored before any key is used.
type Intent struct {
	CertificateKey
	Owner Owner
	// OwnerExpires is until when an OwnerToken is remembered as spent; zero is
	// for ever.
	OwnerExpires time.Time
	Partition    int64  // of the issuer's revocation lists; 0 for none
	TBS          []byte // DER of the whole TBSCertificate
	Request      []byte // what the road was asked for, to go on with after a crash
	Attempt      int    // 1 for the first, one more each time an abandoned one is replaced
	Created      time.Time
	Deadline     time.Time // after this it is taken as left over
}

// Issuer is a certificate authority's key and names that certificates were, or
// are, issued by.
type Issuer struct {
	ID           string   // see IssuerID
	SubjectKeyID []byte   // as in its certificate, and in its leaves' AKI
	Chain        [][]byte // DER: its certificate, then those above it, the root last
	// Alternates are other chains of the same key, without their roots, such
	// as begin with a cross-signed certificate.
	Alternates [][][]byte
}

// Certificate is a record of the inventory: a certificate, or a serial that
// may have been signed and was abandoned.
type Certificate struct {
	CertificateKey
	Owner       Owner
	AccountID   string // of the ACME account; "" from other doors
	Requester   string // door and who asked, such as "acme:ID", "token:ci/app" or "self"
	Profile     string
	Rule        string // the policy rule that allowed it
	Identifiers []identifier.Identifier
	// Subject is the subject's text (RFC 4514); "" when it says no more than a
	// common name that is one of Identifiers.
	Subject     string
	DER         []byte // the certificate; of an abandoned one, the TBSCertificate
	Fingerprint [32]byte
	KeyHash     [32]byte // SHA-256 of the SubjectPublicKeyInfo; zero of an abandoned one
	NotBefore   time.Time
	NotAfter    time.Time
	Issued      time.Time
	Abandoned   bool
	Partition   int64           // of the issuer's revocation lists; 0 for none
	Replaces    *CertificateKey // what it was asked for in place of; nil when nobody said
	Revocation  *Revocation     // nil while it is good
}

// Revocation says when and why a certificate was revoked.
type Revocation struct {
	At     time.Time `json:"at"`
	Reason int       `json:"reason"` // CRLReason (RFC 5280 §5.3.1)
}

// CertificateStatus is what the inventory answers about a certificate.
type CertificateStatus string

// The statuses of a certificate. Revoked wins over expired.
const (
	CertificateGood      CertificateStatus = "valid"
	CertificateExpired   CertificateStatus = "expired"
	CertificateRevoked   CertificateStatus = "revoked"
	CertificateAbandoned CertificateStatus = "abandoned"
)

// Status derives the certificate's status at now.
func (c *Certificate) Status(now time.Time) CertificateStatus {
	switch {
	case c.Abandoned:
		return CertificateAbandoned
	case c.Revocation != nil:
		return CertificateRevoked
	case now.After(c.NotAfter):
		return CertificateExpired
	default:
		return CertificateGood
	}
}

// CertificateQuery selects certificates; the zero value selects all. Every
// field that is set must hold.
type CertificateQuery struct {
	Name          string // carries this name, in its normal form
	NamePart      string // carries a name with this in it, in lower case; selects nothing with less than three characters
	NamePattern   string // carries a name in d (*.d), in or below it (**.d), any domain name (**), or else the name itself
	ServiceID     string // of this service
	AccountID     string
	Requester     string // this requester's, or all of a door's or provisioner's when it ends in ":" or "/"
	Subject       string // with this subject, as in Certificate
	Profile       string
	IssuerID      string
	Serial        *serial.Number // with this serial, whatever the issuer
	Fingerprint   *[32]byte      // SHA-256 of the DER
	KeyHash       *[32]byte      // SHA-256 of the SubjectPublicKeyInfo
	Replaces      *CertificateKey
	IssuedAfter   time.Time // at this time or later
	IssuedBefore  time.Time // earlier
	ExpiresAfter  time.Time // NotAfter is then or later
	ExpiresBefore time.Time
	RevokedAfter  time.Time // revoked then or later; abandoned with CertificateAbandoned
	RevokedBefore time.Time
	Status        CertificateStatus
	Now           time.Time       // what Status is judged by
	Before        *CertificateKey // only those after this one in the listing: the last of the page before
	Limit         int             // at most so many; 0 means 100
}

// CertificateCounts says how many certificates there are of each status.
type CertificateCounts struct{ Valid, Expired, Revoked, Abandoned int }

// Service is all the certificates with the same set of names, one after the
// other: what an operator watches. It is healthy while any of them is good.
type Service struct {
	ID           string                  // see ServiceID
	Identifiers  []identifier.Identifier // in their normal order
	First        time.Time               // when its first certificate was issued
	Last         time.Time               // when its newest was
	Newest       CertificateKey
	ValidUntil   time.Time // the latest NotAfter of those that are not revoked; zero for none
	Certificates int       // how many there are, without abandoned ones
}

// Healthy reports whether a certificate of the service is good at now.
func (s *Service) Healthy(now time.Time) bool { return !now.After(s.ValidUntil) }

// ServiceQuery selects services; the zero value selects all.
type ServiceQuery struct {
	ID            string
	Name          string // these three as in CertificateQuery
	NamePart      string
	NamePattern   string
	Health        ServiceHealth
	ExpiresBefore time.Time // ValidUntil is earlier
	Now           time.Time // what Health is judged by
	Before        string    // only those after the service of this id in the listing: the last of the page before
	Limit         int       // at most so many; 0 means 100
}

// ServiceHealth selects services by whether they are healthy; "" selects all.
type ServiceHealth string

// The healths of a service.
const (
	ServiceHealthy   ServiceHealth = "healthy"
	ServiceUnhealthy ServiceHealth = "unhealthy"
)

// Partition is a share of an issuer's certificates that has a revocation list
// of its own. A certificate's partition is fixed when it is issued. Partition 0
// stands for the full list of all the issuer's certificates.
type Partition struct {
	IssuerID string
	Number   int64 // from 1 on
	Created  time.Time
	Issued   int // how many certificates it has, without those being issued now
}

// RevocationList is a CRL as it is served.
type RevocationList struct {
	IssuerID   string
	Partition  int64 // 0 for the full list
	Number     int64 // CRLNumber (RFC 5280 §5.2.3): grows with each list of the same partition
	ThisUpdate time.Time
	NextUpdate time.Time
	DER        []byte
}

// StaleList is a list that has to be made anew.
type StaleList struct {
	IssuerID  string
	Partition int64
	Number    int64 // of the list in force; 0 for none
	Basis     int64 // how much had changed when this was read: for PublishList
}

// RevokedEntry is a line of a CRL.
type RevokedEntry struct {
	Serial serial.Number
	Revocation
}

// Provisioner is a configured way to prove who asks, kept in the store.
// Others are in the configuration.
type Provisioner struct {
	Name    string
	Type    string
	Spec    json.RawMessage
	Created time.Time
}

// AdminToken is a secret that lets an operator use the administrative API from
// elsewhere. The secret itself is not kept.
type AdminToken struct {
	ID      string
	Name    string   // for people
	Role    string   // viewer, operator, admin
	Hash    [32]byte // SHA-256 of the secret
	Created time.Time
	Expires time.Time // zero for never
	Revoked time.Time
}

// Incident tells the clients whose certificates a query selects to renew them
// early (RFC 9773).
type Incident struct {
	ID          string
	Query       json.RawMessage // the query as the API takes it
	Explanation string          // a URL for people; "" for none
	Opened      time.Time
	RenewBy     time.Time // when the last of them should have renewed
	Closed      time.Time // zero while it is open
}
