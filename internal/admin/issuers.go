package admin

import (
	"cmp"
	"context"
	"crypto/x509"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/keys"
)

// Generation is an issuing certificate of a configured issuer.
type Generation struct {
	Name   string // of the issuer
	Number int    // from 1
	Signs  bool   // it is the newest
	ID     string
}

// Issuer is an issuing certificate that this CA has, or had.
type Issuer struct {
	Name       string     `json:"name"` // "" for one that is not configured any more
	Generation int        `json:"generation,omitempty"`
	Signs      bool       `json:"signs"` // it is the one that signs
	ID         string     `json:"id"`
	Subject    string     `json:"subject"`
	KeyType    string     `json:"key_type"`
	NotAfter   time.Time  `json:"not_after"`
	Unexpired  int        `json:"unexpired"`           // certificates, revoked ones included
	LastEnds   *time.Time `json:"last_ends,omitempty"` // when the last of them expires
}

func (a *api) listIssuers(r *http.Request) (any, error) {
	issuers, err := a.Store.Issuers(r.Context())
	if err != nil {
		return nil, failure.Wrap("list issuers", err)
	}
	list := page[Issuer]{Items: make([]Issuer, 0, len(issuers))}
	generations := a.Generations()
	for _, known := range issuers {
		certificate, err := x509.ParseCertificate(known.Chain[0])
		if err != nil {
			return nil, failure.Wrap("read stored issuer", err)
		}
		count, last, err := a.Store.Unexpired(r.Context(), known.ID, a.Now())
		if err != nil {
			return nil, failure.Wrap("count certificates", err)
		}
		view := Issuer{
			ID: known.ID, Subject: certificate.Subject.CommonName, KeyType: keys.TypeOf(certificate.PublicKey),
			NotAfter: certificate.NotAfter.UTC(), Unexpired: count, LastEnds: optional(last),
		}
		if i := slices.IndexFunc(generations, func(g Generation) bool { return g.ID == known.ID }); i >= 0 {
			view.Name, view.Generation, view.Signs = generations[i].Name, generations[i].Number, generations[i].Signs
		}
		list.Items = append(list.Items, view)
	}
	slices.SortStableFunc(list.Items, byGeneration)
	return list, nil
}

// byGeneration has those that are not configured any more last.
func byGeneration(a, b Issuer) int {
	if (a.Name == "") != (b.Name == "") {
		return -strings.Compare(a.Name, b.Name)
	}
	return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Generation, b.Generation))
}

// Issuers lists every issuing certificate that has ever been in use.
func (c *Client) Issuers(ctx context.Context) iter.Seq2[Issuer, error] {
	return pages[Issuer](ctx, c, "/issuers", url.Values{}, 0)
}
