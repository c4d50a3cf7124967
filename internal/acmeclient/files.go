package acmeclient

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base32"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"chancery/client"
	"chancery/internal/folder"
)

func encodePEM(chain []*x509.Certificate) []byte {
	var text bytes.Buffer
	for _, certificate := range chain {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}) // a Buffer takes everything
	}
	return text.Bytes()
}

// ReadCertificates reads the certificates of a PEM file, of which there is at
// least one.
func ReadCertificates(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificate: %w", err)
	}
	chain, err := client.ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the certificate %s: %w", path, err)
	}
	return chain, nil
}

// encodeP12 makes PKCS#12 with PBES2 and AES-256, which OpenSSL 1.1.1, Java 12
// and Windows Server 2019 read, and what is newer.
func encodeP12(passwordFile string, key crypto.Signer, chain []*x509.Certificate) ([]byte, error) {
	password, err := ReadPassword(passwordFile)
	if err != nil {
		return nil, err
	}
	content, err := pkcs12.Modern2023.Encode(key, chain[0], chain[1:], password)
	if err != nil {
		return nil, fmt.Errorf("couldn't encode PKCS#12: %w", err)
	}
	return content, nil
}

// ensurePassword makes a password for the PKCS#12 file and keeps it beside it,
// unless there is one, so that renewals have nobody to ask.
func (j *job) ensurePassword(owner *folder.Owner) error {
	if j.record.P12 == "" || j.record.P12PasswordFile != "" {
		return nil
	}
	path := j.record.P12 + ".password"
	j.record.P12PasswordFile = path
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	random := make([]byte, 15)
	if _, err := io.ReadFull(j.Rand, random); err != nil {
		return fmt.Errorf("couldn't make a password: %w", err)
	}
	text := strings.ToLower(base32.StdEncoding.EncodeToString(random))
	return folder.WriteFile(path, []byte(text+"\n"), 0o600, owner)
}

// ReadPassword reads a password from the first line of a file.
func ReadPassword(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("couldn't read the password: %w", err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Scan()
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("couldn't read the password from %s: %w", path, err)
	}
	if lines.Text() == "" {
		return "", fmt.Errorf("couldn't read the password: the first line of %s is empty", path)
	}
	return lines.Text(), nil
}
