package e2e

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// certmagicClient is a program that imports certmagic. It keeps one certificate
// for each name.
type certmagicClient struct {
	*site
	eab     *eab
	configs map[string]*certmagic.Config // by way of proving
}

func newCertmagic(_ *testing.T, s *site, eab *eab) session {
	return &certmagicClient{site: s, eab: eab, configs: map[string]*certmagic.Config{}}
}

func (c *certmagicClient) config(t *testing.T, how string) *certmagic.Config {
	t.Helper()
	if config, ok := c.configs[how]; ok {
		return config
	}
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		Logger:           zap.NewNop(),
	})
	t.Cleanup(cache.Stop)
	config = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: filepath.Join(c.work, "certmagic", how)},
		Logger:  zap.NewNop(),
	})
	config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(config, c.issuer(t, how))}
	c.configs[how] = config
	return config
}

func (c *certmagicClient) issuer(t *testing.T, how string) certmagic.ACMEIssuer {
	t.Helper()
	roots, err := c.roots()
	if err != nil {
		t.Fatal(err)
	}
	issuer := certmagic.ACMEIssuer{
		CA: c.directory, Email: contact, Agreed: true, TrustedRoots: roots, Logger: zap.NewNop(),
		ListenHost: c.own, AltHTTPPort: number(t, challengePort), AltTLSALPNPort: number(t, alpnPort),
		DisableHTTPChallenge: how != "standalone", DisableTLSALPNChallenge: how != "standalone-tls",
	}
	if how == "dns-01" {
		issuer.DNS01Solver = certmagicDNS{c.site}
	}
	if c.eab != nil {
		issuer.ExternalAccount = &acme.EAB{KeyID: c.eab.KID, MACKey: c.eab.HMAC}
	}
	return issuer
}

func (c *certmagicClient) obtain(t *testing.T, o order) []byte {
	config := c.config(t, o.how)
	if err := config.ObtainCertSync(t.Context(), o.names[0]); err != nil {
		t.Fatal(err)
	}
	return c.stored(t, config, o.names[0])
}

func (c *certmagicClient) stored(t *testing.T, config *certmagic.Config, name string) []byte {
	t.Helper()
	issuer := config.Issuers[0].IssuerKey()
	chain, err := config.Storage.Load(t.Context(), certmagic.StorageKeys.SiteCert(issuer, name))
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func (c *certmagicClient) renew(t *testing.T, o order, _ []byte) []byte {
	config := c.config(t, o.how)
	if err := config.RenewCertSync(t.Context(), o.names[0], true); err != nil {
		t.Fatal(err)
	}
	return c.stored(t, config, o.names[0])
}

func (c *certmagicClient) revoke(t *testing.T, o order, _ []byte) {
	err := c.config(t, o.how).RevokeCert(t.Context(), o.names[0], acme.ReasonSuperseded, false)
	if err != nil {
		t.Fatal(err)
	}
}

// certmagicDNS answers dns-01 with the site's name server.
type certmagicDNS struct{ *site }

var _ acmez.Solver = certmagicDNS{}

func (s certmagicDNS) Present(_ context.Context, challenge acme.Challenge) error {
	return s.presentTXT(challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
}

func (certmagicDNS) CleanUp(context.Context, acme.Challenge) error { return nil }

func number(t *testing.T, port string) int {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
