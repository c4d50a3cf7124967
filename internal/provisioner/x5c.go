package provisioner

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/identifier"
	"chancery/internal/keys"
)

// x5cVerifier takes tokens that are signed by the key of a certificate, which
// comes along in the header "x5c" (RFC 7515 §4.1.6) and is from a CA that is
// trusted for that.
type x5cVerifier struct {
	roots *x509.CertPool
	rules ownRules
	named bool // the spec says which names a token stands for
}

func newX5C(name string, spec Spec, deps Deps) (Verifier, error) {
	var errs []error
	if len(spec.Roots) == 0 {
		errs = append(errs, mistake("roots", "name the CA certificates that tokens' certificates must come from"))
	}
	pool := x509.NewCertPool()
	for i, text := range spec.Roots {
		errs = append(errs, deps.addRoots(pool, fmt.Sprintf("roots[%d]", i), text))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &x5cVerifier{pool, newOwnRules(name, spec, deps), len(spec.Names) > 0}, nil
}

func (v *x5cVerifier) Verify(ctx context.Context, token string) (Identity, error) {
	t, err := parseJWT(token)
	if err != nil {
		return Identity{}, err
	}
	leaf, chains, err := v.leaf(t.header)
	if err != nil {
		return Identity{}, err
	}
	signer := knownKeys{[]jose.JSONWebKey{{Key: leaf.PublicKey}}, "its certificate"}
	if err := t.verify(ctx, signer); err != nil {
		return Identity{}, err
	}
	identity, err := v.rules.identify(t.claims)
	if err != nil {
		return Identity{}, err
	}
	identity.Subject = subjectOf(leaf)
	return v.bind(identity, leaf, namesOf(leaf, chains))
}

// bind makes the token stand for its certificate's own names only, unless the
// spec says by expressions which names it stands for. They find the certificate
// in token.certificate.
func (v *x5cVerifier) bind(identity Identity, leaf *x509.Certificate, own []identifier.Identifier) (Identity, error) {
	texts := make([]any, len(own))
	for i, name := range own {
		texts[i] = name.String()
	}
	identity.Claims = maps.Clone(identity.Claims)
	identity.Claims["certificate"] = map[string]any{"common_name": leaf.Subject.CommonName, "names": texts}
	if v.named {
		return identity, nil
	}
	for _, name := range identity.Names {
		if !slices.Contains(own, name) {
			return Identity{}, unauthorized("the token claims the name %s, which its certificate does not have; set names in the provisioner to give others", name)
		}
	}
	if len(identity.Names) == 0 {
		identity.Names = own
	}
	return identity, nil
}

// namesOf are the subject alternative names of a certificate, and its common
// name if that is a host's. Those that have no normal form are left out.
func namesOf(leaf *x509.Certificate, chains [][]*x509.Certificate) []identifier.Identifier {
	var names []identifier.Identifier
	add := func(typ identifier.Type, value string) {
		if name, err := identifier.ParseLoose(typ, value); err == nil {
			names = append(names, name)
		}
	}
	for _, value := range leaf.DNSNames {
		add(identifier.DNS, value)
	}
	for _, value := range leaf.EmailAddresses {
		add(identifier.Email, value)
	}
	for _, value := range leaf.IPAddresses {
		add(identifier.IP, value.String())
	}
	for _, value := range leaf.URIs {
		add(identifier.URI, value.String())
	}
	if common := leaf.Subject.CommonName; (len(names) == 0 || strings.Contains(common, ".")) && slices.ContainsFunc(chains, isFree) {
		for _, typ := range []identifier.Type{identifier.DNS, identifier.IP} {
			add(typ, common)
		}
	}
	return identifier.Normalize(names)
}

// isFree reports whether the CAs of a chain may certify all names. Where they
// are confined to some, that does not hold for common names (RFC 5280
// §4.2.1.10), which prove nothing then.
func isFree(chain []*x509.Certificate) bool { return !slices.ContainsFunc(chain, isConstrained) }

func isConstrained(c *x509.Certificate) bool {
	nameConstraints := asn1.ObjectIdentifier{2, 5, 29, 30}
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(nameConstraints) })
}

// leaf is the certificate in the header, once its chain is verified and its
// key may sign tokens, with the chains that there are.
func (v *x5cVerifier) leaf(header jose.Header) (*x509.Certificate, [][]*x509.Certificate, error) {
	chains, err := header.Certificates(x509.VerifyOptions{
		Roots: v.roots, CurrentTime: v.rules.clock.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if errors.Is(err, jose.ErrMissingX5cHeader) {
		return nil, nil, unauthorized(`the token's header has no "x5c"; it must hold the certificate whose key signs, and those up to the root`)
	}
	if err != nil {
		return nil, nil, unauthorized("the certificate in the token's header is not trusted: %s", chainProblem(err)).Because(err)
	}
	leaf := chains[0][0]
	switch {
	case leaf.IsCA:
		return nil, nil, unauthorized("the certificate in the token's header is a CA's; a token is signed with an end entity's")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0: // none is any (RFC 5280 §4.2.1.3)
		return nil, nil, unauthorized("the certificate in the token's header lacks the key usage digitalSignature")
	}
	if err := keys.Check(leaf.PublicKey); err != nil {
		return nil, nil, unauthorized("the key of the certificate in the token's header is refused").Because(err)
	}
	return leaf, chains, nil
}

// chainProblem says what is wrong with a chain, without what it holds.
func chainProblem(err error) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "it, or one above it, has expired or is not valid yet"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "it comes from none of the provisioner's roots, or certificates between it and the root are missing"
	}
	return "its chain does not verify"
}

// subjectOf is what the holder of a certificate is called.
func subjectOf(leaf *x509.Certificate) string {
	if leaf.Subject.CommonName != "" {
		return leaf.Subject.CommonName
	}
	for _, names := range [][]string{leaf.DNSNames, leaf.EmailAddresses} {
		if len(names) > 0 {
			return names[0]
		}
	}
	if len(leaf.URIs) > 0 {
		return leaf.URIs[0].String()
	}
	if text := leaf.Subject.String(); text != "" {
		return text
	}
	return strings.ToUpper(leaf.SerialNumber.Text(16))
}
