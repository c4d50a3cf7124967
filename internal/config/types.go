package config

import (
	"net/netip"

	"chancery/internal/duration"
	"chancery/internal/limits"
	"chancery/internal/policy"
	"chancery/internal/profile"
	"chancery/internal/provisioner"
)

// Config is the whole configuration, complete and checked, as Load returns it.
// Nobody changes it after that. The comments of its fields, and of the sections
// below, are what operators read in a new chancery.yaml and in the schema; the
// tags say the rest:
//
//	default   the value as text, as --set takes it
//	is        a rule of normalize that the text obeys
//	optional  the text may be empty
//	enum      the only texts allowed
//	min, max  bounds of a number or a duration, both inclusive
//	restart   a change takes effect when the server is started again
type Config struct {
	// Where the HTTPS server listens, HOST:PORT. Without HOST, or with 0.0.0.0 or [::], on all addresses; then set names or external_url.
	Listen string `yaml:"listen" default:"127.0.0.1:9443" is:"address" restart:"yes"`

	// Where the plain HTTP server listens, for revocation lists, OCSP and the certificates of the CA itself; port 9480 where the HTTPS server listens unless set. Empty for none.
	HTTPListen string `yaml:"http_listen" default:"127.0.0.1:9480" is:"address" optional:"yes" restart:"yes"`

	// Where Prometheus metrics are served, at /metrics. Empty for nowhere.
	MetricsListen string `yaml:"metrics_listen" is:"address" optional:"yes" restart:"yes"`

	// Host names and addresses in the server's own certificate, besides those of external_url and listen. The first is the host of the URLs below when these are left out.
	Names []string `yaml:"names" is:"host"`

	// The server as clients reach it, https://HOST[:PORT]. It is part of every URL given out, so choose it for good. Empty for https:// and the first of names, or else listen.
	ExternalURL string `yaml:"external_url" is:"https" optional:"yes"`

	// The plain HTTP server as relying parties reach it, http://HOST[:PORT]. Certificates say by it where to find out whether they are revoked. Empty for http:// and the first of names, or else http_listen, unless that is on loopback and the name is not.
	HTTPURL string `yaml:"http_url" is:"http" optional:"yes"`

	// What external_url was before, so that clients may go on with the URLs they were given.
	FormerURLs []string `yaml:"former_urls" is:"https"`

	// The most connections that are open at a time; more wait.
	MaxConnections int `yaml:"max_connections" default:"10000" min:"1" max:"1000000" restart:"yes"`

	// How long requests may take to finish when the server is stopped.
	ShutdownTimeout duration.Duration `yaml:"shutdown_timeout" default:"10s" max:"10m"`

	// What is logged, and how.
	Log Log `yaml:"log"`

	// Where accounts, orders and certificates are kept. In plain text it is sqlite, or the url.
	Store Store `yaml:"store"`

	// What this process is among several that share a database.
	Node Node `yaml:"node"`

	// How control of names is proved.
	Validation Validation `yaml:"validation"`

	// The ACME server.
	ACME ACME `yaml:"acme"`

	// Who may administer the CA over HTTPS. Whoever may open admin.sock always can.
	Admin Admin `yaml:"admin"`

	// The profile of certificates whose requester names none.
	DefaultProfile string `yaml:"default_profile" default:"tls-server"`

	// What certificates look like, by name. What is written for a built-in profile replaces single fields of it; what a new one leaves out is as in tls-server.
	Profiles map[string]profile.Spec `yaml:"profiles"`

	// What workloads with SPIFFE IDs need.
	SPIFFE SPIFFE `yaml:"spiffe"`

	// What signs, by name. There is always "default", the CA's own intermediate; profiles name others. After "chancery issuer rotate" the newest certificate signs.
	Issuers map[string]Issuer `yaml:"issuers"`

	// Who vouches for tokens, by name: each proves in its own way who asks for a certificate at /api/v1/sign. Others can be made while the server runs, with "chancery provisioner create".
	Provisioners map[string]provisioner.Spec `yaml:"provisioners"`

	// Who may have which names. Name constraints of the CA's own certificates hold whatever is written here, and so do the grants that keys for external account binding carry.
	Policy Policy `yaml:"policy"`

	// How relying parties find out what is revoked.
	Revocation Revocation `yaml:"revocation"`

	// How often things may happen.
	Limits Limits `yaml:"limits"`

	// How long things are kept.
	Retention Retention `yaml:"retention"`

	// Dir is the directory of the CA, which relative paths start from.
	Dir string `yaml:"-"`

	// Compiled are the Profiles, ready for use.
	Compiled map[string]*profile.Profile `yaml:"-"`

	// Rules are those of Policy, ready for use.
	Rules *policy.Rules `yaml:"-"`

	// Rates are those of Limits, ready for use.
	Rates limits.Config `yaml:"-"`

	// Warnings are what is not wrong, but can hardly be meant.
	Warnings []*Problem `yaml:"-"`

	options     LoadOptions
	sources     map[string]source // of what was set, by key; sections included
	derivedURL  bool              // ExternalURL follows from Names and Listen
	derivedHTTP bool              // HTTPURL follows from Names and HTTPListen
}

