package admin

import (
	"context"
	"crypto/x509"
	"iter"
	"net/http"
	"net/url"
	"time"

	"chancery/internal/failure"
)

// Issuer is an issuing certificate that this CA has, or had.
type Issuer struct {
	ID        string     `json:"id"`
	Subject   string     `json:"subject"`
	NotAfter  time.Time  `json:"not_after"`
	Unexpired int        `json:"unexpired"`           // certificates, revoked ones included
	LastEnds  *time.Time `json:"last_ends,omitempty"` // when the last of them expires
}

func (a *api) listIssuers(r *http.Request) (any, error) {
	issuers, err := a.Store.Issuers(r.Context())
	if err != nil {
		return nil, failure.Wrap("list issuers", err)
	}
	list := page[Issuer]{Items: make([]Issuer, 0, len(issuers))}
	for _, known := range issuers {
		certificate, err := x509.ParseCertificate(known.Chain[0])
		if err != nil {
			return nil, failure.Wrap("read stored issuer", err)
		}
		count, last, err := a.Store.Unexpired(r.Context(), known.ID, a.Now())
		if err != nil {
			return nil, failure.Wrap("count certificates", err)
		}
		list.Items = append(list.Items, Issuer{
			ID: known.ID, Subject: certificate.Subject.CommonName, NotAfter: certificate.NotAfter.UTC(),
			Unexpired: count, LastEnds: optional(last),
		})
	}
	return list, nil
}

// Issuers lists every issuing certificate that has ever been in use.
func (c *Client) Issuers(ctx context.Context) iter.Seq2[Issuer, error] {
	return pages[Issuer](ctx, c, "/issuers", url.Values{}, 0)
}
