package store

import (
	"crypto/sha256"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// endOfTime is the notAfter that means "no end" (RFC 5280 §4.1.2.5).
var endOfTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// cessationOfOperation is the CRLReason (RFC 5280 §5.3.1) of a certificate that
// nobody uses, for nobody was given it.
const cessationOfOperation = 5

// Abandoned is the record by which an engine settles an intent that was given
// up at now: revoked, for it may have been signed. What the intent does not say
// (account, profile, identifiers) is left to the engine. When the validity
// cannot be read from the TBS, the record never expires.
func Abandoned(intent *Intent, now time.Time) Certificate {
	notBefore, notAfter, ok := validity(intent.TBS)
	if !ok {
		notBefore, notAfter = intent.Created, endOfTime
	}
	return Certificate{
		CertificateKey: intent.CertificateKey,
		Owner:          intent.Owner,
		DER:            intent.TBS,
		Fingerprint:    sha256.Sum256(intent.TBS),
		NotBefore:      notBefore,
		NotAfter:       notAfter,
		Issued:         intent.Created,
		Abandoned:      true,
		Partition:      intent.Partition,
		Revocation:     &Revocation{At: now, Reason: cessationOfOperation},
	}
}

// validity reads notBefore and notAfter of a TBSCertificate (RFC 5280 §4.1).
func validity(tbs cryptobyte.String) (notBefore, notAfter time.Time, ok bool) {
	var inner, period cryptobyte.String
	ok = tbs.ReadASN1(&inner, asn1.SEQUENCE) &&
		inner.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) && // version
		inner.SkipASN1(asn1.INTEGER) && // serialNumber
		inner.SkipASN1(asn1.SEQUENCE) && // signature
		inner.SkipASN1(asn1.SEQUENCE) && // issuer
		inner.ReadASN1(&period, asn1.SEQUENCE) &&
		readTime(&period, &notBefore) && readTime(&period, &notAfter)
	return notBefore, notAfter, ok
}

// readTime reads either form of Time (RFC 5280 §4.1.2.5).
func readTime(s *cryptobyte.String, t *time.Time) bool {
	if s.PeekASN1Tag(asn1.UTCTime) {
		return s.ReadASN1UTCTime(t)
	}
	return s.ReadASN1GeneralizedTime(t)
}
