package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/duration"
	"chancery/internal/hierarchy"
	"chancery/internal/keys"
	"chancery/internal/revocation"
	"chancery/internal/serial"
	"chancery/internal/store"
)

func newRootGroup(a *app) *cobra.Command {
	return newGroup("root", "Use the root's key", newRootCRL(a))
}

// rootListFlags are the flags of "root crl".
type rootListFlags struct {
	revoke                                []string
	reason, lifetime, rootKey, passphrase string
	asJSON                                bool
}

func newRootCRL(a *app) *cobra.Command {
	var f rootListFlags
	cmd := &cobra.Command{
		Use:   "crl",
		Short: "Sign a new revocation list with the root's key",
		Long: `Sign a new revocation list with the root's key: what the one before it lists, and
the intermediates to be revoked, by their files or serial numbers. A running
server serves it at once.

Servers that check the whole chain refuse every client when this list has ended;
"chancery init" and "chancery issuer rotate" sign one too.`,
		Example: `  chancery root crl
  chancery root crl --root-key /mnt/usb/root.key --root-passphrase-file /mnt/usb/passphrase
  chancery root crl --revoke issuers/mesh/0001/certificate.pem --reason superseded`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.signRootList(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.revoke, "revoke", nil, "certificate file or serial number of an intermediate to revoke, may be repeated")
	flags.StringVar(&f.reason, "reason", "unspecified", "why, by name or number in RFC 5280")
	flags.StringVar(&f.lifetime, "lifetime", "", "how long the list is good, as in 90d (default 1y)")
	flags.StringVar(&f.rootKey, "root-key", "", "file of the root's key (default root.key in the directory)")
	flags.StringVar(&f.passphrase, "root-passphrase-file", "", "file with the passphrase of the root's key")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

// rootListView is a revocation list of the root for scripts.
type rootListView struct {
	File       string    `json:"file"`
	Path       string    `json:"path"` // of the URL, on both listeners
	Number     string    `json:"number"`
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
	Revoked    []string  `json:"revoked"` // serial numbers
}

func (a *app) signRootList(ctx context.Context, f rootListFlags) error {
	c, err := a.offlineConfig()
	if err != nil {
		return err
	}
	options, err := f.options(c)
	if err != nil {
		return err
	}
	if options.Passphrase, err = a.rootPassphrase(c, f.passphrase); err != nil {
		return err
	}
	var list *x509.RevocationList
	err = inIssuers(c.Dir, func() (err error) { list, err = hierarchy.SignRootList(options); return err })
	switch {
	case errors.Is(err, keys.ErrPassphrase):
		return withHint(err, "give the passphrase of the root's key with --root-passphrase-file")
	case errors.Is(err, fs.ErrNotExist):
		return withHint(err, "name the file of the root's key with --root-key")
	case err != nil:
		return err
	}
	if err := a.reloadIfServing(ctx); err != nil {
		return withHint(fmt.Errorf("the new list is there, but the running server does not serve it yet: %w", err), "put that right, then run: chancery reload")
	}
	return a.showRootList(rootListView{
		File:   filepath.Join(c.Dir, hierarchy.RootListFile),
		Path:   revocation.ListURL("", store.IssuerID(list.AuthorityKeyId), 0),
		Number: list.Number.String(), ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, Revoked: serialsOf(list),
	}, f.asJSON)
}

// options are the flags as package hierarchy takes them.
func (f *rootListFlags) options(c *config.Config) (options hierarchy.RootListOptions, err error) {
	options.Dir = c.Dir
	if f.lifetime != "" {
		lifetime, err := duration.Parse(f.lifetime)
		if err != nil || lifetime <= 0 {
			return options, usagef("--lifetime: write it like 90d")
		}
		options.Lifetime = lifetime.Std()
	}
	if f.rootKey != "" {
		if options.RootKey, err = filepath.Abs(f.rootKey); err != nil {
			return options, err
		}
	}
	reason, err := parseRootReason(f.reason)
	if err != nil {
		return options, &usageError{err: err}
	}
	for _, what := range f.revoke {
		number, err := signedByRoot(c.Dir, what)
		if err != nil {
			return options, err
		}
		options.Revoke = append(options.Revoke, x509.RevocationListEntry{
			SerialNumber: number, RevocationTime: time.Now().UTC().Truncate(time.Second), ReasonCode: reason,
		})
	}
	return options, nil
}

// parseRootReason reads a reason for an intermediate: those of leaves, and that
// its key was stolen.
func parseRootReason(text string) (int, error) {
	const cACompromise = 2
	if text == "2" || strings.EqualFold(strings.ReplaceAll(text, "-", ""), "cACompromise") {
		return cACompromise, nil
	}
	return admin.ParseReason(text)
}

// signedByRoot is the serial number that a file or a text stands for.
func signedByRoot(dir, what string) (*big.Int, error) {
	if _, err := os.Stat(what); err == nil {
		return hierarchy.SignedBy(dir, what)
	}
	number, err := serial.Parse(what)
	if err != nil {
		return nil, usagef("there is no file %s, and it is no serial number", what)
	}
	return number.Big(), nil
}

func serialsOf(list *x509.RevocationList) []string {
	serials := []string{}
	for _, entry := range list.RevokedCertificateEntries {
		if number, ok := serial.FromBig(entry.SerialNumber); ok {
			serials = append(serials, number.String())
		}
	}
	return serials
}

func (a *app) showRootList(view rootListView, asJSON bool) error {
	if asJSON {
		return printJSON(a.Out, view)
	}
	return printFields(a.Out,
		"Revocation list", view.File,
		"Served at", view.Path,
		"Number", view.Number,
		"Good until", when(view.NextUpdate),
		"Revoked", listed(view.Revoked),
	)
}

// rootListURL is where relying parties will find the root's revocation list; nil
// when leaves don't say either where theirs is. One that checks the whole chain
// refuses leaves with lists below an intermediate without.
func rootListURL(c *config.Config) hierarchy.RootListURL {
	if c.HTTPURL == "" {
		return nil
	}
	return func(subjectKeyID []byte) string {
		return revocation.ListURL(c.HTTPURL, store.IssuerID(subjectKeyID), 0)
	}
}
