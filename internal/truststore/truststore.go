// Package truststore puts a root certificate into what the programs of this
// machine trust, and takes it out again: the system's store (Debian and its
// kin, Red Hat and its kin, Arch, SUSE), Java's and those of NSS (Firefox,
// Chromium). It promises to do nothing that is done already, and that taking
// out removes what putting in has added, found by the certificate's fingerprint,
// and nothing else. It has the stores' own programs do the work, and does not
// decide whether the root deserves it.
package truststore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// ErrAbsent is wrapped when this machine has no such store.
var ErrAbsent = errors.New("there is none here")

// Host is the machine as the stores need it.
type Host struct {
	Prefix   string // before all of the system's paths; "" for the real ones
	Home     string // of the user whose NSS databases are meant; "" for none
	JavaHome string // "" for the keytool of the path
	// Run runs a program to its end and returns what it wrote.
	Run func(ctx context.Context, name string, args ...string) ([]byte, error)
	// LookPath finds a program, like exec.LookPath.
	LookPath func(name string) (string, error)
}

// Local is this machine, with the home directories that the environment names.
func Local(home, javaHome string) Host {
	return Host{Home: home, JavaHome: javaHome, Run: run, LookPath: exec.LookPath}
}

func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if said := strings.TrimSpace(string(output)); err != nil && said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	if err != nil {
		err = fmt.Errorf("couldn't run %s: %w", name, err)
	}
	return output, err
}

// Store is one place of trust.
type Store interface {
	// Name is what people call it.
	Name() string
	// Install puts the root in; false when it is there already.
	Install(ctx context.Context, root *Root) (changed bool, err error)
	// Uninstall takes it out; false when it is not there.
	Uninstall(ctx context.Context, root *Root) (changed bool, err error)
}

// Root is a root certificate, or only its fingerprint, which is enough to take
// it out.
type Root struct {
	Fingerprint string // SHA-256, 64 lower-case hexadecimal digits
	Certificate *x509.Certificate
}

// NewRoot is the root with a certificate.
func NewRoot(certificate *x509.Certificate) *Root {
	sum := sha256.Sum256(certificate.Raw)
	return &Root{hex.EncodeToString(sum[:]), certificate}
}

// name is what the root is called in every store.
func (r *Root) name() string { return "chancery-" + r.Fingerprint[:16] }

func (r *Root) pem() []byte {
	var text bytes.Buffer
	_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate.Raw}) // a Buffer takes everything
	return text.Bytes()
}

// withFile has the certificate in a file for as long as use runs.
func (r *Root) withFile(use func(path string) error) (err error) {
	file, err := os.CreateTemp("", r.name()+"-*.pem")
	if err != nil {
		return fmt.Errorf("couldn't write the root: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.Write(r.pem())
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("couldn't write the root: %w", err)
	}
	return use(file.Name())
}
