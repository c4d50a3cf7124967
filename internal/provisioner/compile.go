package provisioner

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"chancery/internal/duration"
	"chancery/internal/expr"
)

// Deps is what provisioners are made of.
type Deps struct {
	Now func() time.Time
	// Client makes what fetches keys and asks other servers: no proxies, every
	// request bounded in time. It trusts roots, or what the system trusts when
	// they are nil.
	Client func(roots *x509.CertPool) *http.Client
	// Dir is what relative paths start from; "" where files can't be named.
	Dir string
	// Audiences are the URLs that tokens may be made out for.
	Audiences func() []string
	// Sleep waits, and returns an error when the context ends before; nil for
	// time's own way.
	Sleep func(ctx context.Context, length time.Duration) error

	inputs hash.Hash // of all that was read; of one Compile
}

// FieldError is a mistake in one field of a Spec: "keys[0]". Field is "" when
// it is the whole. It wraps fs.ErrNotExist when a file is missing.
type FieldError struct {
	Field, Problem string
	err            error
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Unwrap returns what caused it, if that tells more.
func (e *FieldError) Unwrap() error { return e.err }

func mistake(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// constructor makes what verifies the tokens of the provisioner of that name.
// Its error joins FieldErrors.
type constructor func(name string, spec Spec, deps Deps) (Verifier, error)

// constructors are the types there are.
func constructors() map[string]constructor {
	return map[string]constructor{
		"aws":        newAWS,
		"azure":      newAzure,
		"gcp":        newGCP,
		"jwk":        newJWK,
		"kubernetes": newKubernetes,
		"oidc":       newOIDC,
		"x5c":        newX5C,
	}
}

// Types are the types that there are, sorted.
func Types() []string { return slices.Sorted(maps.Keys(constructors())) }

// defaultSkew is how far clocks may be apart.
const defaultSkew = duration.Duration(time.Minute)

// Compile checks a spec and makes it ready. The error joins *FieldErrors, one
// for each mistake. It reads the files that the spec names, and fetches
// nothing.
func Compile(name string, spec Spec, deps Deps) (*Provisioner, error) {
	construct := constructors()[spec.Type]
	if construct == nil {
		return nil, errors.Join(mistake("type", "there is no type %q; write %s", spec.Type, strings.Join(Types(), ", ")))
	}
	if !namePattern.MatchString(name) {
		return nil, errors.Join(mistake("", "%.60q is no name for a provisioner; write letters, digits, dots, hyphens and underscores, 60 at most", name))
	}
	if err := checkFields(spec); err != nil {
		return nil, err
	}
	deps.inputs = sha256.New()
	if err := json.NewEncoder(deps.inputs).Encode(spec); err != nil {
		return nil, err
	}
	if spec.Skew == 0 {
		spec.Skew = defaultSkew
	}
	verifier, err := construct(name, spec, deps)
	names, nameErr := compileNames(spec.Names)
	if err := errors.Join(err, nameErr, checkProfiles(spec.Profiles)); err != nil {
		return nil, err
	}
	p := &Provisioner{Name: name, Spec: spec, verifier: verifier, names: names, now: deps.Now}
	deps.inputs.Sum(p.inputs[:0])
	return p, nil
}

// namePattern leaves out the slash, which ends the name where requesters are
// written.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$`)

// checkFields refuses what does not belong to the type.
func checkFields(spec Spec) error {
	var errs []error
	value := reflect.ValueOf(spec)
	for i := range value.NumField() {
		field := value.Type().Field(i)
		types, limited := field.Tag.Lookup("of")
		if limited && !value.Field(i).IsZero() && !slices.Contains(strings.Split(types, ","), spec.Type) {
			errs = append(errs, mistake(field.Tag.Get("yaml"), "this belongs to provisioners of the type %s; leave it out here", strings.ReplaceAll(types, ",", ", ")))
		}
	}
	return errors.Join(errs...)
}

func checkProfiles(profiles []string) error {
	for i, name := range profiles {
		if slices.Contains(profiles[:i], name) {
			return mistake(fmt.Sprintf("profiles[%d]", i), "%s is there twice; keep one", name)
		}
	}
	return nil
}

// read returns what a field holds: the text itself when it is PEM or JSON, or
// the file that it names.
func (d Deps) read(field, text string) ([]byte, error) {
	const largest = 1 << 20
	if isContent(text) {
		return []byte(text), nil
	}
	if d.Dir == "" {
		return nil, mistake(field, "write the PEM or JSON text here, not a file's name")
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(d.Dir, text)
	}
	info, err := os.Stat(text)
	if err == nil && info.Size() > largest {
		return nil, mistake(field, "%s has more than %d octets", text, largest)
	}
	data, err := os.ReadFile(text)
	if err != nil {
		return nil, &FieldError{field, fmt.Sprintf("the file can't be read: %v", err), err}
	}
	if d.inputs != nil {
		d.inputs.Write(data)
	}
	return data, nil
}

// client is what asks the servers that the spec names.
func (d Deps) client(spec Spec) (*http.Client, error) {
	if spec.Root == "" {
		return d.Client(nil), nil
	}
	pool := x509.NewCertPool()
	if err := d.addRoots(pool, "root", spec.Root); err != nil {
		return nil, err
	}
	return d.Client(pool), nil
}

// addRoots adds the certificates in a file to a pool.
func (d Deps) addRoots(pool *x509.CertPool, field, text string) error {
	data, err := d.read(field, text)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(data) {
		return mistake(field, "there is no certificate in it; write PEM")
	}
	return nil
}

// nameMaker gives names: those written, or those of an expression.
type nameMaker struct {
	literal string
	program *expr.Program
}
