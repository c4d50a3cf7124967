package hierarchy

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"chancery/internal/keys"
)

// located is a certificate and the file it came from, for errors.
type located struct {
	*x509.Certificate
	file string
}

func (c located) String() string { return fmt.Sprintf("%q in %s", c.Subject.CommonName, c.file) }

func certificates(chain []located) []*x509.Certificate {
	certs := make([]*x509.Certificate, len(chain))
	for i, c := range chain {
		certs[i] = c.Certificate
	}
	return certs
}

// readCertificates reads all certificates of a PEM file; there is at least one.
func readCertificates(path string) ([]located, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var certs []located
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in %s: %w", len(certs)+1, path, err)
		}
		certs = append(certs, located{cert, path})
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM form; convert it with: openssl x509 -in FILE -out NEW", path)
	}
	return certs, nil
}

// readRoot reads the self-signed certificate of a file.
func readRoot(path string) (located, error) {
	certs, err := readCertificates(path)
	if err != nil {
		return located{}, err
	}
	if i := slices.IndexFunc(certs, isRoot); i >= 0 {
		return certs[i], nil
	}
	return located{}, fmt.Errorf("%v is signed by %q, so it is no root; give the self-signed certificate at the top of the chain", certs[0], certs[0].Issuer.CommonName)
}

func isRoot(c located) bool { return isSignedBy(c, c) }

// isSignedBy reports whether one certificate names the other as its issuer and
// is signed by its key. Signatures with broken algorithms, which nobody can
// rely on, count as made; checkChain refuses them where they matter.
func isSignedBy(child, parent located) bool {
	if !bytes.Equal(child.RawIssuer, parent.RawSubject) {
		return false
	}
	err := parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature)
	_, insecure := errors.AsType[x509.InsecureAlgorithmError](err)
	return err == nil || insecure
}

// arrange finds the certificate of the issuing key and follows its issuers to
// the root. The chain it returns begins with the issuing certificate and is
// without the root.
func arrange(certs []located, root located, pub crypto.PublicKey) ([]located, error) {
	issuing := slices.IndexFunc(certs, func(c located) bool { return isKeyOf(c, pub) })
	switch {
	case isKeyOf(root, pub):
		return nil, fmt.Errorf("the key is that of the root %v; this CA issues from an intermediate: run chancery init --csr-out FILE and sign the request with the root", root)
	case issuing < 0:
		return nil, fmt.Errorf("the key does not belong to %v; give the key that the certificate was made for", certs[0])
	}
	chain := []located{certs[issuing]}
	for top := certs[issuing]; !isSignedBy(top, root); top = chain[len(chain)-1] {
		next := slices.IndexFunc(certs, func(c located) bool { return isSignedBy(top, c) && !slices.Contains(chain, c) })
		if next < 0 || isRoot(certs[next]) {
			return nil, fmt.Errorf("%v is not signed by the root %v but by %q; give the root that belongs to it, and all certificates between them", top, root, top.Issuer.CommonName)
		}
		chain = append(chain, certs[next])
	}
	return chain, nil
}

func isKeyOf(c located, pub crypto.PublicKey) bool {
	return keys.Equal(c.PublicKey, pub)
}

// checkChain checks all that does not change with time and that arrange has
// not checked. The chain begins with the issuing certificate and is without
// the root.
func checkChain(chain []located, root located) error {
	if !isRoot(root) {
		return fmt.Errorf("%v is not self-signed, so it is no root", root)
	}
	for i, c := range append(slices.Clone(chain), root) {
		if err := checkCA(c, i); err != nil {
			return err
		}
	}
	// Nobody verifies the signature of the root itself.
	for i, c := range chain {
		parent := root
		if i+1 < len(chain) {
			parent = chain[i+1]
		}
		if err := checkLink(c, parent); err != nil {
			return err
		}
	}
	return nil
}

// checkCA checks a certificate above the given number of other CAs.
func checkCA(c located, below int) error {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return fmt.Errorf("%v is no CA certificate (it lacks basicConstraints CA:TRUE); give the certificate of a CA", c)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%v may not sign certificates (its keyUsage lacks keyCertSign); have it issued anew with that usage", c)
	case (c.MaxPathLen > 0 || c.MaxPathLenZero) && c.MaxPathLen < below:
		return fmt.Errorf("%v allows only %d CAs below it (pathLenConstraint) and there are %d; have it issued anew without that limit", c, c.MaxPathLen, below)
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("%v has the critical extension %v, which is not supported", c, c.UnhandledCriticalExtensions[0])
	}
	if err := keys.Check(c.PublicKey); err != nil {
		return fmt.Errorf("the key of %v is unfit: %w", c, err)
	}
	return nil
}

// checkLink checks the way from a certificate to its issuer.
func checkLink(child, parent located) error {
	err := child.CheckSignatureFrom(parent.Certificate)
	if _, insecure := errors.AsType[x509.InsecureAlgorithmError](err); insecure {
		return fmt.Errorf("%v is signed with %v, which is broken; have it issued anew with SHA-256", child, child.SignatureAlgorithm)
	}
	if err != nil {
		return fmt.Errorf("the signature of %v on %v does not verify: %w", parent, child, err)
	}
	if len(child.AuthorityKeyId) > 0 && len(parent.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId) {
		return fmt.Errorf("%v names another key of its issuer than %v has (authorityKeyIdentifier); give the issuer's certificate with that key identifier", child, parent)
	}
	return nil
}

func checkTime(cert *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the CA certificate %q is not valid before %s; is the clock right?", cert.Subject.CommonName, cert.NotBefore.Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return fmt.Errorf("the CA certificate %q expired on %s; renew it", cert.Subject.CommonName, cert.NotAfter.Format(time.RFC3339))
	default:
		return nil
	}
}
