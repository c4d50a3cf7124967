package admin

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"slices"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/store"
)

// Certificate is a certificate of the inventory. Abandoned ones, which may
// have been signed but were never given out, have no PEM.
type Certificate struct {
	Serial      string     `json:"serial"` // 40 lower-case hexadecimal digits
	Issuer      string     `json:"issuer"`
	Names       []string   `json:"names"`
	Subject     string     `json:"subject,omitempty"` // when it says more than the names
	Service     string     `json:"service,omitempty"` // the id of all that have the same names
	Profile     string     `json:"profile"`
	Account     string     `json:"account,omitempty"`
	Order       string     `json:"order,omitempty"`
	Requester   string     `json:"requester"`
	Rule        string     `json:"rule"`
	Status      string     `json:"status"` // valid, expired, revoked, abandoned
	NotBefore   time.Time  `json:"not_before"`
	NotAfter    time.Time  `json:"not_after"`
	Issued      time.Time  `json:"issued"`
	RevokedAt   *time.Time `json:"revoked_at,omitempty"`
	Reason      string     `json:"reason,omitempty"`       // by its name in RFC 5280
	Fingerprint string     `json:"fingerprint"`            // SHA-256 in hexadecimal
	KeyHash     string     `json:"key_hash,omitempty"`     // SHA-256 of the SubjectPublicKeyInfo
	Replaces    string     `json:"replaces,omitempty"`     // serial of what it was asked for in place of
	ReplacedBy  string     `json:"replaced_by,omitempty"`  // serial; when shown, like all that follows
	RenewedFrom string     `json:"renewed_from,omitempty"` // serial of the one before of the same names, when it replaces none
	PEM         string     `json:"pem,omitempty"`
}

// Order is an ACME order.
type Order struct {
	ID             string          `json:"id"`
	Account        string          `json:"account"`
	Status         string          `json:"status"`
	Names          []string        `json:"names"`
	Profile        string          `json:"profile"`
	Created        time.Time       `json:"created"`
	Expires        time.Time       `json:"expires"`
	Finalized      *time.Time      `json:"finalized,omitempty"`
	Certificate    string          `json:"certificate,omitempty"` // serial
	Replaces       string          `json:"replaces,omitempty"`    // serial
	Error          *Problem        `json:"error,omitempty"`
	Authorizations []Authorization `json:"authorizations,omitempty"` // when shown
}

// Authorization is an account's right to a name, with all that was done to
// prove it.
type Authorization struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Status   string     `json:"status"`
	Methods  []string   `json:"methods"`
	Method   string     `json:"method,omitempty"` // the challenge being processed, or that settled it
	Created  time.Time  `json:"created"`
	Expires  time.Time  `json:"expires"`
	Settled  *time.Time `json:"settled,omitempty"`
	Error    *Problem   `json:"error,omitempty"`
	Attempts []Attempt  `json:"attempts,omitempty"`
}

// Attempt is one try to validate a challenge.
type Attempt struct {
	Method     string          `json:"method"`
	Started    time.Time       `json:"started"`
	Seconds    float64         `json:"seconds"`
	Outcome    string          `json:"outcome"` // "valid" or the kind of failure
	Error      string          `json:"error,omitempty"`
	Transcript json.RawMessage `json:"transcript,omitempty"`
}

// Problem is what the client was told of a failure.
type Problem struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// Account is an ACME account.
type Account struct {
	ID         string     `json:"id"`
	Status     string     `json:"status"`
	Contact    []string   `json:"contact"`
	Created    time.Time  `json:"created"`
	Terms      *time.Time `json:"terms_agreed,omitempty"`
	EAB        string     `json:"eab,omitempty"` // the binding key it was created with
	Thumbprint string     `json:"thumbprint"`    // RFC 7638, base64url
}

