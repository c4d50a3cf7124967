package expr

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"cel.dev/cel-go/cel"

	"chancery/internal/identifier"
)

// Facts are what a door knows of a requester beside the identifiers and the
// CSR. They are stored with the intent, so that an issuance that goes on after
// a crash knows the same.
type Facts struct {
	Account     *Account `json:"account,omitempty"`
	Grant       *Grant   `json:"grant,omitempty"`
	Token       Claims   `json:"token,omitempty"`
	Attestation Claims   `json:"attestation,omitempty"`
}

// Account is who asks.
type Account struct {
	ID      string   `json:"id"`
	Contact []string `json:"contact,omitempty"` // URLs, as in mailto:ops@corp.example
}

// Grant is what the account was given.
type Grant struct {
	ID       string            `json:"id"`
	Name     string            `json:"name,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Profiles []string          `json:"profiles,omitempty"` // those that it names; expressions don't see them
}

// Claims are facts whose names the configuration can't know, as JSON has
// them: text, bool, nil, int64 for whole numbers, float64, []any and
// map[string]any. Other numbers are brought to these when they are read.
type Claims map[string]any

// UnmarshalJSON keeps whole numbers whole.
func (c *Claims) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil {
		return fmt.Errorf("couldn't read claims: %w", err)
	}
	*c, _ = normal(claims).(map[string]any)
	return nil
}

// normal brings numbers to int64 when they are whole and fit, and to float64
// otherwise, whichever decoder made them.
func normal(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		fraction, _ := value.Float64()
		return normal(fraction)
	case float64:
		const exact = 1 << 53
		if value == math.Trunc(value) && math.Abs(value) < exact {
			return int64(value)
		}
	case int:
		return int64(value)
	case []string:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = element
		}
		return list
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = normal(element)
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(value))
		for name, member := range value {
			members[name] = normal(member)
		}
		return members
	}
	return value
}

// Input is what expressions are evaluated over: one for each certificate,
// used by one goroutine.
type Input struct {
	Identifiers []identifier.Identifier
	Facts       Facts
	CSR         []byte // DER; nil when there is none
	Now         time.Time
	Profile     string

	values map[string]any // made when they are first read
}

// Parent is nil: there are no other variables.
func (in *Input) Parent() cel.Activation { return nil }

// ResolveName makes the value of a variable when it is first read.
func (in *Input) ResolveName(name string) (any, bool) {
	if value, ok := in.values[name]; ok {
		return value, value != nil
	}
	if in.values == nil {
		in.values = map[string]any{}
	}
	value := in.value(name)
	in.values[name] = value
	return value, value != nil
}

func (in *Input) value(name string) any {
	switch name {
	case "identifiers":
		list := make([]map[string]any, len(in.Identifiers))
		for i, id := range in.Identifiers {
			list[i] = map[string]any{"type": string(id.Type), "value": id.Value}
		}
		return list
	case "dns":
		return in.named(identifier.DNS)
	case "ips":
		return in.named(identifier.IP)
	case "emails":
		return in.named(identifier.Email)
	case "uris":
		return in.named(identifier.URI)
	case "account":
		return in.account()
	case "grant":
		return in.grant()
	case "token":
		return normal(map[string]any(in.Facts.Token))
	case "attestation":
		return normal(map[string]any(in.Facts.Attestation))
	case "csr":
		return csrRecord(in.CSR)
	case "now":
		return in.Now
	case "profile":
		return in.Profile
	}
	return nil
}

func (in *Input) named(typ identifier.Type) []string {
	values := []string{}
	for _, id := range in.Identifiers {
		if id.Type == typ {
			values = append(values, id.Value)
		}
	}
	return values
}

func (in *Input) account() map[string]any {
	record := map[string]any{"contact": []string{}}
	if account := in.Facts.Account; account != nil {
		put(record, "id", account.ID)
		record["contact"] = append([]string{}, account.Contact...)
	}
	return record
}

func (in *Input) grant() map[string]any {
	record := map[string]any{"labels": map[string]string{}}
	if grant := in.Facts.Grant; grant != nil {
		put(record, "id", grant.ID)
		put(record, "name", grant.Name)
		if grant.Labels != nil {
			record["labels"] = grant.Labels
		}
	}
	return record
}

// put leaves out what is empty, for it would read as if it were known.
func put(record map[string]any, field, value string) {
	if value != "" {
		record[field] = value
	}
}

// csrRecord reads a CSR. One that can't be read has no fields; the doors refuse
// it before.
func csrRecord(der []byte) map[string]any {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return map[string]any{}
	}
	subject := map[string]any{}
	put(subject, "common_name", csr.Subject.CommonName)
	put(subject, "serial_number", csr.Subject.SerialNumber)
	for field, values := range map[string][]string{
		"country": csr.Subject.Country, "province": csr.Subject.Province, "locality": csr.Subject.Locality,
		"organization": csr.Subject.Organization, "organizational_unit": csr.Subject.OrganizationalUnit,
		"street_address": csr.Subject.StreetAddress, "postal_code": csr.Subject.PostalCode,
	} {
		subject[field] = append([]string{}, values...)
	}
	extensions := map[string][]byte{}
	for _, extension := range csr.Extensions {
		extensions[extension.Id.String()] = extension.Value
	}
	ips, uris := []string{}, []string{}
	for _, ip := range csr.IPAddresses {
		ips = append(ips, ip.String())
	}
	for _, uri := range csr.URIs {
		uris = append(uris, uri.String())
	}
	return map[string]any{
		"subject": subject, "extensions": extensions, "ips": ips, "uris": uris,
		"dns_names": append([]string{}, csr.DNSNames...), "emails": append([]string{}, csr.EmailAddresses...),
	}
}
