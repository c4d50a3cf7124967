package revocation

import (
	"crypto/x509"
	"errors"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/store"
)

// certList is what a revocation list is made of (RFC 5280 §5.1).
type certList struct {
	issuer     *x509.Certificate
	algorithm  []byte // DER AlgorithmIdentifier
	number     int64
	thisUpdate time.Time
	nextUpdate time.Time
	url        string // of the certificates' distribution point; "" for a list of all the issuer's certificates
	entries    []byte // as appendEntry makes them
}

// The extensions of lists and of their entries (RFC 5280 §5.2, §5.3), each the
// last octet in the arc id-ce.
const (
	extReason            = 21
	extNumber            = 20
	extDistributionPoint = 28
	extAuthorityKeyID    = 35
)

// toBeSigned encodes the TBSCertList.
func (l *certList) toBeSigned() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(l.entries)+1024))
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1) // v2
		b.AddBytes(l.algorithm)
		b.AddBytes(l.issuer.RawSubject)
		b.AddBytes(appendTime(nil, l.thisUpdate))
		b.AddBytes(appendTime(nil, l.nextUpdate))
		if len(l.entries) > 0 { // an empty list must be absent (RFC 5280 §5.1.2.6)
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(l.entries) })
		}
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, l.addExtensions)
		})
	})
	return b.Bytes()
}

func (l *certList) addExtensions(b *cryptobyte.Builder) {
	addExtension(b, extAuthorityKeyID, false, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(implicit(0), func(b *cryptobyte.Builder) { b.AddBytes(l.issuer.SubjectKeyId) })
		})
	})
	addExtension(b, extNumber, false, func(b *cryptobyte.Builder) { b.AddASN1Int64(l.number) })
	if l.url == "" {
		return
	}
	// Without it somebody could pass one partition's list off as another's. So
	// the name must be that of the certificates' distribution point, octet for
	// octet (RFC 5280 §6.3.3 (b)(2)).
	addExtension(b, extDistributionPoint, true, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { // distributionPoint
				b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { // fullName
					b.AddASN1(implicit(6), func(b *cryptobyte.Builder) { b.AddBytes([]byte(l.url)) })
				})
			})
			if l.onlyUserCertificates() {
				b.AddASN1(implicit(1), func(b *cryptobyte.Builder) { b.AddUint8(0xff) })
			}
		})
	})
}

// onlyUserCertificates reports whether the issuer can't certify CAs. The lists
// of one that can leave the flag out, for a partition may hold both kinds, and
// relying parties would not look for a CA in a list with the flag.
func (l *certList) onlyUserCertificates() bool {
	return l.issuer.MaxPathLen == 0 && l.issuer.MaxPathLenZero
}

// appendEntry appends a member of revokedCertificates. It is written by hand:
// lists have hundreds of thousands of them.
func appendEntry(to []byte, entry store.RevokedEntry) []byte {
	const sequence, integer = 0x30, 0x02
	begin := len(to)
	to = append(to, sequence, 0, integer)
	number := entry.Serial[:]
	for len(number) > 1 && number[0] == 0 && number[1] < 0x80 {
		number = number[1:]
	}
	if number[0] >= 0x80 { // an INTEGER is signed
		to = append(to, byte(len(number)+1), 0)
	} else {
		to = append(to, byte(len(number)))
	}
	to = append(to, number...)
	to = appendTime(to, entry.At)
	if named(entry.Reason) {
		to = append(to, sequence, 12, sequence, 10, 0x06, 3, 0x55, 0x1d, extReason, 0x04, 3, 0x0a, 1, byte(entry.Reason))
	}
	to[begin+1] = byte(len(to) - begin - 2)
	return to
}

// named reports whether a reason is written into lists and answers: 0 says
// nothing and is left out (RFC 5280 §5.3.1), 7 is unused, 8 is for delta lists.
func named(reason int) bool {
	return reason >= 1 && reason <= 10 && reason != 7 && reason != 8
}

// appendTime appends a Time in UTC and whole seconds (RFC 5280 §5.1.2.4).
func appendTime(to []byte, t time.Time) []byte {
	if t = t.UTC(); t.Year() < 2050 {
		return t.AppendFormat(append(to, byte(casn1.UTCTime), 13), "060102150405Z")
	}
	return t.AppendFormat(append(to, byte(casn1.GeneralizedTime), 15), "20060102150405Z")
}

// distributionPoint reads the URL in the list's own issuing distribution point;
// "" when there is none. It reads no entry.
func distributionPoint(der []byte) (string, error) {
	list := cryptobyte.String(der)
	var tbs, extensions cryptobyte.String
	var unused cryptobyte.String
	var tag casn1.Tag
	ok := list.ReadASN1(&list, casn1.SEQUENCE) && list.ReadASN1(&tbs, casn1.SEQUENCE) &&
		tbs.SkipASN1(casn1.INTEGER) && tbs.SkipASN1(casn1.SEQUENCE) && tbs.SkipASN1(casn1.SEQUENCE) &&
		tbs.ReadAnyASN1(&unused, &tag) && tbs.ReadAnyASN1(&unused, &tag) && // thisUpdate, nextUpdate
		tbs.SkipOptionalASN1(casn1.SEQUENCE) &&
		tbs.ReadASN1(&extensions, explicit(0)) && extensions.ReadASN1(&extensions, casn1.SEQUENCE)
	for ok && !extensions.Empty() {
		var extension, oid, value cryptobyte.String
		ok = extensions.ReadASN1(&extension, casn1.SEQUENCE) && extension.ReadASN1(&oid, casn1.OBJECT_IDENTIFIER) &&
			extension.SkipOptionalASN1(casn1.BOOLEAN) && extension.ReadASN1(&value, casn1.OCTET_STRING)
		if !ok || string(oid) != string(idCE(extDistributionPoint)) {
			continue
		}
		var url cryptobyte.String
		ok = value.ReadASN1(&value, casn1.SEQUENCE) && value.ReadASN1(&value, explicit(0)) &&
			value.ReadASN1(&value, explicit(0)) && value.ReadASN1(&url, implicit(6))
		if ok {
			return string(url), nil
		}
	}
	if !ok {
		return "", errors.New("couldn't read a stored revocation list: it is not as this program writes them")
	}
	return "", nil
}

// idCE is the content of the OID of an extension in the arc id-ce.
func idCE(last byte) []byte { return []byte{0x55, 0x1d, last} }

func addExtension(b *cryptobyte.Builder, last byte, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(idCE(last)) })
		if critical {
			b.AddASN1Boolean(true) // DER leaves the default out
		}
		b.AddASN1(casn1.OCTET_STRING, value)
	})
}

func implicit(tag uint8) casn1.Tag { return casn1.Tag(tag).ContextSpecific() }
func explicit(tag uint8) casn1.Tag { return implicit(tag).Constructed() }