// Log says what is logged, and how.
type Log struct {
	// The least level that is logged: debug, info, warn or error. Lines of the audit trail have the level info.
	Level string `yaml:"level" default:"info" enum:"debug,info,warn,error"`

	// The form of the lines: text, json, or auto for text on a terminal and json elsewhere.
	Format string `yaml:"format" default:"text" enum:"text,json,auto" restart:"yes"`
}

// Store says where the state is.
type Store struct {
	// The database, relative to the directory of the CA.
	Path string `yaml:"path" default:"chancery.db" restart:"yes"`

	// Keep the state in PostgreSQL instead, as in postgres://chancery@db.corp/chancery?sslmode=verify-full. The password is not part of it.
	URL string `yaml:"url" restart:"yes"`

	// A file with the password for url. It is read again for each connection. PGPASSFILE and ~/.pgpass work, too.
	PasswordFile string `yaml:"password_file" restart:"yes"`

	// How many connections to url are open at a time, at most.
	Connections int `yaml:"connections" default:"16" min:"2" max:"1000" restart:"yes"`

	// Keep certificates in url in a table for each such span of time, as 30d, chosen before the first certificate. 0 is one table.
	Partition duration.Duration `yaml:"partition" default:"0s" max:"3650d" restart:"yes"`
}

// Node is what a process is among several that share a database.
type Node struct {
	// What it is called where people see it. Empty for the name of the host.
	Name string `yaml:"name" restart:"yes"`
}

// Validation says how control of names is proved, and which part of the
// network an attempt may reach.
type Validation struct {
	// The port that http-01 connects to. RFC 8555 says 80.
	HTTPPort int `yaml:"http_port" default:"80" min:"1" max:"65535"`

	// The port that tls-alpn-01 connects to. RFC 8737 says 443.
	TLSPort int `yaml:"tls_port" default:"443" min:"1" max:"65535"`

	// DNS resolvers, HOST or HOST:PORT. Empty for those of the system.
	Resolvers []string `yaml:"resolvers" is:"resolver"`

	// DNS resolvers for names in a zone, as in "corp.example: [10.0.0.53]".
	ZoneResolvers map[string][]string `yaml:"zone_resolvers" is:"resolver"`

	// Addresses and networks that may be reached although they are denied, as in [127.0.0.0/8, "::1"].
	Allow []netip.Prefix `yaml:"allow"`

	// Addresses and networks that are never reached, besides loopback, link-local, multicast and the metadata services of clouds.
	Deny []netip.Prefix `yaml:"deny"`

	// When set, no other addresses and networks are reached.
	Only []netip.Prefix `yaml:"only"`

	// How long one attempt may take, over all addresses of a name.
	Timeout duration.Duration `yaml:"timeout" default:"5s" min:"100ms" max:"5m"`

	// How many attempts there are before a challenge has failed.
	Attempts int `yaml:"attempts" default:"3" min:"1" max:"100"`

	// How long to wait between them.
	RetryInterval duration.Duration `yaml:"retry_interval" default:"5s" min:"1ms" max:"1h"`

	// How long a request waits for the outcome before it is answered with "processing".
	Wait duration.Duration `yaml:"wait" default:"2s" max:"1m"`

	// Whether CAA records (RFC 8659) must allow this CA to issue: on or off.
	CAA string `yaml:"caa" default:"off" enum:"off,on"`

	// The domain names that stand for this CA in CAA records.
	CAAIdentities []string `yaml:"caa_identities" is:"domain"`

	// How many attempts run at the same time; more wait.
	MaxConcurrent int `yaml:"max_concurrent" default:"256" min:"1" max:"100000" restart:"yes"`
}

