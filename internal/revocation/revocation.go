// Package revocation tells relying parties which certificates are revoked: by
// revocation lists (RFC 5280 §5) that are cut into partitions, and by OCSP
// (RFC 6960, in the profile of RFC 5019, with the nonces of RFC 9654).
//
// It promises that a revocation is in the list of its partition within
// seconds, however many certificates there are; that the list a certificate
// points to exists before the certificate does; that numbers of lists only
// grow, also when a backup was restored; that a serial which was never issued
// is never called good; and that what it serves is whole, also while it is
// replaced.
//
// It revokes nothing and decides nothing: it says what the store says. The
// root's own list is made where the root's key is, in package hierarchy.
package revocation

import (
	"context"
	"crypto/x509"
	"strconv"
	"strings"
	"time"
)

// Issuer is what signs lists, and answers when there is nobody it can delegate
// that to. All methods may be called by any number of goroutines.
type Issuer interface {
	ID() string
	Certificate() *x509.Certificate
	// Algorithm is the DER AlgorithmIdentifier of its signatures.
	Algorithm() []byte
	// SignRevocationList signs a TBSCertList of the issuer's and returns the
	// DER of the whole list.
	SignRevocationList(ctx context.Context, tbs []byte) ([]byte, error)
	// SignOCSP returns the signature over the ResponseData of an OCSP answer.
	SignOCSP(ctx context.Context, responseData []byte) ([]byte, error)
}

// Settings are what can change while the server runs.
type Settings struct {
	BaseURL      string        // of the plain HTTP listener, without a path; "" when certificates are to name none
	ListSize     int           // how many certificates share a list
	ListLifetime time.Duration // from thisUpdate to nextUpdate, at most
	FullList     bool          // whether there is a list of each issuer's certificates altogether
	OCSPLifetime time.Duration // from thisUpdate to nextUpdate
}

const (
	// backdate is for clocks that are late: to them a list made now is not yet
	// valid.
	backdate = time.Minute
	// maxAge bounds how long HTTP caches keep what may say by then that a
	// certificate is good that is not: nextUpdate, which is hours away, would
	// let them hide a revocation as long. What has not changed costs them a 304.
	maxAge = time.Minute
	// checkAfter is how long this node trusts what it remembers of the store,
	// which other nodes change too.
	checkAfter = 2 * time.Second
)

// The paths below the base URL.
const (
	OCSPPath   = "/ocsp"
	listPath   = "/crl/"
	issuerPath = "/ca/"
	listEnd    = ".crl"
	issuerEnd  = ".cer"
)

// ListURL is where a list is: that of a partition, or with 0 the issuer's full
// one, which for a root is its only one.
func ListURL(base, issuerID string, partition int64) string {
	if partition == 0 {
		return base + listPath + issuerID + listEnd
	}
	return base + listPath + issuerID + "/" + strconv.FormatInt(partition, 10) + listEnd
}

// IssuerURL is where the DER of an issuer's certificate is.
func IssuerURL(base, issuerID string) string { return base + issuerPath + issuerID + issuerEnd }

// ParseListPath reads the path of a ListURL.
func ParseListPath(path string) (issuerID string, partition int64, ok bool) {
	name, ok := strings.CutPrefix(path, listPath)
	if name, ok = cutBoth(name, listEnd, ok); !ok {
		return "", 0, false
	}
	issuerID, number, inPartition := strings.Cut(name, "/")
	if !inPartition {
		return issuerID, 0, issuerID != ""
	}
	partition, err := strconv.ParseInt(number, 10, 64)
	return issuerID, partition, err == nil && partition > 0 && strconv.FormatInt(partition, 10) == number
}

// ParseIssuerPath reads the path of an IssuerURL.
func ParseIssuerPath(path string) (issuerID string, ok bool) {
	name, ok := strings.CutPrefix(path, issuerPath)
	issuerID, ok = cutBoth(name, issuerEnd, ok)
	return issuerID, ok && issuerID != ""
}

func cutBoth(text, suffix string, ok bool) (string, bool) {
	text, found := strings.CutSuffix(text, suffix)
	return text, ok && found
}
