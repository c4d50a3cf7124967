package cli

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/config"
	"chancery/internal/expr"
	"chancery/internal/hierarchy"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/lint"
	"chancery/internal/profile"
	"chancery/internal/serial"
	"chancery/internal/x509der"
)

// trial is what profile try makes up of a request.
type trial struct {
	csr, claims, door, account, grant string
	names, labels                     []string
	pem                               bool
}

func newProfileTry(a *app) *cobra.Command {
	var t trial
	cmd := &cobra.Command{
		Use:   "try PROFILE",
		Short: "Show the certificate that would come out of a request",
		Long: `Show the certificate that would come out of a request.

Nothing is signed, stored or asked of a server. The names are those of --name, or
else of the CSR; policy and proofs of control are not looked at ("chancery policy
test" asks policy). Without a CSR a key is made up.`,
		Args: args(1, "PROFILE"),
		RunE: func(_ *cobra.Command, given []string) error {
			p, err := a.profile(given[0])
			if err != nil {
				return err
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			return a.tryProfile(c, p, t)
		},
	}
	a.addFileFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&t.csr, "csr", "", "file with the certificate signing request, PEM or DER")
	flags.StringVar(&t.claims, "claims", "", "file with the claims of a token, JSON")
	flags.StringSliceVar(&t.names, "name", nil, "a DNS name, an address, an email address or a URI")
	flags.StringVar(&t.door, "door", "acme", "the door at which it is asked for")
	flags.StringVar(&t.account, "account", "", "id of the account that asks")
	flags.StringVar(&t.grant, "grant", "", "name of its grant, which allows the profile (a label is enough)")
	flags.StringSliceVar(&t.labels, "label", nil, "a label of the grant, as in team=a")
	flags.BoolVar(&t.pem, "pem", false, "print the certificate in PEM, with zeros for its signature")
	return cmd
}

// tryProfile prints what would come out of t, or why nothing would.
func (a *app) tryProfile(c *config.Config, p *profile.Profile, t trial) error {
	in, err := t.input(p.Name, time.Now())
	if err != nil {
		return err
	}
	if in.Issuer, err = trialIssuer(c, p, in.Now); err != nil {
		return err
	}
	if err := keys.Check(in.PublicKey); err != nil {
		return err
	}
	tbs, err := p.ToBeSigned(in)
	if err != nil {
		return err
	}
	if err := lint.New().Check(tbs.DER, in.Issuer.Algorithm()); err != nil {
		return err
	}
	der := x509der.Assemble(tbs.DER, in.Issuer.Algorithm(), make([]byte, 64))
	if t.pem {
		return pem.Encode(a.Out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("couldn't read the certificate: %w", err)
	}
	return printFields(a.Out, trialFacts(cert, tbs.Names)...)
}

// input is the request that the flags describe.
func (t trial) input(profileName string, now time.Time) (profile.Input, error) {
	number, err := serial.New(now, rand.Reader)
	if err != nil {
		return profile.Input{}, err
	}
	in := profile.Input{Serial: number, Now: now, Door: t.door}
	csr, err := t.request()
	if err != nil {
		return in, err
	}
	in.CSR, in.PublicKey, in.SPKI = csr.Raw, csr.PublicKey, csr.RawSubjectPublicKeyInfo
	in.Wishes.CommonName = strings.ToLower(csr.Subject.CommonName)
	if in.Identifiers, err = t.identifiers(csr); err != nil {
		return in, err
	}
	in.Facts, err = t.facts(profileName)
	return in, err
}

// request reads the CSR, or makes one up.
func (t trial) request() (*x509.CertificateRequest, error) {
	var der []byte
	if t.csr == "" {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("couldn't make a key: %w", err)
		}
		if der, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key); err != nil {
			return nil, fmt.Errorf("couldn't make a CSR: %w", err)
		}
	} else {
		var err error
		if der, err = os.ReadFile(t.csr); err != nil {
			return nil, fmt.Errorf("couldn't read the CSR: %w", err)
		}
		if block, _ := pem.Decode(der); block != nil {
			der = block.Bytes
		}
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the CSR %s: %w", t.csr, err)
	}
	return csr, nil
}

func (t trial) identifiers(csr *x509.CertificateRequest) ([]identifier.Identifier, error) {
	var ids []identifier.Identifier
	add := func(typ identifier.Type, text string) error {
		id, err := identifier.Parse(typ, text)
		ids = append(ids, id)
		if err != nil {
			return fmt.Errorf("couldn't use the name %q: %w", text, err)
		}
		return nil
	}
	var errs []error
	for _, name := range t.names {
		errs = append(errs, add(guessType(name), name))
	}
	if t.names != nil {
		return ids, errors.Join(errs...)
	}
	for _, name := range csr.DNSNames {
		errs = append(errs, add(identifier.DNS, name))
	}
	for _, ip := range csr.IPAddresses {
		errs = append(errs, add(identifier.IP, ip.String()))
	}
	for _, email := range csr.EmailAddresses {
		errs = append(errs, add(identifier.Email, email))
	}
	for _, uri := range csr.URIs {
		errs = append(errs, add(identifier.URI, uri.String()))
	}
	return ids, errors.Join(errs...)
}

func guessType(name string) identifier.Type {
	if id, err := identifier.Guess(name); err == nil {
		return id.Type
	}
	if strings.Contains(name, "@") && !strings.Contains(name, "://") {
		return identifier.Email
	}
	if strings.Contains(name, ":") {
		return identifier.URI
	}
	return identifier.DNS
}

func (t trial) facts(profileName string) (facts expr.Facts, err error) {
	if t.account != "" {
		facts.Account = &expr.Account{ID: t.account}
	}
	if t.grant != "" || t.labels != nil {
		facts.Grant = &expr.Grant{ID: cmp.Or(t.grant, "trial"), Name: t.grant, Labels: map[string]string{}, Profiles: []string{profileName}}
	}
	for _, label := range t.labels {
		name, value, found := strings.Cut(label, "=")
		if !found {
			return facts, usagef("%q is no label; write NAME=VALUE", label)
		}
		facts.Grant.Labels[name] = value
	}
	if t.claims == "" {
		return facts, nil
	}
	text, err := os.ReadFile(t.claims)
	if err != nil {
		return facts, fmt.Errorf("couldn't read the claims: %w", err)
	}
	if err := json.Unmarshal(text, &facts.Token); err != nil {
		return facts, fmt.Errorf("couldn't read the claims %s: %w", t.claims, err)
	}
	return facts, nil
}

// trialIssuer is the issuer of the profile's certificates, or one made up when
// the CA is not there yet.
func trialIssuer(c *config.Config, p *profile.Profile, now time.Time) (*profile.Issuer, error) {
	generations, err := hierarchy.LoadIssuer(c.IssuerFiles(cmp.Or(p.Spec.Issuer, hierarchy.DefaultIssuer)))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, hierarchy.ErrWaiting) {
		return madeUpIssuer(now)
	}
	if err != nil {
		return nil, err
	}
	return profile.NewIssuer(generations[len(generations)-1].Issuer())
}

func madeUpIssuer(now time.Time) (*profile.Issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "No CA yet"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make up an issuer: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("couldn't make up an issuer: %w", err)
	}
	return profile.NewIssuer(cert)
}
