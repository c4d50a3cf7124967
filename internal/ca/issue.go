package ca

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"chancery/internal/failure"
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
	intent  store.Intent
	tbs     profile.TBS
	rule    string
}

// prepare asks policy, builds the certificate by its profile, and lints it.
// It uses no key and changes nothing.
func (a *Authority) prepare(ctx context.Context, req Request, attempt int) (*draft, error) {
	decision, err := a.deps.Policy.Decide(ctx, policy.Question{
		Door: req.Door, AccountID: req.AccountID, Profile: req.Profile, Identifiers: req.Identifiers,
	})
	if err != nil {
		return nil, failure.Wrap("ask policy", err)
	}
	now := a.deps.Now()
	number, err := serial.New(now, a.deps.Rand)
	if err != nil {
		return nil, err
	}
	tbs, err := a.build(req, number, now)
	if err != nil {
		return nil, err
	}
	if err := a.deps.Linter.Check(tbs.DER, a.issuer.Algorithm()); err != nil {
		return nil, failure.Wrap("lint certificate", err)
	}
	stored, err := json.Marshal(req)
	if err != nil {
		return nil, failure.Wrap("encode request", err)
	}
	return &draft{request: req, tbs: tbs, rule: decision.Rule, intent: store.Intent{
		CertificateKey: store.CertificateKey{IssuerID: a.deps.Issuer.ID(), Serial: number},
		Owner:          req.Owner,
		TBS:            tbs.DER,
		Request:        stored,
		Attempt:        attempt,
		Created:        now,
		Deadline:       now.Add(signingTime),
	}}, nil
}

// build fills the request's profile.
func (a *Authority) build(req Request, number serial.Number, now time.Time) (profile.TBS, error) {
	public, err := x509.ParsePKIXPublicKey(req.PublicKey)
	if err != nil {
		return profile.TBS{}, failure.New(failure.BadKey, "the public key cannot be read").Because(err)
	}
	if err := a.deps.CheckKey(public); err != nil {
		return profile.TBS{}, failure.Wrap("check public key", err)
	}
	shape, err := a.Profile(req.Profile)
	if err != nil {
		return profile.TBS{}, err
	}
	tbs, err := shape.ToBeSigned(profile.Input{
		Issuer:      a.issuer,
		Serial:      number,
		Identifiers: req.Identifiers,
		PublicKey:   public,
		SPKI:        req.PublicKey,
		Wishes:      req.Wishes,
		Now:         now,
	})
	return tbs, failure.Wrap("build certificate", err)
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
		return store.Certificate{}, (&failure.Error{
			Op: "sign certificate", Kind: failure.Unavailable, Err: err, RetryAfter: settleEvery,
			Public: "the CA could not sign just now; the request is kept and goes on by itself",
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

// sign has the issuer sign the intent and makes the record of it.
func (a *Authority) sign(ctx context.Context, d *draft) (store.Certificate, error) {
	der, err := a.deps.Issuer.Issue(ctx, d.intent)
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
		Identifiers:    d.request.Identifiers,
		DER:            der,
		Fingerprint:    sha256.Sum256(der),
		NotBefore:      d.tbs.NotBefore,
		NotAfter:       d.tbs.NotAfter,
		Issued:         d.intent.Created,
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
