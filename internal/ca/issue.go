package ca

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/policy"
	"chancery/internal/profile"
	"chancery/internal/serial"
	"chancery/internal/store"
)

const (
	// signingTime bounds a signature and the recording of it. An intent that
	// is older is taken as left over.
	signingTime = 30 * time.Second
	// recordEvery is how often recording is tried while the store cannot write.
	recordEvery = time.Second
)

// Issue walks the whole road and returns the recorded certificate.
//
// Until the intent is stored nothing has happened: the error is a failure the
// door can show, and the owner is unclaimed. After that the claim stays: when
// signing or recording fails the error is of kind Unavailable, and the
// issuance goes on in the background with a new serial until the owner is
// settled one way or the other.
func (a *Authority) Issue(ctx context.Context, req Request) (store.Certificate, error) {
	draft, err := a.prepare(ctx, req, 1)
	if err != nil {
		a.observe(req.Profile, "refused")
		return store.Certificate{}, failure.Wrap("issue certificate", err)
	}
	if err := a.deps.Store.BeginIssuance(ctx, draft.intent); err != nil {
		return store.Certificate{}, failure.Wrap("store intent", err)
	}
	return a.finish(context.WithoutCancel(ctx), draft)
}

// draft is a certificate that could be signed, and what is recorded with it.
type draft struct {
	request Request
	issuer  *signing
	intent  store.Intent
	tbs     profile.TBS
	rule    string
}

// prepare asks policy, builds the certificate by its profile, and lints it.
// It uses no key and changes nothing.
func (a *Authority) prepare(ctx context.Context, req Request, attempt int) (*draft, error) {
	public, err := x509.ParsePKIXPublicKey(req.PublicKey)
	if err != nil {
		return nil, failure.New(failure.BadKey, "the public key cannot be read").Because(err)
	}
	decision, err := a.Decide(ctx, req.question(public))
	if err != nil {
		return nil, err
	}
	shape, err := a.shapeOf(&req)
	if err != nil {
		return nil, err
	}
	issuer, err := a.readyFor(shape, req.IssuerID)
	if err != nil {
		return nil, err
	}
	now := a.deps.Now()
	number, err := serial.New(now, a.deps.Rand)
	if err != nil {
		return nil, err
	}
	if decision.Grant != nil {
		req.Facts.Grant = factsOf(decision.Grant)
	}
	stored, err := json.Marshal(req)
	if err != nil {
		return nil, failure.Wrap("encode request", err)
	}
	if req.Wishes, err = shorten(shape, issuer, req.Wishes, decision, now); err != nil {
		return nil, err
	}
	place, err := a.placeOf(ctx, shape, issuer)
	if err != nil {
		return nil, err
	}
	tbs, err := a.build(shape, issuer, place, req, public, number, now)
	if err != nil {
		return nil, err
	}
	if err := a.checkAdded(ctx, req.question(public), tbs.Names); err != nil {
		return nil, err
	}
	if err := a.deps.Linter.Check(tbs.DER, issuer.shape.Algorithm()); err != nil {
		return nil, failure.Wrap("lint certificate", err)
	}
	return &draft{request: req, issuer: issuer, tbs: tbs, rule: decision.Rule, intent: store.Intent{
		CertificateKey: store.CertificateKey{IssuerID: issuer.ID(), Serial: number},
		Owner:          req.Owner,
		OwnerExpires:   req.OwnerExpires,
		Partition:      place.Partition,
		TBS:            tbs.DER,
		Request:        stored,
		Attempt:        attempt,
		Created:        now,
		Deadline:       now.Add(signingTime),
	}}, nil
}

// shapeOf is the profile that the request asks for.
func (a *Authority) shapeOf(req *Request) (*profile.Profile, error) {
	if own := a.deps.Own[req.Profile]; own != nil && req.Door == policy.SelfDoor {
		return own, nil
	}
	return a.Profile(req.Profile)
}

// placeOf says where relying parties find out about a certificate to come.
func (a *Authority) placeOf(ctx context.Context, shape *profile.Profile, issuer *signing) (Place, error) {
	if a.deps.Places == nil {
		return Place{}, nil
	}
	revocable := !shape.Spec.NoRevocation && a.deps.Own[shape.Name] != shape
	place, err := a.deps.Places.Of(ctx, issuer.ID(), revocable)
	return place, failure.Wrap("assign a revocation list", err)
}

// question is what policy is asked about the request.
func (r *Request) question(public crypto.PublicKey) policy.Question {
	var profiles []string
	if r.Facts.Grant != nil {
		profiles = r.Facts.Grant.Profiles
	}
	return policy.Question{
		Profiles: profiles,
		Door:     r.Door, AccountID: r.AccountID, Provisioner: r.Provisioner, Profile: r.Profile, KeyType: keys.TypeOf(public),
		Identifiers: r.Identifiers, Preauthorized: r.Preauthorized,
	}
}

// shorten brings the certificate's life to what the rules allow: what the
// requester did not ask for is cut, what it did ask for is refused.
func shorten(shape *profile.Profile, issuer *signing, wishes profile.Wishes, decision policy.Decision, now time.Time) (profile.Wishes, error) {
	if decision.MaxValidity == 0 {
		return wishes, nil
	}
	notBefore, notAfter, err := shape.Validity(issuer.shape, wishes, now)
	if err != nil || notAfter.Sub(notBefore) <= decision.MaxValidity {
		return wishes, err
	}
	if !wishes.NotAfter.IsZero() {
		return wishes, failure.New(failure.Malformed, "notAfter %s is too late: policy allows a validity of %s at most (%s)",
			notAfter.Format(time.RFC3339), decision.MaxValidity, decision.Rule)
	}
	wishes.NotBefore, wishes.NotAfter = notBefore, notBefore.Add(decision.MaxValidity)
	return wishes, nil
}

