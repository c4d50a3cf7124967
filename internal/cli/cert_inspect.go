package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"software.sslmate.com/src/go-pkcs12"

	"chancery/internal/acmeclient"
	"chancery/internal/admin"
	"chancery/internal/folder"
	"chancery/internal/hierarchy"
	"chancery/internal/serial"
)

// inspectFlags are what "cert inspect" is told.
type inspectFlags struct {
	root         string
	passwordFile string
	asJSON       bool
}

// handshakeTimeout is how long "cert inspect" waits for a server.
const handshakeTimeout = 10 * time.Second

func newCertInspect(a *app) *cobra.Command {
	f := &inspectFlags{}
	cmd := &cobra.Command{
		Use:   "inspect FILE|SERIAL|HOST:PORT",
		Short: "Show a certificate: from a file, from this CA, or from a server",
		Long: `Show what is in a certificate. A FILE may be PEM, with a chain, DER or PKCS#12,
and a certificate signing request too. A SERIAL is looked up in the CA in --dir.
From HOST:PORT the certificate of a TLS server is fetched.`,
		Args: args(1, "FILE, SERIAL or HOST:PORT"),
		RunE: func(cmd *cobra.Command, given []string) error {
			view, err := f.look(cmd.Context(), a, given[0])
			if err != nil {
				return err
			}
			if f.asJSON {
				return printJSON(a.Out, view)
			}
			return view.print(a.Out, time.Now())
		},
	}
	cmd.Flags().StringVar(&f.root, "root", "", "file with the root certificate that a server must chain to (default: the system's, and that of --dir)")
	cmd.Flags().StringVar(&f.passwordFile, "p12-password-file", "", "file whose first line is the password of a PKCS#12 file (default: FILE.password)")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// look finds out what is meant: a file that exists, an address, or a serial
// number.
func (f *inspectFlags) look(ctx context.Context, a *app, what string) (*certView, error) {
	if info, err := os.Stat(what); err == nil {
		if info.IsDir() {
			what = filepath.Join(what, folder.FullchainFile)
		}
		return f.lookAtFile(what)
	}
	if host, port, err := net.SplitHostPort(what); err == nil && isPort(port) {
		return f.lookAtServer(ctx, a, host, what)
	}
	if _, err := serial.Parse(what); err == nil {
		return lookAtSerial(ctx, a, what)
	}
	return nil, withHint(fmt.Errorf("there is no file %s, and it is neither a serial number nor HOST:PORT", what),
		"a server is named with its port, as in ca.corp.example:9443")
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

func lookAtSerial(ctx context.Context, a *app, number string) (view *certView, err error) {
	err = a.withClient(ctx, func(c *admin.Client) error {
		found, err := c.Certificate(ctx, number)
		if err != nil {
			return err
		}
		block, _ := pem.Decode([]byte(found.PEM))
		if block == nil {
			return fmt.Errorf("the certificate %s is %s: it was never given out", found.Serial, found.Status)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("couldn't read the certificate from the store: %w", err)
		}
		view = viewX509(certificate)
		view.Profile, view.Status, view.Reason = found.Profile, found.Status, found.Reason
		if found.RevokedAt != nil {
			view.RevokedAt = *found.RevokedAt
		}
		return nil
	})
	return view, err
}

// maxInspected is the size in octets of the largest file that is looked at.
const maxInspected = 4 << 20

func (f *inspectFlags) lookAtFile(path string) (*certView, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificate: %w", err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxInspected))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificate: %w", err)
	}
	var view *certView
	if block, _ := pem.Decode(content); block != nil {
		view, err = lookAtPEM(content)
	} else {
		view, err = f.lookAtDER(content, path)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	return view, nil
}

func lookAtPEM(content []byte) (*certView, error) {
	var chain []*x509.Certificate
	other := ""
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE", "TRUSTED CERTIFICATE", "X509 CERTIFICATE":
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, err
			}
			chain = append(chain, certificate)
		case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			request, err := x509.ParseCertificateRequest(block.Bytes)
			if err != nil {
				return nil, err
			}
			return viewRequest(request), nil
		default:
			other = block.Type
		}
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("it holds no certificate, but a block of type %s", other)
	}
	return viewChain(chain), nil
}

func viewChain(chain []*x509.Certificate) *certView {
	view := viewX509(chain[0])
	for _, above := range chain[1:] {
		view.Chain = append(view.Chain, viewX509(above))
	}
	return view
}

func (f *inspectFlags) lookAtDER(content []byte, path string) (*certView, error) {
	if chain, err := x509.ParseCertificates(content); err == nil && len(chain) > 0 {
		return viewChain(chain), nil
	}
	if request, err := x509.ParseCertificateRequest(content); err == nil {
		return viewRequest(request), nil
	}
	password, err := f.password(path)
	if err != nil {
		return nil, err
	}
	_, leaf, above, err := pkcs12.DecodeChain(content, password)
	if err == nil {
		return viewChain(append([]*x509.Certificate{leaf}, above...)), nil
	}
	if trusted, trustErr := pkcs12.DecodeTrustStore(content, password); trustErr == nil && len(trusted) > 0 {
		return viewChain(trusted), nil
	}
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, withHint(err, "give a file with the password with --p12-password-file")
	}
	return nil, fmt.Errorf("it is neither PEM nor DER nor PKCS#12: %w", err)
}

// password is that of a PKCS#12 file; "" when there is none to be found.
func (f *inspectFlags) password(path string) (string, error) {
	if f.passwordFile != "" {
		return acmeclient.ReadPassword(f.passwordFile)
	}
	beside := path + ".password"
	if _, err := os.Stat(beside); err != nil {
		return "", nil //nolint:nilerr // it may need none
	}
	return acmeclient.ReadPassword(beside)
}

func (f *inspectFlags) lookAtServer(ctx context.Context, a *app, host, address string) (*certView, error) {
	roots, err := f.roots(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{
		ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, //nolint:gosec // whatever is there is to be shown; it is verified below
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("couldn't fetch the certificate of %s: %w", address, err)
	}
	defer func() { _ = conn.Close() }()
	state := conn.(*tls.Conn).ConnectionState()
	view := viewChain(state.PeerCertificates)
	view.TLS = &tlsView{
		Address: conn.RemoteAddr().String(), Version: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite),
	}
	if err := verify(state.PeerCertificates, roots, host); err != nil {
		view.TLS.Reason = err.Error()
	} else {
		view.TLS.Trusted = true
	}
	return view, nil
}

func verify(chain []*x509.Certificate, roots *x509.CertPool, host string) error {
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: intermediates})
	return err
}

// roots are the trust anchors for a server's certificate.
func (f *inspectFlags) roots(a *app) (*x509.CertPool, error) {
	if f.root != "" {
		anchors, err := acmeclient.ReadCertificates(f.root)
		pool := x509.NewCertPool()
		for _, anchor := range anchors {
			pool.AddCert(anchor)
		}
		return pool, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if c, err := a.config(); err == nil {
		if text, err := os.ReadFile(filepath.Join(c.Dir, hierarchy.RootFile)); err == nil {
			pool.AppendCertsFromPEM(text)
		}
	}
	return pool, nil
}
