package client

import (
	"context"
	"crypto/x509"
	"net/http"
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
	Name            string   `json:"name"`
	Description     string   `json:"description,omitempty"`
	Types           []string `json:"types,omitempty"`            // of the names that it takes: "dns", "ip", "email", "uri"
	Validity        string   `json:"validity,omitempty"`         // as in "90d"
	LongestValidity string   `json:"longest_validity,omitempty"` // when more is asked for
	Restricted      bool     `json:"restricted,omitempty"`       // only for provisioners that name it
	Default         bool     `json:"default,omitempty"`
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
	Name     string   `json:"name"`
	Type     string   `json:"type"`                // "jwk", "oidc", "x5c", "kubernetes", "aws", "gcp" or "azure"
	Profiles []string `json:"profiles,omitempty"`  // those that its tokens can have; none for all that are not restricted
	Issuer   string   `json:"issuer,omitempty"`    // who makes the tokens; of oidc: where users log in
	ClientID string   `json:"client_id,omitempty"` // of oidc: what to log in as
	Scopes   []string `json:"scopes,omitempty"`    // of oidc: what to ask for besides openid; none for email and profile
	Audience []string `json:"audience,omitempty"`  // whom tokens must be made out for, when not this CA
}

// Provisioners lists the provisioners.
func (c *Client) Provisioners(ctx context.Context) ([]Provisioner, error) {
	var answer struct {
		Provisioners []Provisioner `json:"provisioners"`
	}
	_, err := c.do(ctx, call{op: "list the provisioners", method: http.MethodGet, path: "/api/v1/provisioners"}, &answer)
	return answer.Provisioners, err
}
