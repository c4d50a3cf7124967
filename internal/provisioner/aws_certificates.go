package provisioner

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"

	"chancery/internal/keys"
)

// awsPEM has the RSA-2048 certificates that AWS publishes for the signatures of
// instance identity documents, one a region, under a line that names it.
//
//go:embed aws.pem
var awsPEM []byte

// awsCertificates are those built in and those of the spec, by region. A region
// has one: that of the spec, if there are both.
func (d Deps) awsCertificates(spec Spec) (map[string]*x509.Certificate, error) {
	byRegion, err := parseRegional(awsPEM, "")
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificates of AWS: %w", err)
	}
	only := ""
	if len(spec.Regions) == 1 {
		only = spec.Regions[0]
	}
	var errs []error
	for i, text := range spec.Certificates {
		field := fmt.Sprintf("certificates[%d]", i)
		data, err := d.read(field, text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found, err := parseRegional(data, only)
		if err != nil {
			errs = append(errs, mistake(field, "this can't be used: %v", err))
		}
		maps.Copy(byRegion, found)
	}
	return byRegion, errors.Join(errs...)
}

// parseRegional reads certificates in PEM, each of the region that the last
// comment before it names, or else of that in otherwise.
func parseRegional(data []byte, otherwise string) (map[string]*x509.Certificate, error) {
	found := make(map[string]*x509.Certificate)
	for {
		comment, _, _ := bytes.Cut(data, []byte("-----BEGIN "))
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		region := otherwise
		for line := range strings.Lines(string(comment)) {
			if name, is := strings.CutPrefix(line, "#"); is {
				region = strings.TrimSpace(name)
			}
		}
		certificate, err := parseSigner(block)
		switch {
		case err != nil:
			return nil, err
		case region == "":
			return nil, errors.New(`it doesn't say which region a certificate is of; write "# REGION" on the line before it, or name a single one in regions`)
		case found[region] != nil:
			return nil, fmt.Errorf("it has two certificates of the region %.60q; keep one", region)
		}
		found[region] = certificate
	}
	if len(found) == 0 {
		return nil, errors.New("there is no certificate in it; write PEM")
	}
	return found, nil
}

// parseSigner reads the certificate of a key that signs documents.
func parseSigner(block *pem.Block) (*x509.Certificate, error) {
	if block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("it holds a %.60s; a CERTIFICATE is needed", block.Type)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if _, is := certificate.PublicKey.(*rsa.PublicKey); !is {
		return nil, errors.New("the key of the certificate is no RSA key, with which these documents are signed")
	}
	return certificate, keys.Check(certificate.PublicKey)
}
