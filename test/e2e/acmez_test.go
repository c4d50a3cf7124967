package e2e

import (
	"context"
	"crypto"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
)

// acmezClient is a program that imports acmez.
type acmezClient struct {
	*site
	client  acmez.Client
	account acme.Account
}

func newAcmez(t *testing.T, s *site, eab *eab) session { return connectAcmez(t, s, eab) }

func connectAcmez(t *testing.T, s *site, eab *eab) *acmezClient {
	t.Helper()
	c, err := tryAcmez(t, s, eab)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tryAcmez is connectAcmez for an account that may be refused.
func tryAcmez(t *testing.T, s *site, eab *eab) (*acmezClient, error) {
	t.Helper()
	c := &acmezClient{site: s}
	c.client.Client = &acme.Client{Directory: s.directory, HTTPClient: s.trusting(t)}
	account := acme.Account{Contact: []string{"mailto:" + contact}, TermsOfServiceAgreed: true, PrivateKey: newKey(t)}
	if eab != nil {
		binding := acme.EAB{KeyID: eab.KID, MACKey: eab.HMAC}
		if err := account.SetExternalAccountBinding(t.Context(), c.client.Client, binding); err != nil {
			return nil, err
		}
	}
	var err error
	c.account, err = c.client.NewAccount(t.Context(), account)
	return c, err
}

func (c *acmezClient) obtain(t *testing.T, o order) []byte {
	chain, err := c.request(t, o, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// request asks for a certificate of a profile that may replace another.
func (c *acmezClient) request(t *testing.T, o order, profile string, replaces *x509.Certificate) ([]byte, error) {
	t.Helper()
	return c.requestFor(t, newKey(t), o, profile, replaces)
}

// requestFor is request for a key.
func (c *acmezClient) requestFor(t *testing.T, key crypto.Signer, o order, profile string, replaces *x509.Certificate) ([]byte, error) {
	t.Helper()
	csr, err := acmez.NewCSR(key, o.names)
	if err != nil {
		t.Fatal(err)
	}
	parameters, err := acmez.OrderParametersFromCSR(c.account, csr)
	if err != nil {
		t.Fatal(err)
	}
	parameters.Profile, parameters.Replaces = profile, replaces
	c.client.ChallengeSolvers = map[string]acmez.Solver{o.how: acmezSolver{c}}
	chains, err := c.client.ObtainCertificate(t.Context(), parameters)
	if err != nil {
		return nil, err
	}
	return chains[0].ChainPEM, nil
}

// renew asks when, and names the certificate that the new one replaces
// (RFC 9773).
func (c *acmezClient) renew(t *testing.T, o order, old []byte) []byte {
	leaf := leafOf(t, old)
	info, err := c.client.GetRenewalInfo(t.Context(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	if window := info.SuggestedWindow; window.Start.Before(time.Now()) || !window.End.Before(leaf.NotAfter) {
		t.Errorf("unexpected renewal window %v for a certificate until %v", window, leaf.NotAfter)
	}
	chain, err := c.request(t, o, "", leaf)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func (c *acmezClient) revoke(t *testing.T, _ order, chain []byte) {
	if err := c.client.RevokeCertificate(t.Context(), c.account, leafOf(t, chain), nil, acme.ReasonSuperseded); err != nil {
		t.Fatal(err)
	}
}

// acmezSolver puts acmez's answers where the site serves them.
type acmezSolver struct{ *acmezClient }

func (s acmezSolver) Present(_ context.Context, challenge acme.Challenge) error {
	switch challenge.Type {
	case acme.ChallengeTypeHTTP01:
		return s.presentHTTP(challenge.Token, challenge.KeyAuthorization)
	case acme.ChallengeTypeDNS01:
		return s.presentTXT(challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
	case acme.ChallengeTypeDNSAccount01:
		return s.presentTXT(challenge.DNSAccount01TXTRecordName(s.account), challenge.DNS01KeyAuthorization())
	case acme.ChallengeTypeDNSPersist01:
		value := challenge.DNSPersist01TXTRecordValue(s.account, challenge.IssuerDomainNames[0], true)
		return s.presentTXT(challenge.DNSPersist01TXTRecordName(), value)
	}
	certificate, err := acmez.TLSALPN01ChallengeCert(challenge)
	if err != nil {
		return err
	}
	serverName := challenge.Identifier.Value
	if challenge.Identifier.Type == "ip" { // RFC 8738 §6
		reverse, err := dns.ReverseAddr(serverName)
		if err != nil {
			return err
		}
		serverName = reverse[:len(reverse)-1]
	}
	s.alpn.present(serverName, certificate)
	return nil
}

func (s acmezSolver) CleanUp(context.Context, acme.Challenge) error { return nil }

// TestProfiles asks for profiles by name (draft-ietf-acme-profiles) and through
// their own directories, for clients that can't name one.
func TestProfiles(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := connectAcmez(t, s, nil)
	directory, err := c.client.GetDirectory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		profile string
		life    time.Duration
		usages  []x509.ExtKeyUsage
	}{
		{"tls-server", 90 * day, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		{"tls-client", 90 * day, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		{"tls-mutual", 90 * day, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}},
		{"shortlived", 6 * day, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
	} {
		t.Run(test.profile, func(t *testing.T) {
			if _, ok := directory.Meta.Profiles[test.profile]; !ok {
				t.Errorf("the directory doesn't list it: %v", directory.Meta.Profiles)
			}
			o := order{"http-01", []string{test.profile + "." + zoneName}}
			named, err := c.request(t, o, test.profile, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkProfile(t, named, test.life, test.usages)

			other := *s
			other.directory = "https://" + s.ca + ":" + httpsPort + "/acme/p/" + test.profile + "/directory"
			unnamed := connectAcmez(t, &other, nil).obtain(t, o)
			checkProfile(t, unnamed, test.life, test.usages)
		})
	}
	if _, err := c.request(t, order{"http-01", []string{"none." + zoneName}}, "no-such", nil); err == nil {
		t.Error("a certificate of an unknown profile was issued")
	}
}

const day = 24 * time.Hour

func checkProfile(t *testing.T, chain []byte, life time.Duration, usages []x509.ExtKeyUsage) {
	t.Helper()
	leaf := leafOf(t, chain)
	checkValidity(t, leaf.Raw, life)
	if len(leaf.ExtKeyUsage) != len(usages) {
		t.Fatalf("usages %v, expected %v", leaf.ExtKeyUsage, usages)
	}
	for _, usage := range usages {
		if !slices.Contains(leaf.ExtKeyUsage, usage) {
			t.Errorf("usages %v, expected %v", leaf.ExtKeyUsage, usages)
		}
	}
}
