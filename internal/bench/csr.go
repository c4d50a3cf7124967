package bench

import (
	"crypto/ecdsa"
	"crypto/x509"
	"io"
	"net"

	"chancery/internal/identifier"
)

// newRequest makes a CSR in DER for ids, with an empty subject (RFC 8555 §7.4).
func newRequest(rand io.Reader, key *ecdsa.PrivateKey, ids []identifier.Identifier) ([]byte, error) {
	template := &x509.CertificateRequest{}
	for _, id := range ids {
		if id.Type == identifier.IP {
			template.IPAddresses = append(template.IPAddresses, net.IP(id.Addr().AsSlice()))
		} else {
			template.DNSNames = append(template.DNSNames, id.Value)
		}
	}
	return x509.CreateCertificateRequest(rand, template, key)
}