// ACME is how the ACME server behaves.
type ACME struct {
	// Whether accounts need an external account binding; "chancery eab create" makes them.
	EABRequired bool `yaml:"eab_required" default:"false"`

	// The URL of terms of service that clients must agree to.
	TermsOfService string `yaml:"terms_of_service" is:"url" optional:"yes"`

	// The URL of a page about this CA.
	Website string `yaml:"website" is:"url" optional:"yes"`

	// How long an order can be completed.
	OrderLifetime duration.Duration `yaml:"order_lifetime" default:"24h" min:"1m" max:"365d"`

	// How long a proof of control can be used again by the same account.
	AuthorizationLifetime duration.Duration `yaml:"authorization_lifetime" default:"8h" min:"1m" max:"398d"`

	// How many names one order can have.
	MaxIdentifiers int `yaml:"max_identifiers" default:"100" min:"1" max:"10000"`

	// How long a finalize request waits for the certificate before it is answered with "processing".
	FinalizeWait duration.Duration `yaml:"finalize_wait" default:"5s" max:"1m"`

	// How often clients are told to ask when to renew (RFC 9773). After an incident they learn of it that late.
	RenewalPoll duration.Duration `yaml:"renewal_poll" default:"6h" min:"1s" max:"1d"`

	// The challenges offered: http-01, dns-01, tls-alpn-01 and dns-account-01.
	Challenges []string `yaml:"challenges" default:"http-01,dns-01,tls-alpn-01,dns-account-01" enum:"http-01,dns-01,tls-alpn-01,dns-account-01"`

	// The domain names that stand for this CA in dns-persist-01 records. That challenge is offered when there are any.
	DNSPersistIssuers []string `yaml:"dns_persist_issuers" is:"domain"`

	// Whether a name that is proven by DNS can count for the names below it, if the client asks for that (RFC 9444).
	SubdomainAuth bool `yaml:"subdomain_auth" default:"false"`

	// Faults made on purpose, to test clients.
	Fault Fault `yaml:"fault"`
}

// Admin says who may use the administrative API over HTTPS, besides those who
// have a token.
type Admin struct {
	// As in [{name: ops.corp, role: operator}]: the names whose certificates, of this CA, have a role.
	Clients []AdminClient `yaml:"clients"`
}

// AdminClient is a name with a role.
type AdminClient struct {
	// A DNS name, an address, or as in email:a@corp.example and uri:spiffe://corp.example/ops.
	Name string `yaml:"name" json:"name,omitempty" is:"name"`

	// What the holder may do: viewer (see), operator (also revoke, handle incidents, accounts and keys for external account binding) or admin (all).
	Role string `yaml:"role" json:"role,omitempty" enum:"viewer,operator,admin"`
}

// Fault is what the server does wrong on purpose.
type Fault struct {
	// The share of good nonces that is refused, from 0 to 1.
	NonceReject float64 `yaml:"nonce_reject" default:"0" min:"0" max:"1"`
}

// SPIFFE is what workloads with SPIFFE IDs need.
type SPIFFE struct {
	// The trust domain of this CA, as in corp.example. When it is set there is a profile "svid", and the trust bundle is served at /spiffe/bundle.
	TrustDomain string `yaml:"trust_domain"`

	// How often those who use the bundle should look for a new one.
	RefreshHint duration.Duration `yaml:"refresh_hint" default:"1h" min:"1m" max:"7d"`
}

// Issuer is a key that signs, and its certificates. Paths are relative to the
// directory of the CA.
type Issuer struct {
	// The issuing certificate, and those between it and the root, PEM. Empty for intermediate.pem in the issuer "default", and for what "chancery issuer rotate" makes in others.
	Certificate string `yaml:"certificate" json:"certificate,omitempty"`

	// Its key: a file, or the URI of a key that a helper program holds, as in "pkcs11:token=ca;object=issuing?pin-source=ca.pin". Empty for intermediate.key in the issuer "default".
	Key string `yaml:"key" json:"key,omitempty"`

	// The program that holds the keys with a URI. Empty for chancery-key-SCHEME beside this program or in the PATH.
	Helper string `yaml:"helper" json:"helper,omitempty"`

	// The root that the chain ends in, PEM. Empty for root.pem.
	Root string `yaml:"root" json:"root,omitempty"`

	// Files with other chains of the same key, each of them a cross-signed certificate and those above it. ACME clients find them as alternates.
	Alternates []string `yaml:"alternates" json:"alternates,omitempty"`
}

// Policy says who may have which names.
type Policy struct {
	// What becomes of names that no rule speaks of: allow or deny.
	Default string `yaml:"default" default:"allow" enum:"allow,deny"`

	// Whether DNS names of a single label, as in "intranet", can be had.
	AllowSingleLabel bool `yaml:"allow_single_label" default:"true"`

	// Whether DNS names with underscores can be had.
	AllowUnderscores bool `yaml:"allow_underscores" default:"false"`

	// Rules, as in [{name: lab, grants: [team-a], deny: ["**.lab.corp"]}]. What any rule denies is denied; of those that allow, the first is named.
	Rules []Rule `yaml:"rules"`
}

