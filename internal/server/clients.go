package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"chancery/internal/failure"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// clientCertificate is the certificate that the client of a connection shows:
// one that this CA issued, in whatever generation, and that is good now. Errors
// are failures of kind Unauthorized that say which check failed. What the
// certificate may be used for is not looked at.
func (s *Server) clientCertificate(r *http.Request) (store.Certificate, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return store.Certificate{}, notClient("the connection shows no client certificate; connect with one that this CA issued, and its key")
	}
	leaf := r.TLS.PeerCertificates[0]
	id, err := s.issuerOf(leaf)
	if err != nil {
		return store.Certificate{}, err
	}
	number, ok := serial.FromBig(leaf.SerialNumber)
	if !ok {
		return store.Certificate{}, notClient("the client certificate's serial number is none of this CA's")
	}
	found, err := s.store.Certificate(r.Context(), store.CertificateKey{IssuerID: id, Serial: number})
	if errors.Is(err, store.ErrNotFound) || err == nil && !slices.Equal(found.DER, leaf.Raw) {
		return store.Certificate{}, notClient("the client certificate %s is not in the inventory of this CA", number)
	}
	if err != nil {
		return store.Certificate{}, failure.Wrap("read client certificate", err)
	}
	now := s.now()
	if now.Before(found.NotBefore) {
		return store.Certificate{}, notClient("the client certificate %s is good from %s on", number, found.NotBefore.Format(time.RFC3339))
	}
	if status := found.Status(now); status != store.CertificateGood {
		return store.Certificate{}, notClient("the client certificate %s is %s", number, status)
	}
	return found, nil
}

// issuerOf is the id of the issuer, of this CA, whose key has signed a
// certificate.
func (s *Server) issuerOf(leaf *x509.Certificate) (string, error) {
	id := store.IssuerID(leaf.AuthorityKeyId)
	for _, known := range s.issuers.Load().all {
		if known.ID != id {
			continue
		}
		issuer, err := x509.ParseCertificate(known.Chain[0])
		if err != nil {
			return "", failure.Wrap("read issuer", err)
		}
		if err := leaf.CheckSignatureFrom(issuer); err != nil {
			return "", notClient("the client certificate is not signed by the issuer that it names").Because(err)
		}
		return id, nil
	}
	return "", notClient("the client certificate is not from this CA")
}

func notClient(format string, args ...any) *failure.Error {
	return failure.New(failure.Unauthorized, format, args...)
}

// adminCertificate is clientCertificate for who administers the CA: the
// certificate must be one for clients.
func (s *Server) adminCertificate(r *http.Request) (store.Certificate, error) {
	found, err := s.clientCertificate(r)
	if err == nil && !isForClients(r.TLS.PeerCertificates[0]) {
		return store.Certificate{}, notClient("the client certificate %s is not for clients: its extended key usages lack clientAuth", found.Serial)
	}
	return found, err
}

// isForClients reports whether extended key usages allow it (RFC 5280 §4.2.1.12).
func isForClients(c *x509.Certificate) bool {
	none := len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0
	return none || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// askClients makes a TLS configuration ask clients for certificates of the
// issuers there are at the time: so browsers that have none such ask nobody to
// choose, and clients that have one send it, whatever generation it is of.
func (s *Server) askClients(base *tls.Config) *tls.Config {
	type asking struct {
		of     *issuers
		config *tls.Config
	}
	var current atomic.Pointer[asking]
	base.ClientAuth = tls.RequestClientCert // what comes is checked by clientCertificate
	asked := base.Clone()
	asked.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		known, now := current.Load(), s.issuers.Load()
		if known == nil || known.of != now {
			known = &asking{now, base.Clone()}
			known.config.ClientCAs = now.authorities()
			current.Store(known)
		}
		return known.config, nil
	}
	return asked
}

// authorities are all issuers and what is above them.
func (i *issuers) authorities() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, known := range i.all {
		for _, der := range known.Chain {
			if authority, err := x509.ParseCertificate(der); err == nil {
				pool.AddCert(authority)
			}
		}
	}
	return pool
}
