package cli

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/inventory"
)

// queryFlags are the flags that select certificates.
type queryFlags struct {
	query inventory.Query
	keyOf string
	times []timeFlag
}

// timeFlag is a flag that is read when all of them are there.
type timeFlag struct {
	name string
	text *string
	into *time.Time
}

// queryFlagNames lists the flags that queryFlags adds, for whoever needs one of
// them.
const queryFlagNames = "--name, --contains, --issuer, --profile, --account or another"

func (f *queryFlags) add(cmd *cobra.Command) {
	q, flags := &f.query, cmd.Flags()
	flags.StringVar(&q.Name, "name", "", "those with this name, or one that a pattern matches: *.corp (one label more) or **.corp (any depth)")
	flags.StringVar(&q.Contains, "contains", "", "those with this text in a name, three characters at least")
	flags.StringVar(&q.Serial, "serial", "", "those with this serial number")
	flags.StringVar(&q.Fingerprint, "fingerprint", "", "the one with this SHA-256 fingerprint")
	flags.StringVar(&q.KeyHash, "key-hash", "", "those of the public key with this SHA-256")
	flags.StringVar(&f.keyOf, "key-of", "", "those of the key in this file: a certificate, a CSR, a public or a private key, in PEM")
	flags.StringVar(&q.Account, "account", "", "this ACME account's")
	flags.StringVar(&q.Requester, "requester", "", "this requester's; one that ends in : or / stands for all that begin so, as in acme:")
	flags.StringVar(&q.Subject, "subject", "", "those with this subject")
	flags.StringVar(&q.Profile, "profile", "", "those of this profile")
	flags.StringVar(&q.Issuer, "issuer", "", "this issuer's: its id, or a name that only it has")
	flags.StringVar(&q.Service, "service", "", "those of this service: its id, or a name that only it has")
	flags.StringVar(&q.Status, "status", "", "those with this status: valid, expired, revoked or abandoned")
	f.addTime(cmd, "issued-after", "those issued at this time or later: a date, an RFC 3339 time, or a span such as -7d", &q.IssuedAfter)
	f.addTime(cmd, "issued-before", "those issued earlier", &q.IssuedBefore)
	f.addTime(cmd, "expires-after", "those that expire at this time or later", &q.ExpiresAfter)
	f.addTime(cmd, "expires-before", "those that expire before a time: a date, an RFC 3339 time, or a span such as 30d", &q.ExpiresBefore)
	f.addTime(cmd, "revoked-after", "those revoked at this time or later", &q.RevokedAfter)
	f.addTime(cmd, "revoked-before", "those revoked earlier", &q.RevokedBefore)
	statuses := cobra.FixedCompletions([]cobra.Completion{"valid", "expired", "revoked", "abandoned"}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("status", statuses) // fails only for flags there are not
}

func (f *queryFlags) addTime(cmd *cobra.Command, name, usage string, into *time.Time) {
	text := new(string)
	cmd.Flags().StringVar(text, name, "", usage)
	f.times = append(f.times, timeFlag{name, text, into})
}

// resolve completes the query. What only the server can find is resolved by it.
func (f *queryFlags) resolve(now time.Time) (_ inventory.Query, err error) {
	for _, flag := range f.times {
		if *flag.text == "" {
			continue
		}
		if *flag.into, err = parseTime(*flag.text, now); err != nil {
			return f.query, err
		}
	}
	if f.keyOf != "" {
		if f.query.KeyHash != "" {
			return f.query, usagef("give --key-hash or --key-of, not both")
		}
		if f.query.KeyHash, err = keyHashOf(f.keyOf); err != nil {
			return f.query, err
		}
	}
	f.query.Account = idOf(f.query.Account)
	return f.query, nil
}

// findService puts the id of a service in the place of its name.
func findService(ctx context.Context, c *admin.Client, query *inventory.Query) error {
	if id, err := hex.DecodeString(query.Service); query.Service == "" || err == nil && len(id) == 16 {
		return nil
	}
	found, err := c.Service(ctx, query.Service)
	query.Service = found.ID
	return err
}

// keyHashOf is the SHA-256 of the public key that a file is about.
func keyHashOf(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return "", fmt.Errorf("%s has no PEM in it", path)
	}
	public, err := publicKeyOf(block)
	if err != nil {
		return "", fmt.Errorf("couldn't read %s: %w", path, err)
	}
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("couldn't read the key in %s: %w", path, err)
	}
	hash := sha256.Sum256(spki)
	return hex.EncodeToString(hash[:]), nil
}

func publicKeyOf(block *pem.Block) (crypto.PublicKey, error) {
	var private any
	var err error
	switch block.Type {
	case "CERTIFICATE":
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return parsed.PublicKey, nil
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		parsed, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			return nil, err
		}
		return parsed.PublicKey, nil
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block %q has no key that can be read here", block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("this is no key that signs")
	}
	return signer.Public(), nil
}
