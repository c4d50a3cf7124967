package token

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"chancery/internal/ca"
	"chancery/internal/csr"
	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/profile"
	"chancery/internal/provisioner"
	"chancery/internal/store"
)

// SignRequest asks for a certificate by a token.
type SignRequest struct {
	Token       string    `json:"token" doc:"Proves who asks."`
	CSR         string    `json:"csr" doc:"The certificate signing request: PEM, or base64 of DER. It has all the names that the token stands for, or none."`
	Provisioner string    `json:"provisioner,omitempty" doc:"Who vouches for the token, where it does not say so itself."`
	Profile     string    `json:"profile,omitempty" doc:"The kind of certificate; else that of the token, or of its provisioner."`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
}

// Certificate is an issued certificate.
type Certificate struct {
	Certificate string    `json:"certificate" doc:"PEM."`
	Chain       string    `json:"chain" doc:"PEM: the issuing certificates, without the root."`
	Serial      string    `json:"serial" doc:"40 hexadecimal digits."`
	Issuer      string    `json:"issuer" doc:"The issuer's key identifier."`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Profile     string    `json:"profile"`
	Names       []string  `json:"names" doc:"Each with its type: dns:web.corp, ip:10.0.0.1, email:a@corp, uri:spiffe://corp/web."`
}

// sign serves a certificate for a token.
func (d *Door) sign(_ http.ResponseWriter, r *http.Request) (any, error) {
	ctx := r.Context()
	var wanted SignRequest
	if err := decode(r, &wanted); err != nil {
		return nil, err
	}
	config := d.config.Load()
	by, identity, err := d.verify(ctx, config, wanted.Provisioner, wanted.Token)
	if err != nil {
		return nil, err
	}
	request, err := d.parseCSR(wanted.CSR)
	if err != nil {
		return nil, err
	}
	if err := checkNames(request, identity.Names, "the token stands for"); err != nil {
		return nil, err
	}
	chosen, err := chooseProfile(wanted.Profile, identity.Profile, by, d.usual(by, config.DefaultProfile, identity.Names))
	if err != nil {
		return nil, err
	}
	order := ca.Request{
		Identifiers: identity.Names, Profile: chosen, OwnerExpires: identity.SpendUntil,
		Facts:  expr.Facts{Token: identity.Claims},
		Wishes: profile.Wishes{NotBefore: wanted.NotBefore, NotAfter: wanted.NotAfter},
	}
	if identity.Spend != "" {
		order.Owner = store.Owner{Kind: store.OwnerToken, ID: by.Name + ":" + identity.Spend}
	}
	return d.issue(ctx, order, by, identity.Subject, request, false)
}

// verify finds the provisioner of a token and asks it who brings it.
func (d *Door) verify(ctx context.Context, config *settings, name, token string) (*provisioner.Provisioner, provisioner.Identity, error) {
	by, err := config.Provisioners.Find(name, token)
	if err != nil {
		return nil, provisioner.Identity{}, err
	}
	d.deps.Annotate(ctx, "provisioner", by.Name)
	identity, err := by.Verify(ctx, token)
	if err != nil {
		return nil, identity, failure.Wrap("verify token", err)
	}
	d.deps.Annotate(ctx, "subject", identity.Subject)
	if len(identity.Names) == 0 {
		return nil, identity, newProblem(malformed, "the token stands for no name; it must claim some, or the provisioner give some")
	}
	return by, identity, nil
}

func (d *Door) parseCSR(text string) (*x509.CertificateRequest, error) {
	if text == "" {
		return nil, newProblem(malformed, `"csr" is missing`)
	}
	der, err := csr.Decode(text)
	if err != nil {
		return nil, err
	}
	return csr.Parse(der, d.deps.CheckKey)
}

