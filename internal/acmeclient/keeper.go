package acmeclient

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"chancery/internal/folder"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/renewal"
)

// Keeper gets certificates and keeps them in folders.
type Keeper struct {
	UserAgent string
	Report    func(Event) // may be nil
	Now       func() time.Time
	Rand      io.Reader
	Registry  Registry // is told of folders that have got their first certificate; "" for none
}

// Result is what Issue and Renew have done.
type Result struct {
	Dir             string
	Renewed         bool                // false when it was not due
	Due             time.Time           // when it is due
	Chain           []*x509.Certificate // what the folder holds now, leaf first
	Files           []string            // what was written
	P12PasswordFile string              // "" when there is no PKCS#12 file
}

// Agreement is what the first certificate may need and later ones do not. The
// zero value is for an ACME server that asks for nothing.
type Agreement struct {
	EAB         *acme.EAB // external account binding
	AcceptTerms bool
	Token       func(context.Context) (string, error) // gets the token, for the token door
}

// Issue gets a certificate and puts it in dir. A folder that holds something
// else is left as it is: the error wraps ErrOccupied.
func (k *Keeper) Issue(ctx context.Context, dir string, r Record, agreed Agreement) (*Result, error) {
	names, err := r.identifiers()
	if err != nil {
		return nil, err
	}
	if r.Door == "" {
		if err := r.Method.Check(names); err != nil {
			return nil, err
		}
	}
	f, err := folder.Open(dir, true)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkFree(f, r, names); err != nil {
		return nil, err
	}
	j := &job{Keeper: k, folder: f, record: r, names: names, agreed: agreed}
	result, err := j.run(ctx)
	if err != nil {
		return nil, err
	}
	if err := k.Registry.add(dir); err != nil {
		k.report(Event{State: Warning, Text: err.Error()})
	}
	return result, nil
}

func (k *Keeper) report(event Event) {
	if k.Report != nil {
		k.Report(event)
	}
}

