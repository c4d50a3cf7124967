package transfer

import (
	"strings"

	"chancery/internal/store"
	"chancery/internal/store/form"
)

// Type is the type of a column. The values of a Row are string, int64, bool and
// []byte.
type Type byte

// The types of columns.
const (
	Text   Type = 't'
	Number Type = 'n' // times are milliseconds since 1970, 0 for none
	Truth  Type = 'b'
	Octets Type = 'o'
)

// Column is one value of each record of a kind.
type Column struct {
	Name string
	Type Type
}

// Kind is a kind of record: a table, as engines have it.
type Kind struct {
	Name    string
	Key     int // so many of the columns, the first, are its key
	Page    int // how many are moved at once
	Columns []Column
}

// Kinds are all kinds of records, those before that others refer to.
func Kinds() []*Kind {
	return []*Kind{
		administrative("provisioners", "name t", "type t", "created n", "spec t"),
		administrative("admin_tokens", "id t", "name t", "role t", "hash o", "created n", "expires n", "revoked n"),
		administrative("incidents", "id t", "query t", "explanation t", "opened n", "renew_by n", "closed n"),
		administrative("bindings", "id t", "name t", "secret o", "single_use b", "created n", "expires n", "revoked n",
			"used_by t", "used n", "uses n", "granted t"),
		administrative("issuers", "id t", "subject_key_id o", "chain t", "alternates t"),
		kind("accounts", 1, 500, "id t", "thumbprint t", "status t", "created n", "terms_agreed n", "binding_id t",
			"contact t", "jwk o", "binding_request t"),
		kind("authorizations", 1, 500, "id t", "account_id t", "order_id t", "type t", "value t", "wildcard b", "token t",
			"methods t", "state t", "created n", "expires n", "method t", "thumbprint t", "settled n", "next_attempt n",
			"claimed_till n", "grant_id t", "subdomains b", "failure t", "attempts t"),
		kind("authorization_reuses", 2, 1000, "authorization_id t", "order_id t"),
		// authorization_ids has a space between them.
		kind("orders", 1, 500, "id t", "account_id t", "profile t", "not_before n", "not_after n", "replaces_issuer t",
			"replaces_serial o", "created n", "expires n", "finalized n", "certificate_issuer t", "certificate_serial o",
			"identifiers t", "authorization_ids t", "failure t"),
		kind("spent_tokens", 1, 1000, "id t", "expires n"),
		kind("intents", 2, 100, "serial o", "issuer_id t", "owner_kind t", "owner_id t", "owner_expires n", "partition n",
			"attempt n", "created n", "deadline n", "tbs o", "request o"),
		// ended is whether the list in force is the last that is needed.
		kind("partitions", 2, 500, "issuer_id t", "number n", "created n", "changed n", "published n", "list_number n",
			"next_update n", "ended b"),
		kind("revocation_lists", 2, 1, "issuer_id t", "partition n", "number n", "this_update n", "next_update n", "der o"),
		kind("services", 1, 500, "number n", "id o", "records n", "certificates n", "first n", "last n", "newest_serial o",
			"newest_issuer t", "valid_until n", "types t", "names t"),
		// service is the id of one, or empty.
		kind("certificates", 2, 500, "serial o", "issuer_id t", "owner_kind t", "owner_id t", "account_id t", "requester t",
			"profile t", "rule t", "fingerprint o", "not_before n", "not_after n", "issued n", "abandoned b", "revoked n",
			"reason n", "subject t", "key_hash o", "partition n", "replaces_issuer t", "replaces_serial o", "service o",
			"identifiers t", "der o"),
	}
}

// administrative is a kind of which there are as many as an operator makes.
func administrative(name string, columns ...string) *Kind { return kind(name, 1, 100, columns...) }

// kind makes one of columns like "name t".
func kind(name string, key, page int, columns ...string) *Kind {
	k := &Kind{Name: name, Key: key, Page: page}
	for _, c := range columns {
		end := len(c) - 1
		k.Columns = append(k.Columns, Column{Name: c[:end-1], Type: Type(c[end])})
	}
	return k
}

// Index is where a column is in a Row; -1 when the kind has none of that name.
func (k *Kind) Index(name string) int {
	for i := range k.Columns {
		if k.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// Label is what the records of the kind are called, for people.
func (k *Kind) Label() string { return strings.ReplaceAll(k.Name, "_", " ") }

// Text is the value of a column of a record, which must be text.
func (k *Kind) Text(r Row, column string) string { return r[k.Index(column)].(string) }

// Number is the value of a column of a record, which must be a number.
func (k *Kind) Number(r Row, column string) int64 { return r[k.Index(column)].(int64) }

// Certificate is what counts of a record of the kind certificates.
func (k *Kind) Certificate(r Row) store.Certificate {
	c := store.Certificate{
		CertificateKey: store.CertificateKey{IssuerID: k.Text(r, "issuer_id")}, Profile: k.Text(r, "profile"),
		NotAfter: form.Time(k.Number(r, "not_after")), Abandoned: r[k.Index("abandoned")].(bool),
	}
	if at := k.Number(r, "revoked"); at != 0 {
		c.Revocation = &store.Revocation{At: form.Time(at)}
	}
	return c
}
