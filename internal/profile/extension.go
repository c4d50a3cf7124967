package profile

import (
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// The extensions a leaf can have (RFC 5280 §4.2, RFC 9608 §2).
const (
	extSubjectKeyID     = 14
	extKeyUsage         = 15
	extSubjectAltName   = 17
	extBasicConstraints = 19
	extNameConstraints  = 30
	extCRLDistribution  = 31
	extPolicies         = 32
	extAuthorityKeyID   = 35
	extExtendedKeyUsage = 37
	extNoRevAvail       = 56
)

// addExtension adds an extension of the arc id-ce, with the content that value
// writes.
func addExtension(b *cryptobyte.Builder, arc int, critical bool, value func(*cryptobyte.Builder)) {
	addExtensionContent(b, []byte{0x55, 0x1d, byte(arc)}, critical, value)
}

func addExtensionOID(b *cryptobyte.Builder, oid x509.OID, critical bool, value func(*cryptobyte.Builder)) {
	content, err := oid.MarshalBinary()
	if err != nil {
		b.SetError(err)
		return
	}
	addExtensionContent(b, content, critical, value)
}

// addExtensionContent takes the OID as the content of its encoding.
func addExtensionContent(b *cryptobyte.Builder, oid []byte, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oid) })
		if critical {
			b.AddASN1Boolean(true) // DER leaves the default out
		}
		b.AddASN1(casn1.OCTET_STRING, value)
	})
}

// GeneralName choices (RFC 5280 §4.2.1.6).
const (
	nameEmail = 1
	nameDNS   = 2
	nameURI   = 6
	nameIP    = 7
)

// addNames adds a subject alternative name extension. It is critical when the
// subject is empty (RFC 5280 §4.1.2.6).
func addNames(b *cryptobyte.Builder, ids []identifier.Identifier, critical bool) {
	addExtension(b, extSubjectAltName, critical, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, id := range ids {
				addName(b, id)
			}
		})
	})
}

func addName(b *cryptobyte.Builder, id identifier.Identifier) {
	addr := id.Addr()
	switch {
	case id.Type == identifier.DNS && id.Value != "":
		addGeneralName(b, nameDNS, []byte(id.Value))
	case addr.IsValid():
		addGeneralName(b, nameIP, addr.AsSlice())
	case id.Type == identifier.Email && id.Value != "":
		addGeneralName(b, nameEmail, []byte(id.Value))
	case id.Type == identifier.URI && id.Value != "":
		addGeneralName(b, nameURI, []byte(id.Value))
	default:
		b.SetError(failure.New(failure.Unsupported, "certificates can't carry the identifier %s", id))
	}
}

func addGeneralName(b *cryptobyte.Builder, choice uint8, content []byte) {
	b.AddASN1(casn1.Tag(choice).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(content) })
}

// addAuthorityAccess adds an authority information access extension (RFC 5280
// §4.2.2.1), unless both URLs are empty.
func addAuthorityAccess(b *cryptobyte.Builder, ocspURL, issuerURL string) {
	if ocspURL == "" && issuerURL == "" {
		return
	}
	authorityInfoAccess := []byte{0x2b, 6, 1, 5, 5, 7, 1, 1} // 1.3.6.1.5.5.7.1.1
	addExtensionContent(b, authorityInfoAccess, false, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addAccess(b, 1, ocspURL)
			addAccess(b, 2, issuerURL)
		})
	})
}

func addAccess(b *cryptobyte.Builder, method int, url string) {
	if url == "" {
		return
	}
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, method})
		addGeneralName(b, nameURI, []byte(url))
	})
}

// addRevocationList adds a CRL distribution points extension with one point
// (RFC 5280 §4.2.1.13), unless url is empty.
func addRevocationList(b *cryptobyte.Builder, url string) {
	if url == "" {
		return
	}
	addExtension(b, extCRLDistribution, false, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { // CRLDistributionPoints
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { // DistributionPoint
				b.AddASN1(constructed(0), func(b *cryptobyte.Builder) { // distributionPoint
					b.AddASN1(constructed(0), func(b *cryptobyte.Builder) { // fullName
						addGeneralName(b, nameURI, []byte(url))
					})
				})
			})
		})
	})
}

func constructed(tag uint8) casn1.Tag { return casn1.Tag(tag).ContextSpecific().Constructed() }
