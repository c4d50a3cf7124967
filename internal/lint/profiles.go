package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"

	"chancery/internal/profile"
)

// Profile lints samples of what a profile makes under an issuer. A finding that
// is an error is one here; mere warnings are returned, each once.
func (l *Linter) Profile(p *profile.Profile, issuer *profile.Issuer, now time.Time) (warnings []string, err error) {
	samples, err := p.Samples(issuer, now)
	if err != nil {
		return nil, err
	}
	for _, sample := range samples {
		grave, mild, err := l.findings(l.all, sample.DER, issuer.Algorithm())
		if err != nil {
			return nil, fmt.Errorf("couldn't use the profile %s: %w", p.Name, err)
		}
		if err := broken(grave); err != nil {
			return nil, fmt.Errorf("couldn't use the profile %s, for its certificates would be refused: %w", p.Name, err)
		}
		warnings = append(warnings, mild...)
	}
	slices.Sort(warnings)
	return slices.Compact(warnings), nil
}

// keyUsageLint looks for key usages that don't go with the extended ones.
const keyUsageLint = "e_key_usage_and_extended_key_usage_inconsistent"

// inapplicable says which lints are not for certificates like cert.
func inapplicable(cert *x509.Certificate) func(*zlint.CertificateLint) bool {
	server := slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	spiffe := slices.ContainsFunc(cert.URIs, func(uri string) bool { return strings.HasPrefix(uri, "spiffe://") })
	public := server && !spiffe && !cert.IsCA
	// RFC 5280 §4.2.1.12 says which usages may be consistent, not that others are
	// forbidden beside them, and clients of Kubernetes have keyEncipherment. With
	// digitalSignature there is one that serves every purpose.
	signs := cert.KeyUsage&x509.KeyUsageDigitalSignature != 0
	sources := serverSources()
	return func(lint *zlint.CertificateLint) bool {
		_, forServers := sources[lint.Source]
		return forServers && !public || signs && lint.Name == keyUsageLint
	}
}

// serverSources are the sources of lints that are not for CAs, people, code and
// workloads, each with the reason.
func serverSources() map[zlint.LintSource]string {
	return map[zlint.LintSource]string{
		zlint.CABFBaselineRequirements: "the Baseline Requirements are about servers of the Web and the public CAs above them",
		zlint.MozillaRootStorePolicy:   "Mozilla's policy is about the CAs that its programs trust from the start",
	}
}
