package e2e

import (
	"context"
	"crypto"
	"testing"
	"time"

	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/challenge/tlsalpn01"
	legoclient "github.com/go-acme/lego/v5/lego"
	"github.com/go-acme/lego/v5/registration"
)

// legoLibrary is a program that imports lego.
type legoLibrary struct {
	*site
	client   *legoclient.Client
	obtained map[string]*certificate.Resource // by first name
}

func newLegoLibrary(t *testing.T, s *site, eab *eab) session {
	user := &legoUser{key: newKey(t)}
	config := legoclient.NewConfig(user)
	config.CADirURL = s.directory
	config.HTTPClient = s.trusting(t)
	client, err := legoclient.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	if eab == nil {
		user.account, err = client.Registration.Register(t.Context(), registration.RegisterOptions{TermsOfServiceAgreed: true})
	} else {
		user.account, err = client.Registration.RegisterWithExternalAccountBinding(t.Context(),
			registration.RegisterEABOptions{TermsOfServiceAgreed: true, Kid: eab.KID, HmacEncoded: eab.HMAC})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &legoLibrary{site: s, client: client, obtained: map[string]*certificate.Resource{}}
}

func (l *legoLibrary) solveBy(t *testing.T, how string) {
	t.Helper()
	l.client.Challenge.ResetSolvers()
	var err error
	switch solver := (legoSolver{l.site, how}); how {
	case "http-01":
		err = l.client.Challenge.SetHTTP01Provider(solver)
	case "tls-alpn-01":
		err = l.client.Challenge.SetTLSALPN01Provider(solver)
	case "dns-01":
		// The site's records are there at once, and lego would ask the system's
		// resolver for them.
		there := func(context.Context, string, string, string, dns01.PreCheckFunc) (bool, error) { return true, nil }
		err = l.client.Challenge.SetDNS01Provider(solver, dns01.WrapPreCheck(there))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (l *legoLibrary) obtain(t *testing.T, o order) []byte {
	l.solveBy(t, o.how)
	resource, err := l.client.Certificate.Obtain(t.Context(), certificate.ObtainRequest{
		Domains: o.names, KeyType: certcrypto.EC256, Bundle: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	l.obtained[o.names[0]] = resource
	return resource.Certificate
}

// renew also names the certificate that the new one replaces (RFC 9773 §5).
func (l *legoLibrary) renew(t *testing.T, o order, old []byte) []byte {
	info, err := l.client.Certificate.GetRenewalInfo(t.Context(), leafOf(t, old))
	if err != nil {
		t.Fatal(err)
	}
	if info.ShouldRenewAt(time.Now(), 0) != nil {
		t.Errorf("a new certificate is to be renewed at once: %+v", info.SuggestedWindow)
	}
	resource, err := l.client.Certificate.Renew(t.Context(), *l.obtained[o.names[0]],
		&certificate.RenewOptions{KeyType: certcrypto.EC256, Bundle: true, UseARICertID: true})
	if err != nil {
		t.Fatal(err)
	}
	return resource.Certificate
}

func (l *legoLibrary) revoke(t *testing.T, _ order, chain []byte) {
	if err := l.client.Certificate.Revoke(t.Context(), chain); err != nil {
		t.Fatal(err)
	}
}

type legoUser struct {
	key     crypto.Signer
	account *acme.ExtendedAccount
}

func (u *legoUser) GetEmail() string                       { return contact }
func (u *legoUser) GetRegistration() *acme.ExtendedAccount { return u.account }
func (u *legoUser) GetPrivateKey() crypto.Signer           { return u.key }

// legoSolver puts lego's answers where the site serves them.
type legoSolver struct {
	site *site
	how  string
}

func (p legoSolver) Present(ctx context.Context, domain, token, keyAuth string) error {
	switch p.how {
	case "http-01":
		return p.site.presentHTTP(token, keyAuth)
	case "dns-01":
		info := dns01.GetChallengeInfo(ctx, domain, keyAuth)
		return p.site.presentTXT(info.FQDN, info.Value)
	}
	certificate, err := tlsalpn01.ChallengeCert(domain, keyAuth)
	p.site.alpn.present(domain, certificate)
	return err
}

func (p legoSolver) CleanUp(context.Context, string, string, string) error { return nil }