// build fills the profile with the request.
func (a *Authority) build(shape *profile.Profile, issuer *signing, place Place, req Request, public crypto.PublicKey, number serial.Number, now time.Time) (profile.TBS, error) {
	if err := a.deps.CheckKey(public); err != nil {
		return profile.TBS{}, failure.Wrap("check public key", err)
	}
	tbs, err := shape.ToBeSigned(profile.Input{
		Issuer:      issuer.shape,
		Serial:      number,
		Identifiers: req.Identifiers,
		PublicKey:   public,
		SPKI:        req.PublicKey,
		Wishes:      req.Wishes,
		Now:         now,
		Door:        req.Door,
		Facts:       req.Facts,
		CSR:         req.CSR,
		IssuerURL:   place.IssuerURL,
		CRLURL:      place.CRLURL,
		OCSPURL:     place.OCSPURL,
	})
	return tbs, failure.Wrap("build certificate", err)
}

// checkAdded asks policy about the names that nobody asked for, but the profile
// adds.
func (a *Authority) checkAdded(ctx context.Context, q policy.Question, names []identifier.Identifier) error {
	asked := q.Identifiers
	q.Identifiers = slices.DeleteFunc(slices.Clone(names), func(id identifier.Identifier) bool { return slices.Contains(asked, id) })
	if len(q.Identifiers) == 0 {
		return nil
	}
	return failure.Wrap("check the names that the profile adds", a.deps.Policy.DecideAdded(ctx, q))
}

// names are those by which the certificate is found: its own, and those that
// it was asked for and that its profile leaves out.
func (d *draft) names() []identifier.Identifier {
	if slices.Equal(d.tbs.Names, d.request.Identifiers) {
		return d.request.Identifiers
	}
	return identifier.Normalize(slices.Concat(d.request.Identifiers, d.tbs.Names))
}

// finish signs a stored draft and records what came of it.
func (a *Authority) finish(ctx context.Context, d *draft) (store.Certificate, error) {
	a.work.Add(1)
	defer a.work.Done()
	ctx, cancel := context.WithTimeout(ctx, signingTime)
	defer cancel()

	certificate, err := a.sign(ctx, d)
	if err == nil {
		err = a.record(ctx, certificate)
	}
	if err != nil {
		a.observe(d.request.Profile, "failed")
		a.deps.Log.LogAttrs(ctx, slog.LevelError, "couldn't finish an issuance; it goes on with a new serial",
			slog.String("serial", d.intent.Serial.String()), slog.String("owner", d.intent.Owner.ID), slog.Any("error", err))
		a.leave(d.intent)
		return store.Certificate{}, (&failure.Error{
			Op: "sign certificate", Kind: failure.Unavailable, Err: err, RetryAfter: settleEvery,
			Public: whatBecomes(d.intent.Owner.Kind),
		})
	}
	a.observe(d.request.Profile, "issued")
	a.deps.Auditor.Audit(ctx, "certificate.issued",
		slog.String("serial", certificate.Serial.String()), slog.String("issuer", certificate.IssuerID),
		slog.String("requester", certificate.Requester), slog.String("profile", certificate.Profile),
		slog.Any("names", certificate.Identifiers), slog.Time("not_after", certificate.NotAfter),
		slog.String("rule", certificate.Rule))
	return certificate, nil
}

// whatBecomes tells the requester of a failed issuance what follows.
func whatBecomes(owner store.OwnerKind) string {
	if owner == store.OwnerOrder {
		return "the CA could not sign just now; the request is kept and goes on by itself"
	}
	return "the CA could not sign just now; nothing was used up, so ask again"
}

// sign has the issuer sign the intent and makes the record of it.
func (a *Authority) sign(ctx context.Context, d *draft) (store.Certificate, error) {
	der, err := d.issuer.Issue(ctx, d.intent)
	if err != nil {
		return store.Certificate{}, err
	}
	return store.Certificate{
		CertificateKey: d.intent.CertificateKey,
		Owner:          d.request.Owner,
		AccountID:      d.request.AccountID,
		Requester:      d.request.requester(),
		Profile:        d.request.Profile,
		Rule:           d.rule,
		Identifiers:    d.names(),
		Subject:        d.tbs.Subject,
		DER:            der,
		Fingerprint:    sha256.Sum256(der),
		KeyHash:        sha256.Sum256(d.request.PublicKey),
		NotBefore:      d.tbs.NotBefore,
		NotAfter:       d.tbs.NotAfter,
		Issued:         d.intent.Created,
		Partition:      d.intent.Partition,
		Replaces:       d.request.Replaces,
	}, nil
}

// record stores a certificate. While the store cannot write it tries again, so
// that a full disk costs no serial; the settler takes over when that takes too
// long, or the next start when the server stops.
func (a *Authority) record(ctx context.Context, certificate store.Certificate) error {
	for {
		err := a.deps.Store.CompleteIssuance(ctx, certificate)
		if !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(recordEvery):
		case <-a.stopping:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

func (a *Authority) observe(profile, outcome string) {
	if a.deps.Issued != nil {
		a.deps.Issued(profile, outcome)
	}
}
