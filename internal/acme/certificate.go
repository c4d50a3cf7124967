package acme

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// chains are the forms in which a certificate is served, by what its URL ends
// with: its issuer's chain without the root, for relying parties have that;
// the same with the root, for clients that want it; and those that other
// certificates of the issuer's key give.
func chains(issuer *store.Issuer) map[string][][]byte {
	forms := map[string][][]byte{
		"":  issuer.Chain[:max(1, len(issuer.Chain)-1)],
		"1": issuer.Chain,
	}
	for i, alternate := range issuer.Alternates {
		forms[strconv.Itoa(i+2)] = alternate
	}
	return forms
}

// readCertificate serves a certificate and its chain (RFC 8555 §7.4.2).
func (d *Door) readCertificate(ctx context.Context, r *request) (*response, error) {
	number, err := serial.Parse(r.PathValue("serial"))
	if err != nil {
		return nil, failure.Wrap("read certificate", store.ErrNotFound)
	}
	key := store.CertificateKey{IssuerID: r.PathValue("issuer"), Serial: number}
	der, err := d.certificateOf(ctx, r.account.ID, key)
	if err != nil {
		return nil, failure.Wrap("read certificate", err)
	}
	issuer, err := d.issuers.get(ctx, key.IssuerID)
	if err != nil {
		return nil, failure.Wrap("read issuer", err)
	}
	forms, form := chains(&issuer), r.PathValue("form")
	if forms[form] == nil {
		return nil, notFound("there is no chain %.20q of this certificate", form)
	}
	resp := &response{contentType: "application/pem-certificate-chain", body: encodeChain(der, forms[form]), header: http.Header{}}
	delete(forms, form)
	for _, other := range slices.Sorted(maps.Keys(forms)) {
		resp.link(strings.TrimSuffix(r.url("cert", key.IssuerID, number.String(), other), "/"), "alternate")
	}
	return resp, nil
}

// certificateOf returns the DER of an account's certificate, or ErrNotFound.
func (d *Door) certificateOf(ctx context.Context, accountID string, key store.CertificateKey) ([]byte, error) {
	if known, ok := d.issued.get(key); ok && known.accountID == accountID {
		return known.der, nil
	}
	found, err := d.deps.Store.Certificate(ctx, key)
	if err == nil && (found.AccountID != accountID || found.Abandoned) {
		err = store.ErrNotFound
	}
	return found.DER, err
}

// encodeChain is the leaf and its chain as strict PEM (RFC 8555 §9.1).
func encodeChain(leaf []byte, chain [][]byte) []byte {
	var buffer bytes.Buffer
	for _, der := range append([][]byte{leaf}, chain...) {
		_ = pem.Encode(&buffer, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes all
	}
	return buffer.Bytes()
}

// revocationReasons are the CRLReasons of RFC 5280 §5.3.1 that may be given.
// The others are not for subscribers: of CAs, holds, and deltas.
var revocationReasons = []int{0, 1, 3, 4, 5, 9}

// revokeCertificate serves RFC 8555 §7.6. Three may revoke: the account that
// was issued the certificate, one that has proven all its names, and whoever
// has its key.
func (d *Door) revokeCertificate(ctx context.Context, r *request) (*response, error) {
	if err := d.open(ctx, r); err != nil {
		return nil, err
	}
	var wanted struct {
		Certificate string `json:"certificate"`
		Reason      int    `json:"reason"`
	}
	if err := r.decode(&wanted); err != nil {
		return nil, err
	}
	found, err := d.findByDER(ctx, wanted.Certificate)
	if err != nil {
		return nil, err
	}
	if err := d.mayRevoke(ctx, r, found); err != nil {
		return nil, err
	}
	if !slices.Contains(revocationReasons, wanted.Reason) {
		return nil, newProblem(badRevocationReason, "the reason %d is not accepted; these are: %v", wanted.Reason, revocationReasons)
	}
	err = d.deps.Store.Revoke(ctx, found.CertificateKey, store.Revocation{At: d.deps.Now(), Reason: wanted.Reason})
	if errors.Is(err, store.ErrRevoked) {
		return nil, newProblem(alreadyRevoked, "the certificate is already revoked").because(err)
	}
	if err != nil {
		return nil, failure.Wrap("revoke certificate", err)
	}
	by := "certificate key"
	if r.account != nil {
		by = "acme:" + r.account.ID
	}
	d.deps.Auditor.Audit(ctx, "certificate.revoked", slog.String("requester", by), slog.String("serial", found.Serial.String()),
		slog.String("issuer", found.IssuerID), slog.Int("reason", wanted.Reason))
	return &response{header: http.Header{}}, nil
}

// findByDER returns the record of a certificate that a client sent.
func (d *Door) findByDER(ctx context.Context, text string) (*store.Certificate, error) {
	der, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, newProblem(malformed, "\"certificate\" is not unpadded base64url")
	}
	sent, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, newProblem(malformed, "\"certificate\" is no DER certificate: %s", err)
	}
	number, ok := serial.FromBig(sent.SerialNumber)
	if !ok {
		return nil, notFound("this CA did not issue the certificate")
	}
	found, err := d.deps.Store.Certificate(ctx, store.CertificateKey{IssuerID: store.IssuerID(sent.AuthorityKeyId), Serial: number})
	if errors.Is(err, store.ErrNotFound) || err == nil && !bytes.Equal(found.DER, der) {
		return nil, notFound("this CA did not issue the certificate")
	}
	return &found, failure.Wrap("read certificate", err)
}

func (d *Door) mayRevoke(ctx context.Context, r *request, found *store.Certificate) error {
	if r.account == nil {
		parsed, err := x509.ParseCertificate(found.DER)
		if err != nil {
			return failure.Wrap("read stored certificate", err)
		}
		if !keys.Equal(parsed.PublicKey, r.jws.JWK.Public) {
			return newProblem(unauthorized, "the request is signed neither by an account nor by the certificate's key")
		}
		return nil
	}
	if r.account.ID == found.AccountID {
		return nil
	}
	names := identifier.Normalize(slices.Clone(found.Identifiers))
	proven, err := d.deps.Store.ValidAuthorizations(ctx, r.account.ID, names, d.deps.Now())
	if err != nil {
		return failure.Wrap("look for proofs", err)
	}
	if len(names) == 0 || len(proven) < len(names) {
		return newProblem(unauthorized, "the certificate is another account's, and this one has not proven all its names")
	}
	return nil
}
