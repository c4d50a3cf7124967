// Package lint asks of a certificate, before it is signed, whether a relying
// party would refuse it. It wraps zlint with the lints that make sense for a
// private CA. It does not decide who may have a certificate, and it does not
// replace the checks of names and keys: it catches our own mistakes.
package lint

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"slices"
	"strings"

	"github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/cabf_br" // each registers its lints
	_ "github.com/zmap/zlint/v3/lints/community"
	_ "github.com/zmap/zlint/v3/lints/mozilla"
	_ "github.com/zmap/zlint/v3/lints/rfc"

	"chancery/internal/failure"
	"chancery/internal/x509der"
)

// Linter runs lints. It may be used from many goroutines.
type Linter struct {
	fast   []*zlint.CertificateLint // for every certificate: what the RFCs demand
	all    []*zlint.CertificateLint // for samples of profiles: also what they advise, and the public CAs' and browsers'
	about  map[string]string        // see aboutRare
	config zlint.Configuration
}

// New returns a Linter with the lints that apply to a private CA.
func New() *Linter {
	l, excluded := &Linter{config: zlint.NewEmptyConfig()}, exclusions()
	for _, candidate := range zlint.GlobalRegistry().CertificateLints().Lints() {
		if _, out := excluded[candidate.Name]; out {
			continue
		}
		l.all = append(l.all, candidate)
		if fastSource(candidate.Source) && !advises(candidate) {
			l.fast = append(l.fast, candidate)
		}
	}
	l.about = aboutRare(l.fast)
	return l
}

// fastSource reports whether the lints of a source are run on every
// certificate: those of the RFCs on certificates, together about 0.1 ms. RFC
// 6962 is not among them, for there is no Certificate Transparency here.
func fastSource(source zlint.LintSource) bool {
	switch source {
	case zlint.RFC3279, zlint.RFC5280, zlint.RFC5480, zlint.RFC5891, zlint.RFC8813:
		return true
	}
	return false
}

// advises reports whether a lint never finds an error, which its name says: it
// begins with w for a warning or n for a notice.
func advises(lint *zlint.CertificateLint) bool {
	return strings.HasPrefix(lint.Name, "w_") || strings.HasPrefix(lint.Name, "n_")
}

// Check lints a to-be-signed certificate that will carry the DER
// AlgorithmIdentifier algorithm outside. Its error is a failure of kind
// Internal that names the lints which found an error, for what requesters ask
// for has been checked before.
func (l *Linter) Check(tbs, algorithm []byte) error {
	errors, _, err := l.findings(l.fast, tbs, algorithm)
	if err != nil {
		return err
	}
	return broken(errors)
}

// CheckSample is Check for samples of a profile: with all lints that apply to
// such certificates, and warnings count. It takes a few times as long.
func (l *Linter) CheckSample(tbs, algorithm []byte) error {
	errors, warnings, err := l.findings(l.all, tbs, algorithm)
	if err != nil {
		return err
	}
	return broken(append(errors, warnings...))
}

// broken is the error for what lints found, nil for nothing.
func broken(found []string) error {
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return failure.New(failure.Internal, "the certificate breaks rules of X.509: %s", strings.Join(slices.Compact(found), "; "))
}

// findings runs the lints of the set that apply to the certificate.
func (l *Linter) findings(lints []*zlint.CertificateLint, tbs, algorithm []byte) (errors, warnings []string, err error) {
	cert, err := x509.ParseCertificate(x509der.Assemble(tbs, algorithm, placeholder(algorithm)))
	if err != nil {
		return nil, nil, failure.New(failure.Internal, "couldn't lint the certificate: it does not parse").Because(err)
	}
	skip := inapplicable(cert)
	for _, lint := range lints {
		if about := l.about[lint.Name]; about != "" {
			if _, there := cert.ExtensionsMap[about]; !there {
				continue
			}
		}
		if skip(lint) {
			continue
		}
		switch result := lint.Execute(cert, l.config); {
		case result.Status >= zlint.Error:
			errors = append(errors, describe(lint, result))
		case result.Status == zlint.Warn:
			warnings = append(warnings, describe(lint, result))
		}
	}
	return errors, warnings, nil
}

// placeholder stands in for the signature. Lints look at its length only, from
// which they guess the curve of the key that signs.
func placeholder(algorithm []byte) []byte {
	for curve, length := range map[elliptic.Curve]int{elliptic.P384(): 102, elliptic.P521(): 138} {
		if named, _, err := x509der.SignatureAlgorithm(&ecdsa.PublicKey{Curve: curve}); err == nil && bytes.Equal(named, algorithm) {
			return make([]byte, length)
		}
	}
	return make([]byte, 64)
}

func describe(lint *zlint.CertificateLint, result *zlint.LintResult) string {
	text := fmt.Sprintf("%s (%s, %s)", lint.Name, lint.Description, lint.Citation)
	if result.Details != "" {
		text += ": " + result.Details
	}
	return text
}
