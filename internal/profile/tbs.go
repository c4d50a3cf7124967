package profile

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/keys"
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
	pathLength     int    // how many CAs there may be below it; -1 for any number
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
	issuer := &Issuer{NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, name: cert.RawSubject, algorithm: algorithm, pathLength: -1}
	if cert.MaxPathLen > 0 || cert.MaxPathLenZero {
		issuer.pathLength = cert.MaxPathLen
	}
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
	Identifiers []identifier.Identifier // in their normal form
	PublicKey   crypto.PublicKey
	SPKI        []byte // DER SubjectPublicKeyInfo of PublicKey, as it was received
	Wishes      Wishes
	Now         time.Time

	// Where it was asked for, and what is known of who asks: for expressions,
	// and for who may use the profile.
	Door  string
	Facts expr.Facts
	CSR   []byte // DER; nil for none

	// Where the issuer's certificate, its revocation list and its OCSP
	// responder are; "" for none. The last two are left out when the profile
	// has no_revocation (RFC 9608 §3).
	IssuerURL, CRLURL, OCSPURL string
}

// TBS is a certificate without its signature.
type TBS struct {
	DER                 []byte // TBSCertificate (RFC 5280 §4.1.2)
	NotBefore, NotAfter time.Time
	Names               []identifier.Identifier // its subject alternative names; nobody may change them
	// Subject is the text of its subject (RFC 4514), or "" when that is no more
	// than a common name that is one of Names.
	Subject string
}

// ToBeSigned writes the certificate for in. It fails with a failure of kind
// BadCSR if the profile does not take such a key, of kind BadProfile if the
// requester may not use it, of kind Malformed without names that it needs, of
// kind Unsupported for an identifier that it does not take, of kind Rejected
// or BadCSR when an expression lacks what it reads, and as Validity does; any
// other error means that in is not as it should be.
func (p *Profile) ToBeSigned(in Input) (TBS, error) {
	if in.Serial[0] == 0 || in.Serial[0] > 0x7f {
		return TBS{}, fmt.Errorf("couldn't write certificate %s: the first octet of the serial must be 0x01 to 0x7f", in.Serial)
	}
	if err := p.CheckUse(in.Door, &in.Facts); err != nil {
		return TBS{}, err
	}
	if err := p.CheckKey(in.PublicKey); err != nil {
		return TBS{}, err
	}
	notBefore, notAfter, err := p.Validity(in.Issuer, in.Wishes, in.Now)
	if err != nil {
		return TBS{}, err
	}
	return p.write(&in, notBefore, notAfter, false)
}

// content is what depends on more than the profile and the key.
type content struct {
	subject    []byte // the content of a Name
	names      []identifier.Identifier
	extensions []byte // those that come last
}

// write encodes the TBSCertificate (RFC 5280 §4.1).
func (p *Profile) write(in *Input, notBefore, notAfter time.Time, sample bool) (TBS, error) {
	keyID, err := x509der.KeyID(in.SPKI)
	if err != nil {
		return TBS{}, err
	}
	content, err := p.fill(in, sample)
	if err != nil {
		return TBS{}, err
	}
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
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(content.subject) })
		b.AddBytes(in.SPKI)
		b.AddASN1(constructed(3), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { p.addExtensions(b, in, keyID[:], content) })
		})
	})
	der, err := b.Bytes()
	return TBS{der, notBefore, notAfter, content.names, p.subjectText(content)}, err
}

// fill evaluates the profile's expressions and checks that what comes out
// names something.
func (p *Profile) fill(in *Input, sample bool) (content, error) {
	if err := p.checkDepth(in.Issuer); err != nil {
		return content{}, err
	}
	e := &evaluation{profile: p, sample: sample}
	if p.dynamic {
		e.input = expr.Input{Identifiers: in.Identifiers, Facts: in.Facts, CSR: in.CSR, Now: in.Now, Profile: p.Name}
	}
	names, err := p.names(e, in.Identifiers)
	if err != nil {
		return content{}, err
	}
	subject, extensions := cryptobyte.NewBuilder(nil), cryptobyte.NewBuilder(nil)
	empty, err := p.addSubject(subject, e, in.Wishes.CommonName, names)
	if err != nil {
		return content{}, err
	}
	if len(names) == 0 && (empty || p.needsNames()) || empty && p.Spec.BasicConstraints.CA {
		return content{}, failure.New(failure.Malformed, "the certificate would have %d names, and not all that the profile %s needs to name its subject; ask for a name", len(names), p.Name)
	}
	if err := p.addNameConstraints(extensions, e); err != nil {
		return content{}, err
	}
	if err := p.addCustom(extensions, e); err != nil {
		return content{}, err
	}
	return content{subject.BytesOrPanic(), names, extensions.BytesOrPanic()}, nil
}

// checkDepth refuses CAs below an issuer that may have none, or not so many.
func (p *Profile) checkDepth(issuer *Issuer) error {
	constraints := p.Spec.BasicConstraints
	if constraints.CA && issuer.pathLength >= 0 && constraints.PathLength >= issuer.pathLength {
		return fmt.Errorf("couldn't use the profile %s: its certificates are CAs with the path length %d, and that of the issuer is %d, which must be more; use another issuer, or give this one more with \"chancery issuer rotate --path-length %d\"",
			p.Name, constraints.PathLength, issuer.pathLength, constraints.PathLength+1)
	}
	return nil
}

func (p *Profile) addExtensions(b *cryptobyte.Builder, in *Input, keyID []byte, content content) {
	class, _ := classOf(keys.TypeOf(in.PublicKey))
	b.AddBytes(p.fixed[class])
	addExtension(b, extSubjectKeyID, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(keyID) })
	b.AddBytes(in.Issuer.authorityKeyID)
	urls, crl := p.Spec.URLs, ""
	if !p.Spec.NoRevocation {
		urls.OCSP, crl = cmp.Or(urls.OCSP, in.OCSPURL), cmp.Or(urls.CRL, in.CRLURL)
	}
	addAuthorityAccess(b, urls.OCSP, cmp.Or(urls.Issuer, in.IssuerURL))
	if len(content.names) > 0 {
		addNames(b, content.names, len(content.subject) == 0)
	}
	addRevocationList(b, crl)
	if p.Spec.NoRevocation {
		addExtension(b, extNoRevAvail, false, func(b *cryptobyte.Builder) { b.AddASN1NULL() })
	}
	b.AddBytes(p.further)
	b.AddBytes(content.extensions)
}

// addTime encodes a time in UTC and whole seconds (RFC 5280 §4.1.2.5).
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}
