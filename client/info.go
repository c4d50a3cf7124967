package client

import (
	"context"
	"crypto/x509"
	"net/http"
	"time"
)

// FetchRoots returns the roots that relying parties are to trust.
func (c *Client) FetchRoots(ctx context.Context) ([]*x509.Certificate, error) {
	const op = "read the roots"
	var answer struct {
		Roots []struct {
			Certificate string `json:"certificate"`
		} `json:"roots"`
	}
	if _, err := c.do(ctx, call{op: op, method: http.MethodGet, path: "/api/v1/roots"}, &answer); err != nil {
		return nil, err
	}
	var text []byte
	for _, root := range answer.Roots {
		text = append(text, root.Certificate+"\n"...)
	}
	roots, err := ParseCertificates(text)
	if err != nil {
		return nil, &Error{op, err}
	}
	return roots, nil
}

// Profile is a kind of certificate that the server issues.
type Profile struct {
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Lifetime    time.Duration `json:"-"` // 0 when the server does not say
}

// Profiles lists the profiles that tokens can have.
func (c *Client) Profiles(ctx context.Context) ([]Profile, error) {
	var answer struct {
		Profiles []Profile `json:"profiles"`
	}
	_, err := c.do(ctx, call{op: "list the profiles", method: http.MethodGet, path: "/api/v1/profiles"}, &answer)
	return answer.Profiles, err
}

// Provisioner is a way to prove who asks.
type Provisioner struct {
	Name     string `json:"name"`
	Type     string `json:"type"`                // "jwk", "oidc", "x5c", "kubernetes", "aws", "gcp" or "azure"
	Issuer   string `json:"issuer,omitempty"`    // of oidc: the provider's URL
	ClientID string `json:"client_id,omitempty"` // of oidc: what to log in as
}

// Provisioners lists the provisioners.
func (c *Client) Provisioners(ctx context.Context) ([]Provisioner, error) {
	var answer struct {
		Provisioners []Provisioner `json:"provisioners"`
	}
	_, err := c.do(ctx, call{op: "list the provisioners", method: http.MethodGet, path: "/api/v1/provisioners"}, &answer)
	return answer.Provisioners, err
}
