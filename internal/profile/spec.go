package profile

import (
	"cmp"
	"slices"
	"time"

	"chancery/internal/duration"
	"chancery/internal/expr"
	"chancery/internal/identifier"
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

	// Key usages by their names in RFC 5280: digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment, keyAgreement, encipherOnly, decipherOnly, and for CAs keyCertSign and cRLSign. A key gets those of them that its algorithm can serve. Default: digitalSignature, and keyEncipherment with serverAuth, which only RSA keys can serve; for CAs digitalSignature, keyCertSign, cRLSign.
	KeyUsages []string `yaml:"key_usages,omitempty" json:"key_usages,omitempty"`

	// Extended key usages by name (serverAuth, clientAuth, codeSigning, emailProtection, timeStamping, OCSPSigning) or as a dotted OID. Default: serverAuth, and none for CAs.
	ExtendedKeyUsages []string `yaml:"extended_key_usages,omitempty" json:"extended_key_usages,omitempty"`

	// Marks the certificates as ones for which no revocation information is published (RFC 9608), for those so short-lived that it would not matter. The built-in profile shortlived has it always; to go without, use another name.
	NoRevocation bool `yaml:"no_revocation,omitempty" json:"no_revocation,omitempty"`

	// The subject. Each part is a text, an expression {cel: '…'}, or a list of these. Without common_name, the one in the CSR is taken when it is one of the names.
	Subject Subject `yaml:"subject,omitempty" json:"subject,omitzero"`

	// The subject alternative names: which are taken, and which are added.
	SAN SAN `yaml:"san,omitempty" json:"san,omitzero"`

	// Makes the certificates X.509-SVIDs of this SPIFFE trust domain, as in corp.example: they have exactly one URI, a SPIFFE ID in it with a path. What is left out is then as SPIFFE wants it: san.types is [uri], extended_key_usages are serverAuth and clientAuth, validity.default is 24h.
	TrustDomain string `yaml:"trust_domain,omitempty" json:"trust_domain,omitempty"`

	// Whether the certificates are those of CAs.
	BasicConstraints BasicConstraints `yaml:"basic_constraints,omitempty" json:"basic_constraints,omitzero"`

	// The names that a CA may certify, for profiles with basic_constraints.ca.
	NameConstraints NameConstraints `yaml:"name_constraints,omitempty" json:"name_constraints,omitzero"`

	// Certificate policies, as in [{oid: 1.3.6.1.4.1.55555.1, cps: "http://ca.corp.example/cps"}].
	Policies []Policy `yaml:"policies,omitempty" json:"policies,omitempty"`

	// Where relying parties find the issuer's certificate, its revocation list and its OCSP responder, when not where the CA says of itself.
	URLs URLs `yaml:"urls,omitempty" json:"urls,omitzero"`

	// Demands that servers staple an OCSP answer (RFC 7633).
	MustStaple bool `yaml:"must_staple,omitempty" json:"must_staple,omitempty"`

	// Further extensions, as in [{oid: 1.3.6.1.4.1.55555.2, value: {utf8: x}}]. A value is one of utf8, ia5, printable, int, bool, bytes (hexadecimal, or base64:…), oid, sequence (a list of values) and der (as bytes).
	Extensions []Extension `yaml:"extensions,omitempty" json:"extensions,omitempty"`

	// The issuer that signs, of those in issuers. Empty for the default.
	Issuer string `yaml:"issuer,omitempty" json:"issuer,omitempty"`

	// The doors at which the profile can be asked for. Empty for all.
	Doors []string `yaml:"doors,omitempty" json:"doors,omitempty"`

	// Leaves the profile to those accounts whose grant names it.
	Restricted bool `yaml:"restricted,omitempty" json:"restricted,omitempty"`
}

// Text is a text or an expression that gives one.
type Text = expr.Value[string]

