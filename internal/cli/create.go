package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/store/sqlite"
)

// passphraseFile holds a generated passphrase of the root's key until somebody
// moves it away.
const passphraseFile = "root-passphrase.txt"

// inLockedDir makes the directory of a CA, if there is none, and runs make
// while no other process uses it.
func inLockedDir(dir string, run func() error) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("couldn't make the directory: %w", err)
	}
	lock, err := sqlite.LockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return run()
}

const storePath = "store.path"

// planConfig returns what writes chancery.yaml, to be called once there is a
// CA. A file that is there already is kept, unless flags say something else
// and, when ask is set, the person at the terminal agrees to replace it.
func (a *app) planConfig(c *config.Config, ask bool) (write func() error, err error) {
	path := filepath.Join(c.Dir, config.FileName)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return func() error { return config.Write(path, wasSet(c)) }, nil
	}
	if !ask || len(a.set) == 0 {
		return func() error { return nil }, nil
	}
	agreed, err := a.confirm(path + " exists; replace it?")
	if err == nil && !agreed {
		err = withHint(fmt.Errorf("%s stays as it is, and nothing was created", path), "leave out the settings to create a CA with it")
	}
	return func() error {
		if err := os.Rename(path, path+".old"); err != nil {
			return fmt.Errorf("couldn't keep the old configuration: %w", err)
		}
		fmt.Fprintf(a.Err, "the old configuration is now %s.old\n", path)
		return config.Write(path, wasSet(c))
	}, err
}

// wasSet lists what was set on the command line and in the environment, as
// --set has it.
func wasSet(c *config.Config) []string {
	var set []string
	for _, setting := range c.Settings() {
		if setting.Source != "--set" && !strings.HasPrefix(setting.Source, "environment ") {
			continue
		}
		if setting.Key == storePath { // relative to the directory where it is read again
			if within, err := filepath.Rel(c.Dir, setting.Value); err == nil {
				setting.Value = within
			}
		}
		set = append(set, setting.Key+"="+setting.Value)
	}
	return set
}

// confirm asks a person a question. Where there is none to ask, the answer is
// an error.
func (a *app) confirm(question string) (bool, error) {
	if !isTerminal(a.In) || !isTerminal(a.Err) {
		return false, withHint(fmt.Errorf("%s there is no terminal to ask at", question),
			"move the file away, or leave out what would replace it")
	}
	fmt.Fprintf(a.Err, "%s [y/N] ", question)
	var answer string
	_, _ = fmt.Fscanln(a.In, &answer) // an empty line is an error, and means no
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), nil
}

// passphraseSource says where the passphrase of a new root's key comes from.
type passphraseSource struct {
	file string // its first line; "" for none
	ask  bool   // a person, if there is one
}

// passphrase returns the passphrase for a new root's key, and the path of the
// file it was generated into, if it was.
func (a *app) passphrase(dir string, from passphraseSource) (passphrase []byte, generated string, err error) {
	if from.file != "" {
		passphrase, err = readPassphrase(from.file)
		return passphrase, "", err
	}
	if from.ask && isTerminal(a.In) && isTerminal(a.Err) {
		if passphrase, err = a.askPassphrase(); err != nil || passphrase != nil {
			return passphrase, "", err
		}
	}
	path, err := filepath.Abs(filepath.Join(dir, passphraseFile))
	if err != nil {
		return nil, "", err
	}
	if passphrase, err := readPassphrase(path); err == nil {
		return passphrase, path, nil // an earlier attempt was interrupted
	}
	text, err := hierarchy.GeneratePassphrase(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	if err := keys.WriteNew(path, []byte(text+"\n"), 0o600); err != nil {
		return nil, "", fmt.Errorf("couldn't keep the generated passphrase: %w", err)
	}
	return []byte(text), path, nil
}

// tellPassphrase says where a generated passphrase is; "" for none.
func (a *app) tellPassphrase(path string) {
	if path != "" {
		fmt.Fprintf(a.Out, "\nThe passphrase of the root's key was generated into\n  %s\nMove it, and %s, to a safe place away from this machine: serving needs neither.\n", path, hierarchy.RootKeyFile)
	}
}

func readPassphrase(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the root's passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return nil, fmt.Errorf("couldn't read the root's passphrase: the first line of %s is empty", path)
	}
	return []byte(line), nil
}

// askPassphrase asks a person, twice. An empty answer is nil: generate one.
func (a *app) askPassphrase() ([]byte, error) {
	fd := int(a.In.(*os.File).Fd())
	fmt.Fprint(a.Err, "Passphrase for the root's key (empty to have one generated): ")
	first, err := term.ReadPassword(fd)
	fmt.Fprintln(a.Err)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	fmt.Fprint(a.Err, "Once more: ")
	second, err := term.ReadPassword(fd)
	fmt.Fprintln(a.Err)
	if err == nil && string(first) != string(second) {
		err = errors.New("the two passphrases differ")
	}
	return first, err
}

// checkFree refuses a directory with a CA in it, or a part of one, before
// anything is asked or written.
func checkFree(dir string) error {
	_, err := hierarchy.Load(dir)
	switch {
	case err == nil:
		return fmt.Errorf("couldn't create a CA in %s: %w", dir, hierarchy.ErrExists)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

// createAuthority makes a new root and intermediate, with the configuration
// that was set. It returns the path of the passphrase's file when that was
// generated.
func (a *app) createAuthority(c *config.Config, permit []string, pathLength int, from passphraseSource) (generated string, err error) {
	err = inLockedDir(c.Dir, func() error {
		if err := checkFree(c.Dir); err != nil {
			return err
		}
		writeConfig, err := a.planConfig(c, from.ask)
		if err != nil {
			return err
		}
		passphrase, path, err := a.passphrase(c.Dir, from)
		if err != nil {
			return err
		}
		generated = path
		_, err = hierarchy.Create(hierarchy.Options{
			Dir: c.Dir, Permit: withOwnNames(permit, c), Passphrase: passphrase, RootListURL: rootListURL(c), PathLength: pathLength,
		})
		if err != nil {
			return err
		}
		return writeConfig()
	})
	return generated, err
}

// withOwnNames adds the server's own names to what a root permits: without
// them the CA could not certify its own HTTPS server.
func withOwnNames(permit []string, c *config.Config) []string {
	if len(permit) == 0 {
		return nil // no constraints at all
	}
	for _, name := range c.ServerNames() {
		if !slices.ContainsFunc(permit, func(subtree string) bool { return covers(subtree, name) }) {
			permit = append(permit, name.Value)
		}
	}
	return permit
}

// covers reports whether a domain or network of --permit holds name.
func covers(subtree string, name identifier.Identifier) bool {
	if name.Type == identifier.IP {
		network, err := netip.ParsePrefix(subtree)
		return err == nil && network.Contains(name.Addr())
	}
	domain := strings.ToLower(strings.TrimPrefix(subtree, "."))
	return name.Value == domain || strings.HasSuffix(name.Value, "."+domain)
}
