package store

import "time"

// Binding is a key for external account binding (RFC 8555 §7.3.4).
type Binding struct {
	ID        string // the key identifier given to the client
	Name      string // for people
	Secret    []byte // the MAC key, 32 octets; nil in listings
	SingleUse bool
	Created   time.Time
	Expires   time.Time // zero for never
	Revoked   time.Time
	UsedBy    string // the account that used it last
	Used      time.Time
	Uses      int
	Grant     Grant
}

// Grant is the policy that a binding key carries to the accounts made with it.
// The store acts on MaxAccounts; what the other fields mean is policy's.
type Grant struct {
	Allow        []string          `json:"allow,omitempty"`
	Deny         []string          `json:"deny,omitempty"`
	Preauthorize []string          `json:"preauthorize,omitempty"`
	Profiles     []string          `json:"profiles,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	MaxAccounts  int               `json:"max_accounts,omitempty"` // valid at a time; 0 for any number
	MaxRate      string            `json:"max_rate,omitempty"`
}

// IsZero reports whether the key carries no policy.
func (g *Grant) IsZero() bool {
	return len(g.Allow)+len(g.Deny)+len(g.Preauthorize)+len(g.Profiles)+len(g.Labels)+g.MaxAccounts == 0 && g.MaxRate == ""
}

// BindingChange is what changes about a binding key; nil fields stay.
type BindingChange struct {
	Name         *string
	Expires      *time.Time // zero for never
	Allow        *[]string
	Deny         *[]string
	Preauthorize *[]string
	Profiles     *[]string
	Labels       *map[string]string
	MaxAccounts  *int
	MaxRate      *string
}

// Apply makes the change.
func (c *BindingChange) Apply(b *Binding) {
	change(&b.Name, c.Name)
	change(&b.Expires, c.Expires)
	change(&b.Grant.Allow, c.Allow)
	change(&b.Grant.Deny, c.Deny)
	change(&b.Grant.Preauthorize, c.Preauthorize)
	change(&b.Grant.Profiles, c.Profiles)
	change(&b.Grant.Labels, c.Labels)
	change(&b.Grant.MaxAccounts, c.MaxAccounts)
	change(&b.Grant.MaxRate, c.MaxRate)
}

func change[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}