// Subject is what the subject of certificates is made of. Its fields are in
// the order in which they are written into it.
type Subject struct {
	// Country, as two capital letters.
	Country []Text `yaml:"country,omitempty" json:"country,omitempty"`

	// State or province.
	Province []Text `yaml:"province,omitempty" json:"province,omitempty"`

	// Locality.
	Locality []Text `yaml:"locality,omitempty" json:"locality,omitempty"`

	// Postal code.
	PostalCode []Text `yaml:"postal_code,omitempty" json:"postal_code,omitempty"`

	// Street address.
	StreetAddress []Text `yaml:"street_address,omitempty" json:"street_address,omitempty"`

	// Organization.
	Organization []Text `yaml:"organization,omitempty" json:"organization,omitempty"`

	// Organizational unit.
	OrganizationalUnit []Text `yaml:"organizational_unit,omitempty" json:"organizational_unit,omitempty"`

	// Other attributes by their OID, as in [{oid: 2.5.4.12, value: Engineer}].
	Extra []Attribute `yaml:"extra,omitempty" json:"extra,omitempty"`

	// Serial number of the subject, as of a device.
	SerialNumber []Text `yaml:"serial_number,omitempty" json:"serial_number,omitempty"`

	// Common name.
	CommonName []Text `yaml:"common_name,omitempty" json:"common_name,omitempty"`
}

// Attribute is an attribute of the subject that has no name here.
type Attribute struct {
	// The attribute's type.
	OID string `yaml:"oid" json:"oid"`

	// Its value.
	Value Text `yaml:"value" json:"value"`
}

// SAN says which subject alternative names there are.
type SAN struct {
	// The types of names that are taken from requesters: dns, ip, email, uri. Default: dns and ip; all of them in the built-in profiles tls-client and tls-mutual.
	Types []string `yaml:"types,omitempty" json:"types,omitempty"`

	// Leaves the requester's names out of the certificate; expressions can still use them.
	OmitIdentifiers bool `yaml:"omit_identifiers,omitempty" json:"omit_identifiers,omitempty"`

	// DNS names that are added.
	DNS []Text `yaml:"dns,omitempty" json:"dns,omitempty"`

	// IP addresses that are added.
	IPs []Text `yaml:"ips,omitempty" json:"ips,omitempty"`

	// Email addresses that are added.
	Emails []Text `yaml:"emails,omitempty" json:"emails,omitempty"`

	// URIs that are added, as in [{cel: '"spiffe://corp.example/" + token.sub'}].
	URIs []Text `yaml:"uris,omitempty" json:"uris,omitempty"`
}

// BasicConstraints says whether certificates are those of CAs.
type BasicConstraints struct {
	// Whether they may sign other certificates.
	CA bool `yaml:"ca,omitempty" json:"ca,omitempty"`

	// How many CAs there may be below each other under such a CA. 0 for none.
	PathLength int `yaml:"path_length,omitempty" json:"path_length,omitempty" min:"0" max:"20"`
}

// NameConstraints says which names a CA may certify (RFC 5280 §4.2.1.10).
type NameConstraints struct {
	// Only these, of the types for which there are any.
	Permitted Subtrees `yaml:"permitted,omitempty" json:"permitted,omitzero"`

	// None of these, whatever is permitted.
	Excluded Subtrees `yaml:"excluded,omitempty" json:"excluded,omitzero"`
}

// Subtrees are ranges of names.
type Subtrees struct {
	// Domains, each with all names below it.
	DNS []Text `yaml:"dns,omitempty" json:"dns,omitempty"`

	// Networks, as in 10.0.0.0/8.
	IPs []Text `yaml:"ips,omitempty" json:"ips,omitempty"`

	// Email addresses, their hosts, or domains with a dot before them for all hosts in them.
	Emails []Text `yaml:"emails,omitempty" json:"emails,omitempty"`

	// Hosts of URIs, or domains with a dot before them for all hosts in them.
	URIs []Text `yaml:"uris,omitempty" json:"uris,omitempty"`
}

// Policy is a certificate policy (RFC 5280 §4.2.1.4).
type Policy struct {
	// The policy.
	OID string `yaml:"oid" json:"oid"`

	// The URL of a certification practice statement.
	CPS string `yaml:"cps,omitempty" json:"cps,omitempty"`
}

// URLs are where relying parties find more.
type URLs struct {
	// Of the issuer's certificate, in DER.
	Issuer string `yaml:"issuer,omitempty" json:"issuer,omitempty"`

	// Of the issuer's revocation list.
	CRL string `yaml:"crl,omitempty" json:"crl,omitempty"`

	// Of the issuer's OCSP responder.
	OCSP string `yaml:"ocsp,omitempty" json:"ocsp,omitempty"`
}