// Binding is a key for external account binding.
type Binding struct {
	KID       string     `json:"kid"`
	HMAC      string     `json:"hmac,omitempty"` // unpadded base64url; only in the answer that creates it
	Name      string     `json:"name,omitempty"`
	SingleUse bool       `json:"single_use"`
	Status    string     `json:"status"` // valid, used, expired, revoked
	Created   time.Time  `json:"created"`
	Expires   *time.Time `json:"expires,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
	Uses      int        `json:"uses"`
	UsedBy    string     `json:"used_by,omitempty"` // the account that used it last
	Grant
}

// Status says how the server does.
type Status struct {
	Version      string    `json:"version"`
	Serving      bool      `json:"serving"` // false when no server runs
	DirectoryURL string    `json:"directory_url,omitempty"`
	Started      time.Time `json:"started,omitzero"`
	Ready        bool      `json:"ready"`
	Reason       string    `json:"reason,omitempty"` // why it is not ready
}

// Reloaded says what came of reading the configuration again.
type Reloaded struct {
	Changed []string `json:"changed"`        // keys that are in force now
	Restart []string `json:"restart_needed"` // keys that changed but need a restart
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func names(ids []identifier.Identifier) []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = id.Value
	}
	return list
}

func problem(report *failure.Report) *Problem {
	if report == nil {
		return nil
	}
	text := report.Text
	for _, part := range report.Parts {
		text += "; " + part.Identifier.Value + ": " + part.Public
	}
	return &Problem{Kind: report.Kind.String(), Text: text}
}

func viewCertificate(c *store.Certificate, now time.Time) Certificate {
	view := Certificate{
		Serial: c.Serial.String(), Issuer: c.IssuerID, Names: names(c.Identifiers),
		Profile: c.Profile, Account: c.AccountID, Requester: c.Requester, Rule: c.Rule,
		Status: string(c.Status(now)), NotBefore: c.NotBefore, NotAfter: c.NotAfter, Issued: c.Issued,
		Fingerprint: hex.EncodeToString(c.Fingerprint[:]),
		Subject:     c.Subject, Service: store.ServiceID(slices.Clone(c.Identifiers)),
	}
	if c.KeyHash != [32]byte{} {
		view.KeyHash = hex.EncodeToString(c.KeyHash[:])
	}
	if c.Replaces != nil {
		view.Replaces = c.Replaces.Serial.String()
	}
	if c.Owner.Kind == store.OwnerOrder {
		view.Order = c.Owner.ID
	}
	if c.Revocation != nil {
		view.RevokedAt, view.Reason = optional(c.Revocation.At), reasonName(c.Revocation.Reason)
	}
	return view
}

func viewCertificateWhole(c *store.Certificate, now time.Time) Certificate {
	view := viewCertificate(c, now)
	if !c.Abandoned {
		view.PEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER}))
	}
	return view
}

func viewOrder(o *store.Order, now time.Time) Order {
	view := Order{
		ID: o.ID, Account: o.AccountID, Status: string(o.Status(now)), Names: names(o.Identifiers),
		Profile: o.Profile, Created: o.Created, Expires: o.Expires, Finalized: optional(o.Finalized),
		Error: problem(o.Failure),
	}
	if o.Certificate != nil {
		view.Certificate = o.Certificate.Serial.String()
	}
	if o.Replaces != nil {
		view.Replaces = o.Replaces.Serial.String()
	}
	return view
}

func viewOrderWhole(o *store.Order, now time.Time) Order {
	view := viewOrder(o, now)
	for i := range o.Authorizations {
		view.Authorizations = append(view.Authorizations, viewAuthorization(&o.Authorizations[i], now))
	}
	return view
}

func viewAuthorization(a *store.Authorization, now time.Time) Authorization {
	view := Authorization{
		ID: a.ID, Name: a.Name().Value, Status: string(a.Status(now)), Methods: a.Methods, Method: a.Method,
		Created: a.Created, Expires: a.Expires, Settled: optional(a.Settled), Error: problem(a.Failure),
	}
	for _, attempt := range a.Attempts {
		view.Attempts = append(view.Attempts, viewAttempt(attempt))
	}
	return view
}

func viewAttempt(a store.Attempt) Attempt {
	view := Attempt{
		Method: a.Method, Started: a.Started, Seconds: a.Took.Seconds(),
		Outcome: "valid", Transcript: a.Transcript,
	}
	if a.Failure != nil {
		view.Outcome, view.Error = a.Failure.Kind.String(), a.Failure.Text
	}
	return view
}

func viewAccount(a *store.Account) Account {
	return Account{
		ID: a.ID, Status: string(a.Status), Contact: append([]string{}, a.Contact...), Created: a.Created,
		Terms: optional(a.TermsAgreed), EAB: a.BindingID, Thumbprint: a.Key.Thumbprint,
	}
}

func viewBinding(b *store.Binding, now time.Time) Binding {
	view := Binding{
		KID: b.ID, Name: b.Name, SingleUse: b.SingleUse, Status: "valid", Created: b.Created,
		Expires: optional(b.Expires), RevokedAt: optional(b.Revoked), Uses: b.Uses, UsedBy: b.UsedBy,
		Grant: Grant(b.Grant),
	}
	switch {
	case !b.Revoked.IsZero():
		view.Status = "revoked"
	case b.SingleUse && b.Uses > 0:
		view.Status = "used"
	case !b.Expires.IsZero() && !now.Before(b.Expires):
		view.Status = "expired"
	}
	if b.Secret != nil {
		view.HMAC = base64.RawURLEncoding.EncodeToString(b.Secret)
	}
	return view
}
