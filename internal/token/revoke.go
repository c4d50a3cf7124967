package token

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"chancery/internal/failure"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// RevokeRequest asks for the end of a certificate: that of the connection when
// there is no token.
type RevokeRequest struct {
	Serial      string `json:"serial,omitempty" doc:"Hexadecimal digits; or:"`
	Certificate string `json:"certificate,omitempty" doc:"PEM."`
	Reason      string `json:"reason,omitempty" doc:"By its name in RFC 5280 §5.3.1; unspecified without."`
	Token       string `json:"token,omitempty" doc:"One of the provisioner that the certificate was issued for, which stands for all its names."`
	Provisioner string `json:"provisioner,omitempty" doc:"Who vouches for the token, where it does not say so itself."`
}

// Revoked says what was revoked.
type Revoked struct {
	Serial  string    `json:"serial"`
	Revoked time.Time `json:"revoked"`
}

// revoke serves the end of a certificate. Two may ask for it: its holder, and
// who could get one like it.
func (d *Door) revoke(_ http.ResponseWriter, r *http.Request) (any, error) {
	ctx := r.Context()
	var wanted RevokeRequest
	if err := decode(r, &wanted); err != nil {
		return nil, err
	}
	reason, err := d.deps.Reason(wanted.Reason)
	if err != nil {
		return nil, newProblem(badRevocationReason, err.Error())
	}
	var found *store.Certificate
	var by string
	if wanted.Token == "" {
		found, err = d.ownCertificate(r, &wanted)
		by = "certificate key"
	} else {
		found, by, err = d.certificateByToken(ctx, &wanted)
	}
	if err != nil {
		return nil, err
	}
	now := d.deps.Now()
	err = d.deps.Store.Revoke(ctx, found.CertificateKey, store.Revocation{At: now, Reason: reason})
	if errors.Is(err, store.ErrRevoked) {
		return nil, newProblem(alreadyRevoked, "the certificate is already revoked").because(err)
	}
	if err != nil {
		return nil, failure.Wrap("revoke certificate", err)
	}
	d.audit(ctx, "certificate.revoked", slog.String("requester", by), slog.String("serial", found.Serial.String()),
		slog.String("issuer", found.IssuerID), slog.Int("reason", reason))
	return Revoked{found.Serial.String(), now.UTC()}, nil
}

// ownCertificate is the one that the client shows, if that is the one it names.
func (d *Door) ownCertificate(r *http.Request, wanted *RevokeRequest) (*store.Certificate, error) {
	own, err := d.deps.ClientCertificate(r)
	if err != nil {
		return nil, err
	}
	if wanted.Serial == "" && wanted.Certificate == "" {
		return &own, nil
	}
	matches, err := wanted.matches(&own)
	if err == nil && !matches {
		err = newProblem(unauthorized, "the connection's certificate is not the one to revoke; connect with that, or bring a token")
	}
	return &own, err
}

// certificateByToken is the one that is named, if the token's bearer could get
// one like it.
func (d *Door) certificateByToken(ctx context.Context, wanted *RevokeRequest) (*store.Certificate, string, error) {
	by, identity, err := d.verify(ctx, d.config.Load(), wanted.Provisioner, wanted.Token)
	if err != nil {
		return nil, "", err
	}
	found, err := d.find(ctx, wanted)
	if err != nil {
		return nil, "", err
	}
	name, _, ok := requesterOf(found)
	if !ok || name != by.Name || !by.Issued(found.Issued) {
		return nil, "", newProblem(unauthorized, fmt.Sprintf("the certificate was not issued for the provisioner %s", by.Name))
	}
	for _, id := range found.Identifiers {
		if !slices.Contains(identity.Names, id) {
			return nil, "", newProblem(unauthorized, fmt.Sprintf("the certificate has the name %s, which the token does not stand for", id))
		}
	}
	return found, Name + ":" + by.Name + "/" + identity.Subject, nil
}

// find is the certificate that the request names.
func (d *Door) find(ctx context.Context, wanted *RevokeRequest) (*store.Certificate, error) {
	number, err := wanted.number()
	if err != nil {
		return nil, err
	}
	found, err := d.bySerial(ctx, number)
	if err != nil {
		return nil, err
	}
	matches, err := wanted.matches(found)
	if err == nil && !matches {
		err = newProblem(notFound, "this CA did not issue the certificate")
	}
	return found, err
}

// bySerial is the certificate of that serial number. They are unique in
// practice: 120 bits of each are random.
func (d *Door) bySerial(ctx context.Context, number serial.Number) (*store.Certificate, error) {
	list, err := d.deps.Store.ListCertificates(ctx, store.CertificateQuery{Serial: &number, Limit: 2})
	if err != nil {
		return nil, failure.Wrap("find certificate", err)
	}
	if len(list) != 1 || list[0].Abandoned {
		return nil, newProblem(notFound, fmt.Sprintf("there is no certificate with the serial number %s", number))
	}
	return &list[0], nil
}

func (w *RevokeRequest) number() (serial.Number, error) {
	if w.Certificate == "" {
		number, err := serial.Parse(w.Serial)
		if err != nil {
			return number, newProblem(malformed, err.Error())
		}
		return number, nil
	}
	der, err := w.der()
	if err != nil {
		return serial.Number{}, err
	}
	sent, err := x509.ParseCertificate(der)
	if err != nil {
		return serial.Number{}, newProblem(malformed, "the certificate cannot be read").because(err)
	}
	number, ok := serial.FromBig(sent.SerialNumber)
	if !ok {
		return number, newProblem(notFound, "this CA did not issue the certificate")
	}
	return number, nil
}

// matches reports whether a certificate is the one that the request names, by
// all that it says of it.
func (w *RevokeRequest) matches(found *store.Certificate) (bool, error) {
	if w.Serial != "" {
		number, err := serial.Parse(w.Serial)
		if err != nil {
			return false, newProblem(malformed, err.Error())
		}
		if number != found.Serial {
			return false, nil
		}
	}
	if w.Certificate == "" {
		return true, nil
	}
	der, err := w.der()
	return bytes.Equal(der, found.DER), err
}

func (w *RevokeRequest) der() ([]byte, error) {
	block, _ := pem.Decode([]byte(w.Certificate))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, newProblem(malformed, `"certificate" is no PEM of a certificate`)
	}
	return block.Bytes, nil
}
