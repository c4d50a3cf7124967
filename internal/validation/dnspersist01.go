package validation

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"chancery/internal/failure"
)

// maxAncestors bounds how far up a record for all subdomains is looked for.
const maxAncestors = 8

// dnspersist01 looks for a standing record that names this CA and the account
// (draft-ietf-acme-dns-persist). A record of the name itself counts, and one
// with policy=wildcard of the names above it, nearest first.
func (a *attempt) dnspersist01(ctx context.Context) *failure.Error {
	var first *failure.Error
	domain := a.name()
	for range maxAncestors {
		err := a.persistRecord(ctx, domain)
		if err == nil {
			return nil
		}
		if first == nil || first.Kind == failure.DNS && err.Kind != failure.DNS {
			first = err
		}
		_, parent, more := strings.Cut(domain, ".")
		if !more || ctx.Err() != nil || err.Kind == failure.DNS && !errors.Is(err, errNoName) {
			break
		}
		domain = parent
	}
	return first
}

// PersistName is where the dns-persist-01 records of a domain stand.
func PersistName(domain string) string { return "_validation-persist." + domain }

// PersistAccountURI is the account URI that a dns-persist-01 record carries
// since draft -02: prefix is the directory's accountHashPrefix, domain the
// name the record is for, or "*" for any.
func PersistAccountURI(prefix, domain, thumbprint, accountURL string) string {
	input := append([]byte{byte(len(domain))}, domain...)
	digest := sha256.Sum256(append(append(input, thumbprint...), accountURL...))
	return prefix + "sha-256/" + base64.RawURLEncoding.EncodeToString(digest[:])
}

// persistRecord passes when one of the records of domain does.
func (a *attempt) persistRecord(ctx context.Context, domain string) *failure.Error {
	owner := PersistName(domain)
	values, err := a.txt(ctx, owner)
	if err != nil {
		return err
	}
	kind, why := failure.Unauthorized, ""
	for _, value := range values {
		until, problem := a.judgePersist(domain, value)
		a.log.add(Step{Action: "compare", Name: owner, Found: strconv.Quote(clip(value, maxAnswer)), Outcome: outcomeOf(problem)})
		if problem == nil {
			a.validUntil = until
			return nil
		}
		if errors.Is(problem, errBadRecord) {
			kind = failure.Malformed
		}
		why = problem.Error()
	}
	switch len(values) {
	case 0:
		return failure.New(failure.Unauthorized, "%s has no TXT record; expected %s", owner, a.persistExpected(domain))
	case 1:
		return failure.New(kind, "the TXT record of %s does not count: %s; expected %s", owner, why, a.persistExpected(domain))
	default:
		return failure.New(kind, "none of the %d TXT records of %s counts, the last because %s; expected %s",
			len(values), owner, why, a.persistExpected(domain))
	}
}

func outcomeOf(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// persistExpected is a record that would do.
func (a *attempt) persistExpected(domain string) string {
	issuer := "ISSUER"
	if len(a.config.PersistIssuers) > 0 {
		issuer = a.config.PersistIssuers[0]
	}
	text := issuer + "; accounturi=" + clip(a.AccountURL, maxText)
	if a.Wildcard || domain != a.name() {
		text += "; policy=wildcard"
	}
	return strconv.Quote(text)
}

// errBadRecord is wrapped by what judgePersist says of a record for this CA
// that can't be read.
var errBadRecord = errors.New("it is malformed")

// judgePersist says whether one record of domain proves control of the name
// asked for, and until when (zero: for ever).
func (a *attempt) judgePersist(domain, value string) (until time.Time, _ error) {
	record, err := parseIssueValue(value)
	if err != nil {
		return until, fmt.Errorf("%w: %w", errBadRecord, err)
	}
	if !record.names(a.config.PersistIssuers) {
		return until, errors.New("it names another issuer")
	}
	for _, p := range record.parameters {
		if _, times := record.get(p.tag); times > 1 {
			return until, fmt.Errorf("%w: it has %.40s more than once", errBadRecord, p.tag)
		}
	}
	account, _ := record.get("accounturi")
	policy, _ := record.get("policy")
	if until, err = persistUntil(record); err != nil {
		return until, err
	}
	switch {
	case account == "":
		return until, fmt.Errorf("%w: it has no accounturi", errBadRecord)
	case !a.isPersistAccount(domain, account):
		return until, errors.New("its accounturi is not this account's")
	case !until.IsZero() && a.config.Now().After(until):
		return until, fmt.Errorf("it ended at %s (persistUntil)", until.Format(time.RFC3339))
	case strings.EqualFold(policy, "wildcard"):
		return until, nil
	case a.Wildcard:
		return until, errors.New("it has no policy=wildcard, which a wildcard needs")
	case domain != a.name():
		return until, errors.New("it has no policy=wildcard, which a name below its own needs")
	}
	return until, nil
}

func persistUntil(record issueValue) (time.Time, error) {
	text, times := record.get("persistuntil")
	if times == 0 {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 40) // until the year 36812
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: its persistUntil is no number of seconds since 1970", errBadRecord)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// isPersistAccount accepts the account's URL (drafts -00 and -01) and the
// hashed form (-02) made with any key the account has or had.
func (a *attempt) isPersistAccount(domain, uri string) bool {
	if uri == a.AccountURL {
		return true
	}
	prefix := a.config.PersistHashPrefix
	if prefix == "" || !strings.HasPrefix(uri, prefix) {
		return false
	}
	for _, thumbprint := range append([]string{a.Thumbprint}, a.PastThumbprints...) {
		if uri == PersistAccountURI(prefix, domain, thumbprint, a.AccountURL) ||
			uri == PersistAccountURI(prefix, "*", thumbprint, a.AccountURL) {
			return true
		}
	}
	return false
}
