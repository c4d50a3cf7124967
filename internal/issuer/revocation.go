package issuer

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/x509der"
)

// SignRevocationList signs exactly the TBSCertList (RFC 5280 §5.1), which must
// be one of this issuer's, and returns the DER of the list.
func (l *Local) SignRevocationList(ctx context.Context, tbs []byte) ([]byte, error) {
	if !l.isCertList(tbs) {
		return nil, fmt.Errorf("couldn't sign a revocation list of the issuer %q: the bytes are no TBSCertList of it", l.chain[0].Subject)
	}
	signature, err := l.sign(ctx, l.digest(tbs))
	if err != nil {
		return nil, fmt.Errorf("couldn't sign a revocation list of the issuer %q: %w", l.chain[0].Subject, err)
	}
	return x509der.Assemble(tbs, l.alg, signature), nil
}

// isCertList looks at the beginning. A TBSCertificate of version 1 begins in
// the same way, but has no Time after its issuer.
func (l *Local) isCertList(tbs cryptobyte.String) bool {
	var version int64
	var algorithm, name cryptobyte.String
	return tbs.ReadASN1(&tbs, casn1.SEQUENCE) && tbs.ReadASN1Integer(&version) && version == 1 &&
		tbs.ReadASN1Element(&algorithm, casn1.SEQUENCE) && bytes.Equal(algorithm, l.alg) &&
		tbs.ReadASN1Element(&name, casn1.SEQUENCE) && bytes.Equal(name, l.chain[0].RawSubject) &&
		(tbs.PeekASN1Tag(casn1.UTCTime) || tbs.PeekASN1Tag(casn1.GeneralizedTime))
}

// SignOCSP returns the signature over exactly the ResponseData (RFC 6960
// §4.2.1), in which the responder must be named by its key.
func (l *Local) SignOCSP(ctx context.Context, responseData []byte) ([]byte, error) {
	if !isResponseData(responseData) {
		return nil, fmt.Errorf("couldn't sign an OCSP answer as the issuer %q: the bytes are no ResponseData", l.chain[0].Subject)
	}
	signature, err := l.sign(ctx, l.digest(responseData))
	if err != nil {
		return nil, fmt.Errorf("couldn't sign an OCSP answer as the issuer %q: %w", l.chain[0].Subject, err)
	}
	return signature, nil
}

// isResponseData looks at the beginning: no TBSCertificate and no TBSCertList
// begins with a responder that is named by its key.
func isResponseData(data cryptobyte.String) bool {
	byKey := casn1.Tag(2).ContextSpecific().Constructed()
	return data.ReadASN1(&data, casn1.SEQUENCE) && data.SkipASN1(byKey) && data.SkipASN1(casn1.GeneralizedTime)
}
