package profile

import (
	"cmp"
	"slices"
	"time"

	"chancery/internal/duration"
)

// Spec is a profile as the configuration file has it. What is left out is as
// in the built-in profile of the same name, and as in tls-server where there
// is none.
type Spec struct {
	// What the profile is for, in one line; ACME clients can read it.
	Description string `yaml:"description,omitempty" json:"description,omitempty"`

	// How long certificates are good for.
	Validity Validity `yaml:"validity,omitempty" json:"validity,omitzero"`

	// How long before its making a certificate becomes good, so that clocks which are late accept it. Default 1m.
	Backdate duration.Duration `yaml:"backdate,omitempty" json:"backdate,omitempty"`

	// The keys that are certified: P-256, P-384, P-521, Ed25519, RSA (2048 to 8192 bits) or RSA-2048 and the like for one size. Default: all of them.
	KeyTypes []string `yaml:"key_types,omitempty" json:"key_types,omitempty"`

	// Key usages by their names in RFC 5280: digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment, keyAgreement, encipherOnly, decipherOnly. A key gets those of them that its algorithm can serve. Default: digitalSignature, and keyEncipherment with serverAuth, which only RSA keys can serve.
	KeyUsages []string `yaml:"key_usages,omitempty" json:"key_usages,omitempty"`

	// Extended key usages by name (serverAuth, clientAuth, codeSigning, emailProtection, timeStamping, OCSPSigning) or as a dotted OID. Default: serverAuth.
	ExtendedKeyUsages []string `yaml:"extended_key_usages,omitempty" json:"extended_key_usages,omitempty"`

	// Marks the certificates as ones for which no revocation information is published (RFC 9608), for those so short-lived that it would not matter. The built-in profile shortlived has it always; to go without, use another name.
	NoRevocation bool `yaml:"no_revocation,omitempty" json:"no_revocation,omitempty"`
}

// Validity bounds the time between a certificate's making and its end.
type Validity struct {
	// Of certificates whose requester asks for nothing else. It is cut where the CA's own certificate ends.
	Default duration.Duration `yaml:"default,omitempty" json:"default,omitempty"`

	// The least a requester may ask for. Default 1m.
	Shortest duration.Duration `yaml:"shortest,omitempty" json:"shortest,omitempty"`

	// The most a requester may ask for. Default: as validity.default.
	Longest duration.Duration `yaml:"longest,omitempty" json:"longest,omitempty"`
}

const (
	day             = duration.Duration(24 * time.Hour)
	defaultBackdate = duration.Duration(time.Minute)
	defaultShortest = duration.Duration(time.Minute)

	// baseName is the built-in profile that others lean on.
	baseName = "tls-server"
)

// Defaults returns the built-in profiles by name.
func Defaults() map[string]Spec {
	return map[string]Spec{
		baseName: {
			Description:       "TLS servers, for 90 days",
			Validity:          Validity{Default: 90 * day},
			ExtendedKeyUsages: []string{"serverAuth"},
		},
		"tls-client": {
			Description:       "TLS clients, for 90 days",
			Validity:          Validity{Default: 90 * day},
			ExtendedKeyUsages: []string{"clientAuth"},
		},
		"tls-mutual": {
			Description:       "Machines that are TLS server and client, for 90 days",
			Validity:          Validity{Default: 90 * day},
			ExtendedKeyUsages: []string{"serverAuth", "clientAuth"},
		},
		"shortlived": {
			Description:       "TLS servers that renew every few days; never revoked",
			Validity:          Validity{Default: 6 * day},
			ExtendedKeyUsages: []string{"serverAuth"},
			NoRevocation:      true,
		},
	}
}

// WithDefaults returns the spec of the profile name with all that it leaves
// out filled in.
func (s Spec) WithDefaults(name string) Spec {
	builtin := Defaults()
	base, known := builtin[name]
	if !known {
		base = builtin[baseName]
		base.Description = ""
	}
	s.Description = cmp.Or(s.Description, base.Description)
	s.Validity.Default = cmp.Or(s.Validity.Default, base.Validity.Default)
	s.Validity.Longest = cmp.Or(s.Validity.Longest, s.Validity.Default)
	s.Validity.Shortest = cmp.Or(s.Validity.Shortest, min(defaultShortest, s.Validity.Longest))
	s.Backdate = cmp.Or(s.Backdate, defaultBackdate)
	s.KeyTypes = either(s.KeyTypes, allKeyTypes())
	s.ExtendedKeyUsages = either(s.ExtendedKeyUsages, base.ExtendedKeyUsages)
	s.KeyUsages = either(s.KeyUsages, usagesFor(s.ExtendedKeyUsages))
	s.NoRevocation = s.NoRevocation || base.NoRevocation
	return s
}

// usagesFor are the key usages that go with extended ones. TLS 1.2 without
// forward secrecy encrypts to the server's RSA key (RFC 5246 §7.4.2); nothing
// else here needs more than signatures.
func usagesFor(extended []string) []string {
	if slices.Contains(extended, "serverAuth") {
		return []string{"digitalSignature", "keyEncipherment"}
	}
	return []string{"digitalSignature"}
}

func either(list, instead []string) []string {
	if len(list) == 0 {
		return instead
	}
	return list
}
