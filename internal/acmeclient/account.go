package acmeclient

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"chancery/internal/folder"
	"chancery/internal/keys"
)

const accountKeyType = "P-256"

// errNoAccount is wrapped when an existing account is needed and there is none.
var errNoAccount = errors.New("there is no account at this server")

// account returns the account at the server, and creates it when there is none.
// It always asks: a CA that was set up anew has forgotten the account, and
// registering a key again is harmless (RFC 8555 §7.3.1).
func (c *Client) account(ctx context.Context) (acme.Account, error) {
	dir, err := c.accountDir(ctx)
	if err != nil {
		return acme.Account{}, err
	}
	key, err := c.accountKey(dir)
	if err != nil {
		return acme.Account{}, err
	}
	account := acme.Account{PrivateKey: key, TermsOfServiceAgreed: c.AcceptTerms}
	if c.EAB != nil {
		if err := account.SetExternalAccountBinding(ctx, c.acme, *c.EAB); err != nil {
			return account, explain("use the key for external account binding", err)
		}
	}
	account, err = c.acme.NewAccount(ctx, account)
	if err != nil {
		return account, explain("create an account", err)
	}
	if account.Status != acme.StatusValid {
		return account, &Error{op: "use the account " + account.Location, err: fmt.Errorf("it is %s", account.Status),
			hint: "remove " + dir + " to begin with a new account"}
	}
	return account, noteAccount(dir, c.acme.Directory, account.Location)
}

// existingAccount returns the account at the server. The error wraps
// errNoAccount when there is none.
func (c *Client) existingAccount(ctx context.Context) (acme.Account, error) {
	dir, err := c.accountDir(ctx)
	if err != nil {
		return acme.Account{}, err
	}
	key, err := keys.ReadFile(filepath.Join(dir, accountKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return acme.Account{}, errNoAccount
	} else if err != nil {
		return acme.Account{}, err
	}
	account, err := c.acme.GetAccount(ctx, acme.Account{PrivateKey: key})
	if isProblem(err, acme.ProblemTypeAccountDoesNotExist) {
		return account, errNoAccount
	}
	return account, explain("look up the account", err)
}

// accountDir is where the account is kept. It is named after the server, for
// people, and the newAccount URL, because one host can have several servers,
// and one server several directories.
func (c *Client) accountDir(ctx context.Context) (string, error) {
	directory, err := c.directory(ctx)
	if err != nil {
		return "", err
	}
	host := "server"
	if u, err := url.Parse(directory.NewAccount); err == nil && u.Host != "" {
		host = strings.NewReplacer(":", "_", "[", "", "]", "").Replace(u.Host)
	}
	hash := sha256.Sum256([]byte(directory.NewAccount))
	return filepath.Join(c.Accounts, host+"-"+hex.EncodeToString(hash[:4])), nil
}

const accountKeyFile = "key.pem"

// accountKey reads the account's key, or makes it.
func (c *Client) accountKey(dir string) (crypto.Signer, error) {
	path := filepath.Join(dir, accountKeyFile)
	key, err := keys.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't keep the account's key: %w", err)
	}
	key, err = keys.Generate(c.Rand, accountKeyType)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the account's key: %w", err)
	}
	if err := keys.WriteFile(path, key); errors.Is(err, fs.ErrExist) {
		return keys.ReadFile(path) // another process was first
	} else if err != nil {
		return nil, err
	}
	return key, nil
}

// noteAccount says, for people, whose key lies in dir.
func noteAccount(dir, server, location string) error {
	note, err := json.MarshalIndent(map[string]string{"server": server, "account": location}, "", "  ")
	if err != nil {
		return fmt.Errorf("couldn't encode account.json: %w", err)
	}
	return folder.WriteFile(filepath.Join(dir, "account.json"), append(note, '\n'), 0o600, nil)
}