// checkNames wants a CSR to have no names, or all that were proven: what is
// certified must be what the sender meant.
func checkNames(request *x509.CertificateRequest, proven []identifier.Identifier, says string) error {
	names, err := csr.Names(request, identifier.Types()...)
	if err != nil {
		return err
	}
	if len(names) > 0 && !slices.Equal(names, proven) {
		return newProblem(badCSR, fmt.Sprintf("the CSR has the names %v, and %s %v; they must be the same, or the CSR have none", names, says, proven))
	}
	return nil
}

// anyNames is the built-in profile for names of every type.
const anyNames = "tls-mutual"

// usual is the profile of requests that name none: the first of the
// provisioner's, or else the default one, unless that does not take such names
// and a later one does.
func (d *Door) usual(by *provisioner.Provisioner, byDefault string, names []identifier.Identifier) string {
	candidates := by.Spec.Profiles
	if len(candidates) == 0 {
		candidates = []string{byDefault, anyNames}
	}
	profiles := d.deps.Authority.Profiles()
	for _, name := range candidates {
		if shape := profiles[name]; shape != nil && shape.CheckNames(names) == nil {
			return name
		}
	}
	return candidates[0]
}

// chooseProfile is the profile that was asked for, or else the token's own, or
// the usual one.
func chooseProfile(asked, claimed string, by *provisioner.Provisioner, usual string) (string, error) {
	if asked != "" && claimed != "" && asked != claimed {
		return "", newProblem(invalidProfile, fmt.Sprintf("the token is for the profile %.60q, the request for %.60q", claimed, asked))
	}
	name := cmp.Or(asked, claimed, usual)
	if len(by.Spec.Profiles) > 0 && !slices.Contains(by.Spec.Profiles, name) {
		return "", newProblem(invalidProfile, fmt.Sprintf("the provisioner %s gives no certificates of the profile %.60q; there are %s", by.Name, name, strings.Join(by.Spec.Profiles, ", ")))
	}
	return name, nil
}

// issue walks the road. It goes on to its end when the client has gone away:
// the token may be spent by then.
func (d *Door) issue(ctx context.Context, order ca.Request, by *provisioner.Provisioner, subject string, request *x509.CertificateRequest, renewal bool) (*Certificate, error) {
	taken, err := d.deps.Limits.Certificate(ctx, order.Identifiers, renewal)
	if err != nil {
		return nil, err
	}
	order.Door, order.Provisioner, order.Subject = Name, by.Name, subject
	order.PublicKey, order.CSR = request.RawSubjectPublicKeyInfo, request.Raw
	order.Wishes.CommonName = strings.ToLower(request.Subject.CommonName)
	order.Wishes.Asked = d.deps.Now()
	order.Facts.Grant = &expr.Grant{Name: by.Name, Labels: by.Spec.Labels, Profiles: by.Spec.Profiles}
	issued, err := d.deps.Authority.Issue(context.WithoutCancel(ctx), order)
	if err != nil {
		taken.Refund(ctx)
		return nil, failure.Wrap("issue certificate", err)
	}
	d.deps.Annotate(ctx, "serial", issued.Serial.String())
	return d.show(ctx, &issued)
}

// show is a certificate as clients get it.
func (d *Door) show(ctx context.Context, issued *store.Certificate) (*Certificate, error) {
	chain, err := d.issuerOf(ctx, issued.IssuerID)
	if err != nil {
		return nil, failure.Wrap("read issuer", err)
	}
	names := make([]string, len(issued.Identifiers))
	for i, name := range issued.Identifiers {
		names[i] = name.String()
	}
	return &Certificate{
		Certificate: encodePEM(issued.DER), Chain: encodePEM(chain[:max(1, len(chain)-1)]...),
		Serial: issued.Serial.String(), Issuer: issued.IssuerID,
		NotBefore: issued.NotBefore.UTC(), NotAfter: issued.NotAfter.UTC(),
		Profile: issued.Profile, Names: names,
	}, nil
}

func encodePEM(certificates ...[]byte) string {
	var text strings.Builder
	for _, der := range certificates {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return text.String()
}
