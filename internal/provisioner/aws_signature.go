package provisioner

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	stdasn1 "encoding/asn1"
	"errors"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// signedDocument is a document inside a CMS SignedData (RFC 5652 §5) with one
// signer, RSA (PKCS #1 v1.5) and SHA-256: what AWS makes. Nothing of it can be
// trusted before verify has succeeded.
type signedDocument struct {
	content    []byte
	issuer     []byte // and serial: of the signer's certificate
	serial     *big.Int
	attributes []byte // what is signed, the octets of the signedAttrs
	digest     []byte // of the content, in the attributes
	signature  []byte
}

var (
	errNoSignedData = errors.New("it is no CMS SignedData with the document inside")
	errNoSigner     = errors.New("its signer is not described as CMS does it")
	errAlgorithm    = errors.New("it is signed by another algorithm than RSA (PKCS #1 v1.5) with SHA-256")
	errAttributes   = errors.New("its signed attributes are not the type and the digest of the document, each once")
	errBER          = errors.New("it is no BER of a form that is read here")
)

// parseSigned reads a SignedData in DER, with nothing after it.
func parseSigned(der []byte) (*signedDocument, error) {
	input := cryptobyte.String(der)
	var info, wrapped, data, encapsulated, content, signers, signer cryptobyte.String
	var version int64
	d := &signedDocument{}
	ok := input.ReadASN1(&info, asn1.SEQUENCE) && input.Empty() &&
		readOID(&info, oidSignedData) && info.ReadASN1(&wrapped, contextTag(0)) && info.Empty() &&
		wrapped.ReadASN1(&data, asn1.SEQUENCE) && wrapped.Empty() &&
		data.ReadASN1Integer(&version) && data.SkipASN1(asn1.SET) && data.ReadASN1(&encapsulated, asn1.SEQUENCE) &&
		readOID(&encapsulated, oidData) && encapsulated.ReadASN1(&content, contextTag(0)) && encapsulated.Empty() &&
		content.ReadASN1Bytes(&d.content, asn1.OCTET_STRING) && content.Empty() &&
		data.SkipOptionalASN1(contextTag(0)) && data.SkipOptionalASN1(contextTag(1)) && // certificates and CRLs count for nothing
		data.ReadASN1(&signers, asn1.SET) && data.Empty() && signers.ReadASN1(&signer, asn1.SEQUENCE) && signers.Empty()
	if !ok {
		return nil, errNoSignedData
	}
	return d, d.readSigner(signer)
}

// readSigner reads a SignerInfo (RFC 5652 §5.3). Signed attributes must be
// there: without them, the signature could as well be over attributes that are
// given out as the content.
func (d *signedDocument) readSigner(signer cryptobyte.String) error {
	var version int64
	var identifier, issuer, digest, attributes, algorithm cryptobyte.String
	d.serial = new(big.Int)
	ok := signer.ReadASN1Integer(&version) && signer.ReadASN1(&identifier, asn1.SEQUENCE) &&
		identifier.ReadASN1Element(&issuer, asn1.SEQUENCE) && identifier.ReadASN1Integer(d.serial) && identifier.Empty() &&
		signer.ReadASN1(&digest, asn1.SEQUENCE) && signer.ReadASN1(&attributes, contextTag(0)) &&
		signer.ReadASN1(&algorithm, asn1.SEQUENCE) && signer.ReadASN1Bytes(&d.signature, asn1.OCTET_STRING) &&
		signer.SkipOptionalASN1(contextTag(1)) && signer.Empty()
	if !ok {
		return errNoSigner
	}
	if !isAlgorithm(digest, oidSHA256) || !isAlgorithm(algorithm, oidRSA) && !isAlgorithm(algorithm, oidSHA256RSA) {
		return errAlgorithm
	}
	d.issuer, d.attributes = issuer, attributes
	return d.readAttributes(attributes)
}

func (d *signedDocument) readAttributes(attributes cryptobyte.String) error {
	typed := false
	for !attributes.Empty() {
		var attribute, values cryptobyte.String
		var typ stdasn1.ObjectIdentifier
		if !attributes.ReadASN1(&attribute, asn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&typ) ||
			!attribute.ReadASN1(&values, asn1.SET) || !attribute.Empty() {
			return errAttributes
		}
		switch {
		case typ.Equal(oidContentType):
			if typed || !readOID(&values, oidData) || !values.Empty() {
				return errAttributes
			}
			typed = true
		case typ.Equal(oidMessageDigest):
			if d.digest != nil || !values.ReadASN1Bytes(&d.digest, asn1.OCTET_STRING) || !values.Empty() {
				return errAttributes
			}
		}
	}
	if !typed || d.digest == nil {
		return errAttributes
	}
	return nil
}

// verify checks that the key of that certificate has signed the document.
func (d *signedDocument) verify(certificate *x509.Certificate, region string) error {
	key, _ := certificate.PublicKey.(*rsa.PublicKey)
	if key == nil || !bytes.Equal(d.issuer, certificate.RawIssuer) || d.serial.Cmp(certificate.SerialNumber) != 0 {
		return unauthorized("the document is signed by the certificate %.60s; that of the region %s is %s", d.serial.Text(16), region, certificate.SerialNumber.Text(16))
	}
	content := sha256.Sum256(d.content)
	if !bytes.Equal(content[:], d.digest) {
		return unauthorized("the document is not the one that was signed: its digest is another; send what the metadata service answers, unchanged")
	}
	set := cryptobyte.NewBuilder(nil)
	set.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(d.attributes) }) // RFC 5652 §5.4
	signed, err := set.Bytes()
	if err != nil {
		return malformed("the document's signed attributes can't be read").Because(err)
	}
	sum := sha256.Sum256(signed)
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], d.signature); err != nil {
		return unauthorized("the document's signature is not by the certificate of the region %s, as it claims", region).Because(err)
	}
	return nil
}

// The object identifiers of RFC 5652, RFC 5754 and RFC 8017.
var (
	oidData          = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSHA256        = stdasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA           = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256RSA     = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
)

func contextTag(number uint8) asn1.Tag { return asn1.Tag(number).ContextSpecific().Constructed() }

func readOID(from *cryptobyte.String, want stdasn1.ObjectIdentifier) bool {
	var found stdasn1.ObjectIdentifier
	return from.ReadASN1ObjectIdentifier(&found) && found.Equal(want)
}

// isAlgorithm reports whether an AlgorithmIdentifier is that one, without
// parameters or with NULL.
func isAlgorithm(identifier cryptobyte.String, want stdasn1.ObjectIdentifier) bool {
	return readOID(&identifier, want) && (identifier.Empty() || bytes.Equal(identifier, []byte{5, 0}))
}
