package hierarchy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"chancery/internal/keys"
)

// CreateRequest makes the intermediate's key and a certificate signing request
// for a root outside, writes both to the directory and returns the request as
// PEM. It asks for a CA with the options' path length. Lifetimes, constraints and
// passphrase in the options are not used: they are the root's business. The
// error wraps ErrExists if any file of a CA is there already.
func CreateRequest(options Options) ([]byte, error) {
	o := options.withDefaults()
	if err := establish(o.Dir, o.buildRequest); err != nil {
		return nil, fmt.Errorf("couldn't create the request: %w", err)
	}
	return os.ReadFile(filepath.Join(o.Dir, RequestFile))
}

func (o Options) buildRequest() ([]file, error) {
	if len(o.Permit) > 0 {
		return nil, errors.New("name constraints are for the outside root to set; leave them out")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	subject, _, key, err := o.subjectFor("Intermediate CA", nil)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{Subject: subject, ExtraExtensions: requestedExtensions(o.PathLength)}
	der, err := x509.CreateCertificateRequest(o.Rand, template, key)
	if err != nil {
		return nil, err
	}
	plain, err := keys.Marshal(key)
	if err != nil {
		return nil, err
	}
	request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return []file{{KeyFile, plain, keyPerm}, {RequestFile, request, certificatePerm}}, nil
}

// requestedExtensions ask for what Create gives its own intermediate: critical
// basicConstraints with CA:TRUE and a path length, and critical keyUsage with
// digitalSignature, keyCertSign and cRLSign (RFC 5280 §4.2.1.9 and §4.2.1.3).
func requestedExtensions(pathLength int) []pkix.Extension {
	return []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, byte(pathLength)}},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte{0x03, 0x02, 0x01, 0x86}},
	}
}

// AcceptOptions name the answer to a request.
type AcceptOptions struct {
	Dir              string
	IntermediateFile string // the certificate for the waiting key, others of its chain, perhaps the root
	RootFile         string // holds the self-signed certificate; empty when IntermediateFile does
	Check            Check
	Now              func() time.Time
}

// AcceptIntermediate completes what CreateRequest began, with the same checks
// as Adopt.
func AcceptIntermediate(options AcceptOptions) (*Hierarchy, error) {
	if err := options.accept(); err != nil {
		return nil, fmt.Errorf("couldn't accept the intermediate certificate: %w", err)
	}
	return Load(options.Dir)
}

func (o AcceptOptions) accept() error {
	if err := checkVacant(o.Dir, RootFile, RootKeyFile, IntermediateFile); err != nil {
		return err
	}
	keyFile := filepath.Join(o.Dir, KeyFile)
	if !exists(keyFile) {
		return fmt.Errorf("no request waits for it in %s; run: chancery init --dir %[1]s --csr-out FILE", o.Dir)
	}
	key, err := keys.ReadFile(keyFile)
	if err != nil {
		return err
	}
	certs, err := readCertificates(o.IntermediateFile)
	if err != nil {
		return err
	}
	root, err := o.root(certs)
	if err != nil {
		return err
	}
	files, err := chainFiles(certs, root, key.Public(), o.Check, o.Now)
	if err != nil {
		return err
	}
	if err := install(o.Dir, files); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(o.Dir, RequestFile))
}

func (o AcceptOptions) root(certs []located) (located, error) {
	if o.RootFile != "" {
		return readRoot(o.RootFile)
	}
	if i := slices.IndexFunc(certs, isRoot); i >= 0 {
		return certs[i], nil
	}
	return located{}, fmt.Errorf("%s holds no self-signed root; give it with --root FILE", o.IntermediateFile)
}
