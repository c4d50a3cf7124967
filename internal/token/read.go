package token

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/renewal"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// Roots are what relying parties trust.
type Roots struct {
	Roots []Root `json:"roots"`
}

// Root is a root certificate.
type Root struct {
	Certificate string    `json:"certificate" doc:"PEM."`
	SHA256      string    `json:"sha256" doc:"Of the DER, in hexadecimal."`
	NotAfter    time.Time `json:"not_after"`
}

func (d *Door) roots(_ http.ResponseWriter, r *http.Request) (any, error) {
	issuers, err := d.deps.Store.Issuers(r.Context())
	if err != nil {
		return nil, failure.Wrap("read issuers", err)
	}
	roots, seen, now := Roots{Roots: []Root{}}, map[[32]byte]bool{}, d.deps.Now()
	for i := range issuers {
		chain := issuers[i].Chain
		der := chain[len(chain)-1]
		sum := sha256.Sum256(der)
		root, err := x509.ParseCertificate(der)
		if err != nil || seen[sum] || now.After(root.NotAfter) {
			continue
		}
		seen[sum] = true
		roots.Roots = append(roots.Roots, Root{encodePEM(der), hex.EncodeToString(sum[:]), root.NotAfter.UTC()})
	}
	return roots, nil
}

// Profiles are the kinds of certificates.
type Profiles struct {
	Profiles []Profile `json:"profiles"`
}

// Profile is a kind of certificate.
type Profile struct {
	Name         string   `json:"name"`
	Description  string   `json:"description,omitempty"`
	Types        []string `json:"types" doc:"Of the names that it takes."`
	Validity     string   `json:"validity" doc:"How long its certificates are good for, as in 90d."`
	LongestValid string   `json:"longest_validity" doc:"How long at most, when that is asked for."`
	Restricted   bool     `json:"restricted,omitempty" doc:"Only for provisioners that name it."`
	Default      bool     `json:"default,omitempty" doc:"For requests that name none, of provisioners that name none."`
}

func (d *Door) profiles(http.ResponseWriter, *http.Request) (any, error) {
	all, list := d.deps.Authority.Profiles(), Profiles{Profiles: []Profile{}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		spec := &all[name].Spec
		if len(spec.Doors) > 0 && !slices.Contains(spec.Doors, Name) {
			continue
		}
		list.Profiles = append(list.Profiles, Profile{
			Name: name, Description: spec.Description, Types: spec.SAN.Types,
			Validity: spec.Validity.Default.String(), LongestValid: spec.Validity.Longest.String(),
			Restricted: spec.Restricted, Default: name == d.config.Load().DefaultProfile,
		})
	}
	return list, nil
}

// Provisioners are those who vouch for tokens.
type Provisioners struct {
	Provisioners []Provisioner `json:"provisioners"`
}

// Provisioner is one who vouches for tokens, as far as clients need to know.
type Provisioner struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Profiles []string `json:"profiles,omitempty" doc:"Those that its tokens can have; without, all that are not restricted."`
	Issuer   string   `json:"issuer,omitempty" doc:"Where users log in, or who makes the tokens."`
	ClientID string   `json:"client_id,omitempty" doc:"The client that users log in with."`
	Scopes   []string `json:"scopes,omitempty" doc:"What the client asks for besides openid; without, email and profile."`
	Audience []string `json:"audience,omitempty" doc:"Whom tokens must be made out for, when not this CA."`
}

func (d *Door) provisioners(http.ResponseWriter, *http.Request) (any, error) {
	list := Provisioners{Provisioners: []Provisioner{}}
	for _, p := range d.config.Load().Provisioners.All() {
		list.Provisioners = append(list.Provisioners, Provisioner{
			p.Name, p.Spec.Type, p.Spec.Profiles, p.Spec.Issuer, p.Spec.ClientID, p.Spec.Scopes, p.Spec.Audience,
		})
	}
	return list, nil
}

// Renewal is when a certificate should be renewed (RFC 9773 §4.2).
type Renewal struct {
	SuggestedWindow Window `json:"suggestedWindow"`
	ExplanationURL  string `json:"explanationURL,omitempty"`
}

// Window is a span of time, of which any moment is as good.
type Window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// askAgain is when clients should look again.
const askAgain = 6 * time.Hour

func (d *Door) renewal(w http.ResponseWriter, r *http.Request) (any, error) {
	found, err := d.byID(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	start, end, explanation := d.deps.Windows.Window(r.Context(), found, d.deps.Now())
	w.Header().Set("Retry-After", strconv.Itoa(int(askAgain/time.Second)))
	return Renewal{Window{start.UTC(), end.UTC()}, explanation}, nil
}

// byID is the certificate of a serial number or an identifier of RFC 9773.
func (d *Door) byID(ctx context.Context, id string) (*store.Certificate, error) {
	if !strings.Contains(id, ".") {
		number, err := serial.Parse(id)
		if err != nil {
			return nil, newProblem(malformed, err.Error())
		}
		return d.bySerial(ctx, number)
	}
	keyID, number, ok := renewal.ParseCertID(id)
	if !ok {
		return nil, newProblem(malformed, fmt.Sprintf("%.200q is neither a serial number nor a certificate identifier of RFC 9773", id))
	}
	found, err := d.deps.Store.Certificate(ctx, store.CertificateKey{IssuerID: store.IssuerID(keyID), Serial: number})
	if err == nil && found.Abandoned {
		err = store.ErrNotFound
	}
	return &found, failure.Wrap("read certificate", err)
}
