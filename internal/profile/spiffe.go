package profile

import (
	"slices"
	"strings"
	"time"

	"chancery/internal/duration"
	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// svid is what a profile with a trust domain leaves out (X509-SVID §4).
func svid() Spec {
	return Spec{
		Description:       "Workloads with a SPIFFE ID, for a day",
		Validity:          Validity{Default: duration.Duration(24 * time.Hour)},
		ExtendedKeyUsages: []string{"serverAuth", "clientAuth"},
		SAN:               SAN{Types: []string{string(identifier.URI)}},
	}
}

// compileSVID holds a profile with a trust domain against X509-SVID §4: that of
// a leaf, for only those are issued to workloads.
func (c *compiler) compileSVID() {
	spec := &c.profile.Spec
	if spec.TrustDomain == "" {
		return
	}
	if id := "spiffe://" + spec.TrustDomain; !isNormal(id) || strings.Contains(spec.TrustDomain, "/") {
		c.refuse("trust_domain", "%.60q is no SPIFFE trust domain; write lower-case letters, digits, dots, hyphens and underscores, as in corp.example", spec.TrustDomain)
	}
	if spec.BasicConstraints.CA {
		c.refuse("trust_domain", "the X.509-SVID of a workload is not a CA's; leave out basic_constraints.ca or trust_domain")
	}
	if !slices.Contains(spec.KeyUsages, "digitalSignature") {
		c.refuse("key_usages", "an X.509-SVID has digitalSignature (X509-SVID §4.3); add it, or leave out trust_domain")
	}
	for _, usage := range []string{"serverAuth", "clientAuth"} {
		if !slices.Contains(spec.ExtendedKeyUsages, usage) {
			c.refuse("extended_key_usages", "an X.509-SVID has both serverAuth and clientAuth (X509-SVID §4.4); add %s, or leave out trust_domain", usage)
		}
	}
	if !slices.Contains(spec.SAN.Types, string(identifier.URI)) && len(spec.SAN.URIs) == 0 {
		c.refuse("san.types", "an X.509-SVID has a URI; add uri here, or san.uris, or leave out trust_domain")
	}
}

func isNormal(uri string) bool {
	id, err := identifier.Parse(identifier.URI, uri)
	return err == nil && id.Value == uri
}

// checkSVID wants exactly one URI, a SPIFFE ID with a path in the trust domain
// (X509-SVID §2, §4.1). Samples stand for any workload's.
func (p *Profile) checkSVID(e *evaluation, names []identifier.Identifier) error {
	if p.Spec.TrustDomain == "" || e.sample {
		return nil
	}
	var uris []string
	for _, id := range names {
		if id.Type == identifier.URI {
			uris = append(uris, id.Value)
		}
	}
	prefix := "spiffe://" + p.Spec.TrustDomain + "/"
	if len(uris) != 1 || !strings.HasPrefix(uris[0], prefix) {
		return failure.New(failure.Unsupported, "the profile %s makes X.509-SVIDs, which have exactly one URI, and that begins with %s; this one would have %d: %.200q",
			p.Name, prefix, len(uris), uris)
	}
	return nil
}