// Extension is one that has no field of its own.
type Extension struct {
	// The extension.
	OID string `yaml:"oid" json:"oid"`

	// Whether relying parties that don't know it must refuse the certificate.
	Critical bool `yaml:"critical,omitempty" json:"critical,omitempty"`

	// What it holds: one typed value.
	Value Typed `yaml:"value" json:"value"`
}

// Typed is a value with its ASN.1 type: exactly one of the fields is there.
type Typed struct {
	// A UTF8String.
	UTF8 *Text `yaml:"utf8,omitempty" json:"utf8,omitempty"`

	// An IA5String: ASCII.
	IA5 *Text `yaml:"ia5,omitempty" json:"ia5,omitempty"`

	// A PrintableString: letters, digits, spaces and '()+,-./:=?
	Printable *Text `yaml:"printable,omitempty" json:"printable,omitempty"`

	// An INTEGER.
	Int *expr.Value[int] `yaml:"int,omitempty" json:"int,omitempty"`

	// A BOOLEAN.
	Bool *expr.Value[bool] `yaml:"bool,omitempty" json:"bool,omitempty"`

	// An OCTET STRING: hexadecimal, or "base64:" and base64; an expression gives bytes.
	Bytes *Text `yaml:"bytes,omitempty" json:"bytes,omitempty"`

	// An OBJECT IDENTIFIER.
	OID *Text `yaml:"oid,omitempty" json:"oid,omitempty"`

	// A SEQUENCE of values.
	Sequence []Typed `yaml:"sequence,omitempty" json:"sequence,omitempty"`

	// Any one value that is DER already; written as bytes.
	DER *Text `yaml:"der,omitempty" json:"der,omitempty"`
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
			SAN:               anyNames(),
		},
		"tls-mutual": {
			Description:       "Machines that are TLS server and client, for 90 days",
			Validity:          Validity{Default: 90 * day},
			ExtendedKeyUsages: []string{"serverAuth", "clientAuth"},
			SAN:               anyNames(),
		},
		"shortlived": {
			Description:       "TLS servers that renew every few days; never revoked",
			Validity:          Validity{Default: 6 * day},
			ExtendedKeyUsages: []string{"serverAuth"},
			NoRevocation:      true,
		},
	}
}

// anyNames takes all types of names: clients are people and workloads, too.
func anyNames() SAN {
	var types []string
	for _, typ := range identifier.Types() {
		types = append(types, string(typ))
	}
	return SAN{Types: types}
}

// WithDefaults returns the spec of the profile name with all that it leaves
// out filled in.
func (s Spec) WithDefaults(name string) Spec {
	builtin := Defaults()
	base, known := builtin[name]
	if !known {
		base = builtin[baseName]
		base.Description = ""
		if s.TrustDomain != "" {
			base = svid()
		}
	}
	s.Description = cmp.Or(s.Description, base.Description)
	s.Validity.Default = cmp.Or(s.Validity.Default, base.Validity.Default)
	s.Validity.Longest = cmp.Or(s.Validity.Longest, s.Validity.Default)
	s.Validity.Shortest = cmp.Or(s.Validity.Shortest, min(defaultShortest, s.Validity.Longest))
	s.Backdate = cmp.Or(s.Backdate, defaultBackdate)
	s.KeyTypes = either(s.KeyTypes, allKeyTypes())
	if s.BasicConstraints.CA { // a CA without extended key usages may certify for any
		s.KeyUsages = either(s.KeyUsages, []string{"digitalSignature", "keyCertSign", "cRLSign"})
	} else {
		s.ExtendedKeyUsages = either(s.ExtendedKeyUsages, base.ExtendedKeyUsages)
		s.KeyUsages = either(s.KeyUsages, usagesFor(s.ExtendedKeyUsages))
	}
	s.SAN.Types = either(s.SAN.Types, base.SAN.Types)
	s.SAN.Types = either(s.SAN.Types, []string{string(identifier.DNS), string(identifier.IP)})
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
