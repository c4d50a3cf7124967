package acmeclient

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"chancery/client"
	"chancery/internal/folder"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/renewal"
)

// maxToken is the size in octets that no token exceeds.
const maxToken = 64 << 10

// ReadToken reads a token, of which there is one.
func ReadToken(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("couldn't read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	switch {
	case len(text) > maxToken:
		return "", fmt.Errorf("couldn't read the token: it has more than %d octets", maxToken)
	case token == "":
		return "", errors.New("couldn't read the token: there is none")
	case strings.ContainsAny(token, " \t\r\n"):
		return "", errors.New("couldn't read the token: there is more than one word")
	}
	return token, nil
}

// ReadTokenFile reads a token from a file.
func ReadTokenFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("couldn't read the token: %w", err)
	}
	defer func() { _ = file.Close() }()
	return ReadToken(file)
}

// NamesIn are the names that a token of "chancery token" vouches for, as
// ParseNames reads them; nil for tokens that do not say. Only the server can
// tell whether that is true.
func NamesIn(token string) []string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Names []string `json:"sans"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return nil
	}
	return claims.Names
}

func (j *job) tokenClient() (*client.Client, error) {
	roots, err := readRoots(j.record.Root)
	if err != nil {
		return nil, err
	}
	return &client.Client{Server: j.record.Server, Roots: roots, UserAgent: j.UserAgent}, nil
}

func (j *job) tokenWindow(ctx context.Context) (renewal.Window, error) {
	c, err := j.tokenClient()
	if err != nil {
		return renewal.Window{}, err
	}
	defer c.CloseIdleConnections()
	window, err := c.Renewal(ctx, j.old[0])
	return renewal.Window(window), err
}

// byToken gets the certificate by the token door: the first with a token, later
// ones with the one before, or else with the token in a file, if there is one.
func (j *job) byToken(ctx context.Context, key crypto.Signer) ([]*x509.Certificate, error) {
	c, err := j.tokenClient()
	if err != nil {
		return nil, err
	}
	defer c.CloseIdleConnections()
	if j.old == nil {
		return j.issueByToken(ctx, c, key, j.agreed.Token)
	}
	chain, err := j.renewByItself(ctx, c, key)
	if j.record.TokenFile == "" || !isRefused(err) {
		return chain, err
	}
	j.report(Event{State: Warning, Text: plain(err) + "; getting another one with the token in " + j.record.TokenFile})
	return j.issueByToken(ctx, c, key, func(context.Context) (string, error) { return ReadTokenFile(j.record.TokenFile) })
}

func (j *job) issueByToken(ctx context.Context, c *client.Client, key crypto.Signer, get func(context.Context) (string, error)) ([]*x509.Certificate, error) {
	token, err := get(ctx)
	if err != nil {
		return nil, err
	}
	issued, err := c.Issue(ctx, client.Request{Token: token, Provisioner: j.record.Provisioner, Key: key, Profile: j.record.Profile})
	if err != nil {
		return nil, Explain(err)
	}
	return issued.Chain, nil
}

// errEnded is wrapped when a certificate is no proof any more.
var errEnded = errors.New("the certificate has ended")

// renewByItself renews the certificate, for another key, with its own.
func (j *job) renewByItself(ctx context.Context, c *client.Client, key crypto.Signer) ([]*x509.Certificate, error) {
	const op, again = "renew the certificate", "get another with \"chancery cert issue --token\""
	if !j.Now().Before(j.old[0].NotAfter) {
		return nil, &Error{op: op, err: errEnded, hint: again}
	}
	path := j.record.Key
	if path == "" {
		path = j.folder.File(folder.KeyFile)
	}
	own, err := keys.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !keys.Equal(own.Public(), j.old[0].PublicKey) {
		return nil, &Error{op: op, err: fmt.Errorf("%s is not its key", filepath.Base(path)), hint: again}
	}
	renewed, err := c.Renew(ctx, &client.Certificate{Chain: j.old, Key: own}, key)
	if isRefused(err) {
		return nil, &Error{op: op, err: err, hint: again}
	}
	if err != nil {
		return nil, Explain(err)
	}
	return renewed.Chain, nil
}

// isRefused reports whether a certificate cannot be renewed by itself any more.
func isRefused(err error) bool {
	problem, ok := errors.AsType[*client.Problem](err)
	return errors.Is(err, errEnded) || ok && (problem.Status == http.StatusUnauthorized || problem.Status == http.StatusForbidden)
}

// Explain adds a remedy to an error of package client.
func Explain(err error) error {
	failed, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	return &Error{op: failed.Op, err: failed.Err, hint: remedy(failed.Err)}
}

// NamesOf are the names in a certificate.
func NamesOf(c *x509.Certificate) []identifier.Identifier {
	var names []identifier.Identifier
	add := func(typ identifier.Type, value string) {
		names = append(names, identifier.Identifier{Type: typ, Value: value})
	}
	for _, name := range c.DNSNames {
		add(identifier.DNS, name)
	}
	for _, address := range c.IPAddresses {
		add(identifier.IP, address.String())
	}
	for _, address := range c.EmailAddresses {
		add(identifier.Email, address)
	}
	for _, uri := range c.URIs {
		add(identifier.URI, uri.String())
	}
	return names
}
