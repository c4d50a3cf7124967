// Package csr reads certificate signing requests (PKCS #10, RFC 2986) as all
// doors do: it makes sure that the sender has the private key, and says which
// names are asked for. Whether the sender may have them is not decided here.
package csr

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

// Parse reads a CSR in DER. CheckKey refuses weak keys. Errors are failures of
// kind BadCSR.
func Parse(der []byte, checkKey func(crypto.PublicKey) error) (*x509.CertificateRequest, error) {
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, refused("the CSR cannot be read: %s", err)
	}
	if err := checkKey(request.PublicKey); err != nil {
		return nil, refused("%s", failure.ReportOf(err).Text).Because(err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, refused("the CSR is not signed by the key it carries").Because(err)
	}
	return request, nil
}

// Decode returns the DER of a CSR that is text: PEM, or base64 of DER.
func Decode(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "-----BEGIN") {
		block, rest := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, refused("the CSR's PEM is not one CERTIFICATE REQUEST")
		}
		return block.Bytes, nil
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(der) == 0 {
		return nil, refused("the CSR is neither PEM nor base64 of DER")
	}
	return der, nil
}

// tagOf is the tag of a type in GeneralName (RFC 5280 §4.2.1.6).
func tagOf(typ identifier.Type) casn1.Tag {
	return map[identifier.Type]casn1.Tag{
		identifier.Email: casn1.Tag(1).ContextSpecific(),
		identifier.DNS:   casn1.Tag(2).ContextSpecific(),
		identifier.URI:   casn1.Tag(6).ContextSpecific(),
		identifier.IP:    casn1.Tag(7).ContextSpecific(),
	}[typ]
}

// Names returns the names in subject and SAN, in their normal form, sorted and
// each once. Names of other types than those accepted are refused. Errors are
// failures of kind BadCSR.
func Names(request *x509.CertificateRequest, accepted ...identifier.Type) ([]identifier.Identifier, error) {
	if err := checkTypes(request, accepted); err != nil {
		return nil, err
	}
	var names []identifier.Identifier
	for _, list := range []struct {
		typ    identifier.Type
		values []string
	}{
		{identifier.DNS, request.DNSNames}, {identifier.IP, addresses(request)},
		{identifier.Email, request.EmailAddresses}, {identifier.URI, uris(request)},
	} {
		for _, value := range list.values {
			name, err := identifier.ParseLoose(list.typ, value)
			if err != nil {
				return nil, refused("the CSR has the %s name %.100q: %s", list.typ, value, err)
			}
			names = append(names, name)
		}
	}
	if common := request.Subject.CommonName; common != "" {
		name, err := parseCommonName(common, accepted)
		if err != nil {
			return nil, refused("the CSR has the common name %.100q: %s", common, err)
		}
		names = append(names, name)
	}
	return identifier.Normalize(names), nil
}

func addresses(request *x509.CertificateRequest) []string {
	var texts []string
	for _, address := range request.IPAddresses {
		addr, _ := netip.AddrFromSlice(address)
		texts = append(texts, addr.Unmap().String())
	}
	return texts
}

func uris(request *x509.CertificateRequest) []string {
	var texts []string
	for _, uri := range request.URIs {
		texts = append(texts, uri.String())
	}
	return texts
}

// parseCommonName takes a common name for the name that it reads as.
func parseCommonName(common string, accepted []identifier.Type) (identifier.Identifier, error) {
	for _, typed := range []struct {
		typ  identifier.Type
		sign string
	}{{identifier.URI, "://"}, {identifier.Email, "@"}} {
		if slices.Contains(accepted, typed.typ) && strings.Contains(common, typed.sign) {
			return identifier.Parse(typed.typ, common)
		}
	}
	if name, err := identifier.ParseLoose(identifier.DNS, common); err == nil {
		return name, nil
	}
	return identifier.Guess(common)
}

// checkTypes refuses subject alternative names of types that are not accepted,
// of which crypto/x509 passes over some in silence.
func checkTypes(request *x509.CertificateRequest, accepted []identifier.Type) error {
	for _, extension := range request.Extensions {
		if extension.Id.String() != "2.5.29.17" {
			continue
		}
		input, inner := cryptobyte.String(extension.Value), cryptobyte.String{}
		if !input.ReadASN1(&inner, casn1.SEQUENCE) {
			return refused("the CSR's subject alternative names cannot be read")
		}
		for !inner.Empty() {
			var name cryptobyte.String
			var tag casn1.Tag
			if !inner.ReadAnyASN1(&name, &tag) {
				return refused("the CSR's subject alternative names cannot be read")
			}
			if !slices.ContainsFunc(accepted, func(typ identifier.Type) bool { return tagOf(typ) == tag }) {
				return refused("the CSR has a subject alternative name that is neither of the type %s", typeNames(accepted))
			}
		}
	}
	return nil
}

func typeNames(types []identifier.Type) string {
	names := make([]string, len(types))
	for i, typ := range types {
		names[i] = string(typ)
	}
	return strings.Join(names, " nor ")
}

func refused(format string, args ...any) *failure.Error {
	return failure.New(failure.BadCSR, format, args...)
}
