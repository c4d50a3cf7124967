package profile

import (
	"crypto/x509"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// usageBits is a KeyUsage (RFC 5280 §4.2.1.3); bit n of the BIT STRING is
// 1<<n here.
type usageBits uint16

const (
	digitalSignature usageBits = 1 << iota
	nonRepudiation
	keyEncipherment
	dataEncipherment
	keyAgreement
	keyCertSign
	cRLSign
	encipherOnly
	decipherOnly
)

// KeyUsages returns the names of the key usages in the order of their bits,
// which is that of x509.KeyUsage. RFC 5280 allows "contentCommitment" for
// nonRepudiation.
func KeyUsages() []string {
	return []string{
		"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
		"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
	}
}

// usagesOf are the usages that keys of a class can serve: RFC 5480 §3 and
// RFC 8813 §3 for elliptic curves, RFC 8410 §5 for Ed25519, RFC 3279 §2.3.1
// for RSA.
func usagesOf(c class) usageBits {
	const signs = digitalSignature | nonRepudiation | keyCertSign | cRLSign
	switch c {
	case classEC:
		return signs | keyAgreement | encipherOnly | decipherOnly
	case classEd25519:
		return signs
	default:
		return signs | keyEncipherment | dataEncipherment
	}
}

func parseUsages(names []string, ca bool) (usageBits, error) {
	known, usages := KeyUsages(), usageBits(0)
	for _, name := range names {
		if name == "contentCommitment" {
			name = "nonRepudiation"
		}
		i := slices.Index(known, name)
		if i < 0 {
			return 0, fmt.Errorf("%q is no key usage; there are %s", name, strings.Join(known, ", "))
		}
		usages |= 1 << i
	}
	if usages&(keyCertSign|cRLSign) != 0 && !ca {
		return 0, fmt.Errorf("keyCertSign and cRLSign are for certificate authorities; leave them out, or set basic_constraints.ca")
	}
	if usages&keyCertSign == 0 && ca {
		return 0, fmt.Errorf("a certificate authority needs keyCertSign (RFC 5280 §4.2.1.9); add it, or leave basic_constraints.ca out")
	}
	if usages&(encipherOnly|decipherOnly) != 0 && usages&keyAgreement == 0 {
		return 0, fmt.Errorf("encipherOnly and decipherOnly mean nothing without keyAgreement; add it")
	}
	return usages, nil
}

// encode returns the content of the extension: a named-bit BIT STRING, which
// DER wants without zero bits at its end (X.690 §11.2.2).
func (u usageBits) encode() []byte {
	octets := []byte{bits.Reverse8(uint8(u)), bits.Reverse8(uint8(u >> 8))}
	if octets[1] == 0 {
		octets = octets[:1]
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.BIT_STRING, func(b *cryptobyte.Builder) {
		b.AddUint8(uint8(bits.TrailingZeros8(octets[len(octets)-1])))
		b.AddBytes(octets)
	})
	return b.BytesOrPanic()
}

// timeStamping must stand alone, in a critical extension (RFC 3161 §2.3).
const timeStamping = "1.3.6.1.5.5.7.3.8"

// purposeOID is the OID of an extended key usage given by name (RFC 5280
// §4.2.1.12), or the OID itself.
func purposeOID(name string) string {
	switch name {
	case "serverAuth":
		return "1.3.6.1.5.5.7.3.1"
	case "clientAuth":
		return "1.3.6.1.5.5.7.3.2"
	case "codeSigning":
		return "1.3.6.1.5.5.7.3.3"
	case "emailProtection":
		return "1.3.6.1.5.5.7.3.4"
	case "timeStamping":
		return timeStamping
	case "OCSPSigning":
		return "1.3.6.1.5.5.7.3.9"
	}
	return name
}

// parsePurposes returns the content of the extended key usage extension, nil
// for none, and whether it is critical.
func parsePurposes(names []string) (value []byte, critical bool, err error) {
	var oids []string
	var list cryptobyte.Builder
	for _, name := range names {
		text := purposeOID(name)
		oid, err := x509.ParseOID(text)
		if err != nil {
			return nil, false, fmt.Errorf("%q is no extended key usage; write serverAuth, clientAuth, codeSigning, emailProtection, timeStamping, OCSPSigning or a dotted OID", name)
		}
		if slices.Contains(oids, text) {
			return nil, false, fmt.Errorf("%s is there twice; leave one out", name)
		}
		oids = append(oids, text)
		addOID(&list, oid)
	}
	critical = slices.Contains(oids, timeStamping)
	if critical && len(oids) > 1 {
		return nil, false, fmt.Errorf("timeStamping must be the only one (RFC 3161 §2.3); make a profile of its own for it")
	}
	if len(oids) == 0 {
		return nil, false, nil
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(list.BytesOrPanic()) })
	return b.BytesOrPanic(), critical, nil
}

func addOID(b *cryptobyte.Builder, oid x509.OID) {
	content, err := oid.MarshalBinary()
	if err != nil {
		b.SetError(err)
		return
	}
	b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(content) })
}
