package profile

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/identifier"
	"chancery/internal/serial"
	"chancery/internal/x509der"
)

// Issuer is what leaves take from the certificate of their issuer. Nobody may
// change it.
type Issuer struct {
	NotBefore, NotAfter time.Time

	name           []byte // DER Name
	algorithm      []byte // DER AlgorithmIdentifier of what its key signs
	authorityKeyID []byte // the whole extension
}

// NewIssuer takes from cert what leaves need. It returns an error if cert may
// not sign certificates.
func NewIssuer(cert *x509.Certificate) (*Issuer, error) {
	algorithm, _, err := x509der.SignatureAlgorithm(cert.PublicKey)
	switch {
	case err != nil:
		return nil, err
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return nil, errors.New("couldn't use the issuer's certificate: it is not a CA's (its basic constraints don't say so)")
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, errors.New("couldn't use the issuer's certificate: its key usage does not include keyCertSign")
	}
	keyID := cert.SubjectKeyId
	if len(keyID) == 0 {
		computed, err := x509der.KeyID(cert.RawSubjectPublicKeyInfo)
		if err != nil {
			return nil, err
		}
		keyID = computed[:]
	}
	issuer := &Issuer{NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, name: cert.RawSubject, algorithm: algorithm}
	var b cryptobyte.Builder
	addExtension(&b, extAuthorityKeyID, false, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(keyID) })
		})
	})
	issuer.authorityKeyID, err = b.Bytes()
	return issuer, err
}

// Algorithm is the DER AlgorithmIdentifier of the issuer's signatures, for
// x509der.Assemble.
func (i *Issuer) Algorithm() []byte { return i.algorithm }

// Input is all that goes into one certificate beside the profile.
type Input struct {
	Issuer      *Issuer
	Serial      serial.Number
	Identifiers []identifier.Identifier // in their normal form; at least one
	PublicKey   crypto.PublicKey
	SPKI        []byte // DER SubjectPublicKeyInfo of PublicKey, as it was received
	Wishes      Wishes
	Now         time.Time

	// Where the issuer's certificate, its revocation list and its OCSP
	// responder are; "" for none. The last two are left out when the profile
	// has no_revocation (RFC 9608 §3).
	IssuerURL, CRLURL, OCSPURL string
}

// TBS is a certificate without its signature.
type TBS struct {
	DER                 []byte // TBSCertificate (RFC 5280 §4.1.2)
	NotBefore, NotAfter time.Time
}

// ToBeSigned writes the certificate for in. It fails with a failure of kind
// BadCSR if the profile does not take such a key, of kind Unsupported for an
// identifier that certificates don't carry, and as Validity does; any other
// error means that in is not as it should be.
func (p *Profile) ToBeSigned(in Input) (TBS, error) {
	if len(in.Identifiers) == 0 || in.Serial[0] == 0 || in.Serial[0] > 0x7f {
		return TBS{}, fmt.Errorf("couldn't write certificate %s with %d names: there must be at least one, and the first octet of the serial must be 0x01 to 0x7f", in.Serial, len(in.Identifiers))
	}
	if err := p.CheckKey(in.PublicKey); err != nil {
		return TBS{}, err
	}
	notBefore, notAfter, err := p.Validity(in.Issuer, in.Wishes, in.Now)
	if err != nil {
		return TBS{}, err
	}
	return p.write(&in, notBefore, notAfter)
}

// write encodes the TBSCertificate (RFC 5280 §4.1).
func (p *Profile) write(in *Input, notBefore, notAfter time.Time) (TBS, error) {
	keyID, err := x509der.KeyID(in.SPKI)
	if err != nil {
		return TBS{}, err
	}
	commonName := commonName(in.Wishes.CommonName, in.Identifiers)
	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes([]byte{0xa0, 3, 2, 1, 2}) // version: v3
		b.AddASN1(casn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(in.Serial[:]) })
		b.AddBytes(in.Issuer.algorithm)
		b.AddBytes(in.Issuer.name)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, notBefore)
			addTime(b, notAfter)
		})
		addSubject(b, commonName)
		b.AddBytes(in.SPKI)
		b.AddASN1(constructed(3), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				p.addExtensions(b, in, keyID[:], commonName == "")
			})
		})
	})
	der, err := b.Bytes()
	return TBS{der, notBefore, notAfter}, err
}

func (p *Profile) addExtensions(b *cryptobyte.Builder, in *Input, keyID []byte, emptySubject bool) {
	class, _ := classOf(KeyType(in.PublicKey))
	b.AddBytes(p.fixed[class])
	addExtension(b, extSubjectKeyID, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(keyID) })
	b.AddBytes(in.Issuer.authorityKeyID)
	if p.Spec.NoRevocation {
		addAuthorityAccess(b, "", in.IssuerURL)
		addNames(b, in.Identifiers, emptySubject)
		addExtension(b, extNoRevAvail, false, func(b *cryptobyte.Builder) { b.AddASN1NULL() })
		return
	}
	addAuthorityAccess(b, in.OCSPURL, in.IssuerURL)
	addNames(b, in.Identifiers, emptySubject)
	addRevocationList(b, in.CRLURL)
}

// addTime encodes a time in UTC and whole seconds (RFC 5280 §4.1.2.5).
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

// maxCommonName is ub-common-name (RFC 5280 appendix A.1).
const maxCommonName = 64

// commonName is the name out of ids that the wish means, or "" if it means
// none of them or one that does not fit.
func commonName(wish string, ids []identifier.Identifier) string {
	if wish == "" {
		return ""
	}
	id, err := identifier.Guess(wish)
	if err != nil || !slices.Contains(ids, id) || len(id.Value) > maxCommonName {
		return ""
	}
	return id.Value
}

func addSubject(b *cryptobyte.Builder, commonName string) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if commonName == "" {
			return
		}
		b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 5, 4, 3})
				b.AddASN1(casn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(commonName)) })
			})
		})
	})
}
