package profile

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/identifier"
)

// tlsFeature is the extension that must_staple makes (RFC 7633 §6).
const tlsFeature = "1.3.6.1.5.5.7.1.24"

// compileFurther writes what is the same in all certificates of the profile:
// policies and TLS features.
func (c *compiler) compileFurther() {
	var b cryptobyte.Builder
	c.addPolicies(&b)
	spec := &c.profile.Spec
	if spec.MustStaple {
		oid, _ := parseOID(tlsFeature)
		addExtensionOID(&b, oid, false, func(b *cryptobyte.Builder) { b.AddBytes([]byte{0x30, 3, 2, 1, 5}) }) // status_request
		if spec.NoRevocation {
			c.refuse("must_staple", "there is nothing to staple with no_revocation; leave one of them out")
		}
		if !slices.Contains(spec.ExtendedKeyUsages, "serverAuth") {
			c.refuse("must_staple", "only TLS servers staple; add serverAuth to extended_key_usages, or leave this out")
		}
	}
	c.checkURL("urls.issuer", spec.URLs.Issuer)
	for field, url := range map[string]string{"urls.crl": spec.URLs.CRL, "urls.ocsp": spec.URLs.OCSP} {
		c.checkURL(field, url)
		if url != "" && spec.NoRevocation {
			c.refuse(field, "there is no revocation information with no_revocation (RFC 9608 §3); leave one of them out")
		}
	}
	c.profile.further = b.BytesOrPanic()
}

func (c *compiler) checkURL(field, url string) {
	scheme, _, _ := strings.Cut(url, ":")
	if _, err := identifier.Parse(identifier.URI, url); url != "" && (err != nil || !slices.Contains([]string{"http", "https", "ldap", "ldaps"}, scheme)) {
		c.refuse(field, "%.100q is no URL that relying parties could fetch; write it like http://ca.corp.example/1.crl", url)
	}
}

func (c *compiler) addPolicies(b *cryptobyte.Builder) {
	var list cryptobyte.Builder
	var seen []string
	for i, policy := range c.profile.Spec.Policies {
		field := fmt.Sprintf("policies[%d]", i)
		oid, err := parseOID(policy.OID)
		switch {
		case err != nil:
			c.refuse(field+".oid", "%s", err)
			continue
		case slices.Contains(seen, policy.OID):
			c.refuse(field+".oid", "%s is there twice; leave one out", policy.OID)
		}
		seen = append(seen, policy.OID)
		c.checkURL(field+".cps", policy.CPS)
		addPolicy(&list, oid, policy.CPS)
	}
	if content := list.BytesOrPanic(); len(content) > 0 {
		addExtension(b, extPolicies, false, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(content) })
		})
	}
}

// addPolicy writes a PolicyInformation with at most one qualifier.
func addPolicy(b *cryptobyte.Builder, policy x509.OID, cps string) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, policy)
		if cps == "" {
			return
		}
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 2, 1})
				b.AddASN1(casn1.IA5String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(cps)) })
			})
		})
	})
}