// Renew renews the certificate in a folder, when it is due or force is set.
func (k *Keeper) Renew(ctx context.Context, dir string, force bool) (*Result, error) {
	f, err := folder.Open(dir, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	j, err := k.load(f)
	if err != nil {
		return nil, err
	}
	if due, err := j.due(ctx); err != nil && !force {
		return nil, err
	} else if k.Now().Before(due) && !force {
		return &Result{Dir: dir, Due: due, Chain: j.old}, nil
	}
	return j.run(ctx)
}

// load begins the renewal of the certificate in a folder.
func (k *Keeper) load(f *folder.Folder) (*job, error) {
	r, err := ReadRecord(f.Path)
	if err != nil {
		return nil, err
	}
	if r.Door == programDoor {
		return nil, &Error{op: "renew " + f.Path, err: errors.New("a program keeps it"), hint: "it is renewed as long as that program runs"}
	}
	names, err := r.identifiers()
	if err != nil {
		return nil, err
	}
	chain, err := ReadCertificates(f.File(folder.FullchainFile))
	if err != nil {
		return nil, err
	}
	return &job{Keeper: k, folder: f, record: r, names: names, old: chain}, nil
}

// job is one certificate on its way into a folder.
type job struct {
	*Keeper
	folder *folder.Folder
	record Record
	names  []identifier.Identifier
	agreed Agreement
	old    []*x509.Certificate // the one that is renewed and those above it; nil for the first
}

func (j *job) client() (*Client, error) {
	return New(Config{
		Server: j.record.Server, RootFile: j.record.Root, Accounts: j.record.Accounts,
		EAB: j.agreed.EAB, AcceptTerms: j.agreed.AcceptTerms,
		UserAgent: j.UserAgent, Report: j.Report, Rand: j.Rand,
	})
}

// window asks the server when the certificate is to be renewed.
func (j *job) window(ctx context.Context) (renewal.Window, error) {
	if j.record.Door == TokenDoor {
		return j.tokenWindow(ctx)
	}
	client, err := j.client()
	if err != nil {
		return renewal.Window{}, err
	}
	defer client.Close()
	return client.window(ctx, j.old[0])
}

func (j *job) due(ctx context.Context) (time.Time, error) {
	window, err := j.window(ctx)
	return dueIn(ctx, window, err, j.old[0], j.report)
}

// run finds out all that could fail on this side, then gets the certificate and
// writes the files.
func (j *job) run(ctx context.Context) (*Result, error) {
	owner, err := folder.ParseOwner(j.record.Owner)
	if err != nil {
		return nil, err
	}
	if err := checkWritable(j.folder.Path, owner); err != nil {
		return nil, err
	}
	key, isNew, err := j.key()
	if err != nil {
		return nil, err
	}
	if err := j.ensurePassword(owner); err != nil {
		return nil, err
	}
	chain, err := j.obtain(ctx, key)
	if err != nil {
		return nil, err
	}
	if j.record.Door == TokenDoor {
		j.record.Names = FormatNames(NamesOf(chain[0]))
	}
	files, err := j.content(key, isNew, chain)
	if err != nil {
		return nil, err
	}
	return j.write(files, owner, chain)
}

// obtain gets the certificate through the record's door.
func (j *job) obtain(ctx context.Context, key crypto.Signer) ([]*x509.Certificate, error) {
	if j.record.Door == TokenDoor {
		return j.byToken(ctx, key)
	}
	client, err := j.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	request := Request{Names: j.names, Profile: j.record.Profile, Key: key, Method: j.record.Method}
	if j.old != nil {
		request.Replaces = j.old[0]
	}
	return client.Obtain(ctx, request)
}

func checkWritable(dir string, owner *folder.Owner) error {
	err := folder.CheckWritable(dir, owner)
	if err == nil {
		return nil
	}
	failed := &Error{op: "write to " + dir, err: err}
	if owner != nil && errors.Is(err, fs.ErrPermission) {
		failed.hint = "only root can give files to others"
	}
	return failed
}

// key returns the key for the certificate, and whether it is to be written.
func (j *job) key() (key crypto.Signer, isNew bool, err error) {
	switch {
	case j.record.Key != "":
		key, err = keys.ReadFile(j.record.Key)
		if errors.Is(err, fs.ErrNotExist) {
			err = &Error{op: "use the key", err: err, hint: "without --key a new one is made"}
		}
	case j.old != nil && j.record.ReuseKey:
		key, err = keys.ReadFile(j.folder.File(folder.KeyFile))
	default:
		isNew = true
		key, err = keys.Generate(j.Rand, j.record.KeyType)
	}
	if err != nil {
		return nil, false, err
	}
	return key, isNew, keys.Check(key.Public())
}

// content is what will be written, by path or, for the folder's files, by name.
func (j *job) content(key crypto.Signer, isNew bool, chain []*x509.Certificate) (files map[string][]byte, err error) {
	leaf, rest := encodePEM(chain[:1]), encodePEM(chain[1:])
	files = map[string][]byte{folder.CertFile: leaf, folder.ChainFile: rest, folder.FullchainFile: slices.Concat(leaf, rest)}
	if files[folder.RecordFile], err = j.record.encode(); err != nil {
		return nil, err
	}
	if isNew {
		if files[folder.KeyFile], err = keys.Marshal(key); err != nil {
			return nil, fmt.Errorf("couldn't encode the key: %w", err)
		}
	}
	if j.record.P12 != "" {
		if files[j.record.P12], err = encodeP12(j.record.P12PasswordFile, key, chain); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// write puts the PKCS#12 file into place, then the folder's files. The first is
// complete by itself: after a crash between the two the folder is still due,
// and both are written again.
func (j *job) write(files map[string][]byte, owner *folder.Owner, chain []*x509.Certificate) (*Result, error) {
	result := &Result{Dir: j.folder.Path, Renewed: true, Due: renewal.Default(chain[0]).Start, Chain: chain}
	if p12 := j.record.P12; p12 != "" {
		if err := folder.WriteFile(p12, files[p12], 0o600, owner); err != nil {
			return nil, err
		}
		result.Files, result.P12PasswordFile = []string{p12}, j.record.P12PasswordFile
	}
	if j.old != nil {
		if err := j.folder.MarkUntold(); err != nil {
			return nil, err
		}
	}
	if err := j.folder.Replace(files, owner); err != nil {
		return nil, err
	}
	for _, name := range folder.Files {
		if _, written := files[name]; written {
			result.Files = append(result.Files, j.folder.File(name))
		}
	}
	return result, nil
}

// ErrOccupied is wrapped when a folder holds something that would be lost.
var ErrOccupied = errors.New("it holds something else")

// checkFree refuses to replace what is not a certificate for the same names
// that was put there by Issue.
func checkFree(f *folder.Folder, r Record, names []identifier.Identifier) error {
	occupied := func(format string, args ...any) error {
		return &Error{op: "write to " + f.Path, err: fmt.Errorf("%w: %s", ErrOccupied, fmt.Sprintf(format, args...)),
			hint: "choose another directory with --out"}
	}
	if r.Key != "" && f.Has(folder.KeyFile) && !isSameFile(r.Key, f.File(folder.KeyFile)) {
		return occupied("%s is not the key given with --key", folder.KeyFile)
	}
	if !f.Has(folder.RecordFile) {
		for _, name := range folder.Files {
			if f.Has(name) && !(r.Key != "" && name == folder.KeyFile) {
				return occupied("%s was not written by this command", name)
			}
		}
		return nil
	}
	before, err := ReadRecord(f.Path)
	if err != nil {
		return err
	}
	if before.Door != r.Door {
		return occupied("a certificate that was got in another way")
	}
	old, err := before.identifiers()
	if err != nil {
		return err
	}
	if r.Door == TokenDoor && len(names) == 0 { // the token does not say
		return nil
	}
	if !slices.Equal(sorted(old), sorted(names)) {
		return occupied("the certificate of %s", strings.Join(before.Names, ", "))
	}
	return nil
}

func sorted(names []identifier.Identifier) []identifier.Identifier {
	return identifier.Normalize(slices.Clone(names))
}

func isSameFile(a, b string) bool {
	realA, errA := filepath.EvalSymlinks(a)
	realB, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && realA == realB
}
