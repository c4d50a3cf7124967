package acme

import (
	"context"
	"net/http"

	"chancery/internal/failure"
)

// directoryBody is the directory (RFC 8555 §7.1.1, RFC 9773 §3).
type directoryBody struct {
	NewNonce    string        `json:"newNonce"`
	NewAccount  string        `json:"newAccount"`
	NewOrder    string        `json:"newOrder"`
	NewAuthz    string        `json:"newAuthz"`
	RevokeCert  string        `json:"revokeCert"`
	KeyChange   string        `json:"keyChange"`
	RenewalInfo string        `json:"renewalInfo"`
	Meta        directoryMeta `json:"meta"` // always there: some clients need it
}

type directoryMeta struct {
	TermsOfService          string            `json:"termsOfService,omitempty"`
	Website                 string            `json:"website,omitempty"`
	CAAIdentities           []string          `json:"caaIdentities,omitempty"`
	ExternalAccountRequired bool              `json:"externalAccountRequired,omitempty"`
	SubdomainAuthAllowed    bool              `json:"subdomainAuthAllowed,omitempty"` // RFC 9444
	Profiles                map[string]string `json:"profiles"`
	IssuerDomainNames       []string          `json:"issuerDomainNames,omitempty"` // dns-persist-01, draft -02
	AccountHashPrefix       string            `json:"accountHashPrefix,omitempty"`
}

func (d *Door) directory(_ context.Context, r *request) (*response, error) {
	newOrder := r.url("new-order")
	if name := r.PathValue("profile"); name != "" {
		if _, err := d.deps.Authority.Profile(name); err != nil {
			return nil, notFound("%s", failure.ReportOf(err).Text)
		}
		newOrder = r.url("p", name, "new-order")
	}
	meta := directoryMeta{
		TermsOfService:          r.TermsOfService,
		Website:                 r.Website,
		CAAIdentities:           r.CAAIdentities,
		ExternalAccountRequired: r.EABRequired,
		SubdomainAuthAllowed:    r.SubdomainAuth,
		Profiles:                map[string]string{},
		IssuerDomainNames:       r.PersistIssuers,
	}
	if len(r.PersistIssuers) > 0 {
		meta.AccountHashPrefix = r.accountHashPrefix()
	}
	for name := range d.deps.Authority.Profiles() {
		meta.Profiles[name] = r.url("profile", name)
	}
	return answer(directoryBody{
		NewNonce:    r.url("new-nonce"),
		NewAccount:  r.url("new-account"),
		NewOrder:    newOrder,
		NewAuthz:    r.url("new-authz"),
		RevokeCert:  r.url("revoke-cert"),
		KeyChange:   r.url("key-change"),
		RenewalInfo: r.url("renewal-info"),
		Meta:        meta,
	}), nil
}

// newNonce serves RFC 8555 §7.2. The nonce itself is added to every answer to
// a POST; here it is all there is.
func (d *Door) newNonce(_ context.Context, r *request) (*response, error) {
	resp := &response{header: http.Header{}}
	if r.Method == http.MethodGet {
		resp.status = http.StatusNoContent
	}
	if r.Method != http.MethodPost {
		d.addNonce(resp.header)
	}
	return resp, nil
}

// describeProfile is what the URLs in meta.profiles lead to.
func (d *Door) describeProfile(_ context.Context, r *request) (*response, error) {
	found, err := d.deps.Authority.Profile(r.PathValue("profile"))
	if err != nil {
		return nil, notFound("%s", failure.ReportOf(err).Text)
	}
	return answer(found.Spec), nil
}

// AccountHashPrefix is what account hashes of dns-persist-01 records (draft
// -02) begin with, for a CA of that external URL.
func AccountHashPrefix(externalURL string) string { return externalURL + prefix + "account-hash/" }

func (r *request) accountHashPrefix() string { return AccountHashPrefix(r.ExternalURL) }