// Rule is one rule of the policy.
type Rule struct {
	// What the rule is called in answers and in the audit log.
	Name string `yaml:"name" json:"name,omitempty"`

	// The doors it is about: acme, token. Empty for all.
	Doors []string `yaml:"doors" json:"doors,omitempty"`

	// The provisioners it is about, which are at the door token. Empty for all requesters.
	Provisioners []string `yaml:"provisioners" json:"provisioners,omitempty"`

	// The grants it is about, by the names or identifiers of their keys. Empty for all requesters.
	Grants []string `yaml:"grants" json:"grants,omitempty"`

	// The ACME accounts it is about. Empty for all requesters.
	Accounts []string `yaml:"accounts" json:"accounts,omitempty"`

	// The profiles it is about. Empty for all.
	Profiles []string `yaml:"profiles" json:"profiles,omitempty"`

	// The names it allows: a.corp, *.corp (one label, *.corp itself included), **.corp (any depth), 10.0.0.0/8, email:@corp, uri:spiffe://corp/, ssh:deploy.
	Allow []string `yaml:"allow" json:"allow,omitempty"`

	// The names it denies, written in the same way.
	Deny []string `yaml:"deny" json:"deny,omitempty"`

	// The only keys that what it allows can have, as in profiles; without allow, all that it is about.
	KeyTypes []string `yaml:"key_types" json:"key_types,omitempty" enum:"P-256,P-384,P-521,Ed25519,RSA,RSA-2048,RSA-3072,RSA-4096,RSA-8192"`

	// How long the same can be good for, at most.
	MaxValidity duration.Duration `yaml:"max_validity" json:"max_validity,omitzero"`

	// When the rule is in force, as in ["mon-fri 08:00-18:00 Europe/Berlin"]; in UTC without a zone. Empty for always.
	Times []string `yaml:"times" json:"times,omitempty"`
}

// Revocation is how relying parties find out what is revoked.
type Revocation struct {
	// How long a revocation list is good. It is replaced when something is revoked, and when half of this time is over.
	ListLifetime duration.Duration `yaml:"list_lifetime" default:"24h" min:"10m" max:"365d"`

	// How many certificates share a revocation list. Each names the list that it would be in.
	ListSize int `yaml:"list_size" default:"10000" min:"1" max:"10000000"`

	// Whether there is also a list of all that an issuer has revoked, for those who want just one file: on or off.
	FullList string `yaml:"full_list" default:"on" enum:"on,off"`

	// How long an OCSP answer is good.
	OCSPLifetime duration.Duration `yaml:"ocsp_lifetime" default:"1h" min:"1m" max:"7d"`
}

// Limits says how often things may happen: COUNT/SPAN, as in 300/3h, or off.
// An empty one is as the preset has it.
type Limits struct {
	// The limits that are not set here: off for none, letsencrypt for those that Let's Encrypt publishes.
	Preset string `yaml:"preset" default:"off" enum:"off,letsencrypt"`

	// New accounts from one address.
	NewAccounts string `yaml:"new_accounts" is:"rate" optional:"yes"`

	// New accounts from one IPv6 network of 48 bits.
	NewAccountsPerNetwork string `yaml:"new_accounts_per_network" is:"rate" optional:"yes"`

	// New orders of one account. Renewals that say which certificate they replace (RFC 9773) are not counted, here and below.
	NewOrders string `yaml:"new_orders" is:"rate" optional:"yes"`

	// Failed validations of one name by one account.
	FailedValidations string `yaml:"failed_validations" is:"rate" optional:"yes"`

	// Certificates with names below one registered domain, which for private names is that of two labels, or of one address.
	CertificatesPerDomain string `yaml:"certificates_per_domain" is:"rate" optional:"yes"`

	// Certificates of exactly the same names.
	CertificatesPerSet string `yaml:"certificates_per_set" is:"rate" optional:"yes"`
}

// Retention says how long things are kept. 0 is for ever.
type Retention struct {
	// Orders, after they have expired. 0 keeps them for ever.
	Orders duration.Duration `yaml:"orders" default:"30d"`

	// Authorizations, after they have expired. 0 keeps them for ever.
	Authorizations duration.Duration `yaml:"authorizations" default:"30d"`

	// Certificates, after they have expired. 0 keeps them for ever.
	Certificates duration.Duration `yaml:"certificates" default:"0s"`
}
