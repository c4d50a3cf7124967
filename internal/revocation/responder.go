package revocation

import (
	"bytes"
	"context"
	"crypto"
	_ "crypto/sha1"   //nolint:gosec // CertIDs name issuers by it, and most clients know no other
	_ "crypto/sha256" // so do some CertIDs
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/store"
)

// Inventory answers whether a certificate was issued, and revoked.
type Inventory interface {
	Certificate(ctx context.Context, key store.CertificateKey) (store.Certificate, error)
}

// ResponderDeps are what a Responder works with.
type ResponderDeps struct {
	Inventory Inventory
	Authority Authority
	Issuers   []Issuer
	Settings  Settings
	Now       func() time.Time
	Log       *slog.Logger
}

// Responder answers OCSP requests. Its methods may be called by any number of
// goroutines.
type Responder struct {
	deps     ResponderDeps
	settings atomic.Pointer[Settings]
	issuers  atomic.Pointer[map[string]*responding] // by the hashes of name and key
	answers  *answerCache
}

// NewResponder returns a responder for the issuers.
func NewResponder(deps ResponderDeps) (*Responder, error) {
	r := &Responder{deps: deps, answers: newAnswerCache()}
	r.Configure(deps.Settings)
	return r, r.SetIssuers(deps.Issuers)
}

// Configure replaces the settings.
func (r *Responder) Configure(settings Settings) { r.settings.Store(&settings) }

// SetIssuers replaces the issuers. Those that were there before keep what signs
// for them. On an error nothing changes.
func (r *Responder) SetIssuers(issuers []Issuer) error {
	before := map[string]*responding{}
	if known := r.issuers.Load(); known != nil {
		for _, to := range *known {
			before[to.issuer.ID()] = to
		}
	}
	next := map[string]*responding{}
	for _, issuer := range issuers {
		to := before[issuer.ID()]
		if to == nil || !to.issuer.Certificate().Equal(issuer.Certificate()) {
			to = &responding{issuer: issuer}
		}
		bits, err := keyBits(issuer.Certificate().RawSubjectPublicKeyInfo)
		if err != nil {
			return err
		}
		for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
			next[issuerKey(sum(hash, issuer.Certificate().RawSubject), sum(hash, bits))] = to
		}
	}
	r.issuers.Store(&next)
	return nil
}

func issuerKey(nameHash, keyHash []byte) string { return string(nameHash) + string(keyHash) }

func sum(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// keyBits is the content of the BIT STRING in a SubjectPublicKeyInfo, which
// OCSP hashes.
func keyBits(spki cryptobyte.String) ([]byte, error) {
	var inner cryptobyte.String
	var bits []byte
	if !spki.ReadASN1(&inner, casn1.SEQUENCE) || !inner.SkipASN1(casn1.SEQUENCE) || !inner.ReadASN1BitStringAsBytes(&bits) {
		return nil, errNoKey
	}
	return bits, nil
}

// Forget has the answers about certificates made anew: they were revoked.
func (r *Responder) Forget(certificates ...store.CertificateKey) { r.answers.forget(certificates) }

// ForgetAll has all answers made anew: other nodes have revoked something.
func (r *Responder) ForgetAll() { r.answers.forgetAll() }

// response is an answer as it is sent.
type response struct {
	*Document
	cacheable bool // others may be given the same
}

// unsigned is the response to what is not answered.
func unsigned(status ocspStatus) response {
	return response{Document: newDocument(ocspType, status.refusal(), time.Time{}, time.Time{})}
}

// respond answers a request, whatever it is.
func (r *Responder) respond(ctx context.Context, der []byte) response {
	request, err := parseRequest(der)
	if err != nil {
		return unsigned(ocspMalformed)
	}
	to := r.issuerOf(request)
	if to == nil || r.deps.Now().After(to.issuer.Certificate().NotAfter) {
		return unsigned(ocspUnauthorized)
	}
	cacheable := request.nonce == nil && len(request.asked) == 1
	key := answerKey{to.issuer.ID(), string(request.asked[0].raw)}
	if held := r.answers.get(key, r.deps.Now()); cacheable && held != nil {
		return response{held, true}
	}
	made, err := r.answer(ctx, to, request)
	if err != nil {
		r.deps.Log.WarnContext(ctx, "couldn't answer an OCSP request", "issuer", to.issuer.ID(), "error", err)
		return unsigned(ocspTryLater)
	}
	if cacheable && made.keep {
		r.answers.put(key, request.asked[0].number, made.Document, made.epoch, r.deps.Now())
	}
	return response{made.Document, request.nonce == nil}
}

// issuerOf is the issuer of all certificates that are asked for; nil when this
// responder can't speak for it, or they have several: a responder speaks for
// one.
func (r *Responder) issuerOf(request *ocspRequest) *responding {
	known := *r.issuers.Load()
	var found *responding
	for i, asked := range request.asked {
		to := known[issuerKey(asked.nameHash, asked.keyHash)]
		if asked.hash == 0 || to == nil || i > 0 && to != found {
			return nil
		}
		found = to
	}
	return found
}

// madeAnswer is a new answer, and whether it may be given again.
type madeAnswer struct {
	*Document
	keep  bool
	epoch uint64 // of the cache, before the inventory was asked
}

// unknownLifetime is how long clients may hold that a serial is unknown, which
// can be issued at any time.
const unknownLifetime = time.Minute

// answer asks the inventory and signs what it says.
func (r *Responder) answer(ctx context.Context, to *responding, request *ocspRequest) (madeAnswer, error) {
	made := madeAnswer{keep: true, epoch: r.answers.epochNow()}
	signer, err := r.signer(ctx, to)
	if err != nil {
		return made, err
	}
	now, ends := r.deps.Now().UTC().Truncate(time.Second), signer.notAfter.UTC()
	answer := answer{keyHash: signer.keyHash, now: now, nonce: request.nonce}
	for i := range request.asked {
		verdict, err := r.verdict(ctx, to.issuer.ID(), &request.asked[i], now)
		if err != nil {
			return made, err
		}
		verdict.nextUpdate = earlier(verdict.nextUpdate, signer.notAfter.UTC())
		ends = earlier(ends, verdict.nextUpdate)
		made.keep = made.keep && verdict.known
		answer.verdicts = append(answer.verdicts, verdict)
	}
	data, err := answer.responseData()
	if err != nil {
		return made, err
	}
	signature, err := signer.sign(ctx, data)
	if err != nil {
		return made, err
	}
	der, err := assembleAnswer(data, signer.algorithm, signature, signer.certificate)
	made.Document = newDocument(ocspType, der, now, ends)
	return made, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// verdict asks the inventory. A serial that is not in it was not issued here.
func (r *Responder) verdict(ctx context.Context, issuerID string, asked *certID, now time.Time) (verdict, error) {
	v := verdict{id: bytes.Clone(asked.raw), nextUpdate: now.Add(unknownLifetime)}
	if !asked.possible {
		return v, nil
	}
	certificate, err := r.deps.Inventory.Certificate(ctx, store.CertificateKey{IssuerID: issuerID, Serial: asked.number})
	if errors.Is(err, store.ErrNotFound) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.known, v.revocation = true, certificate.Revocation
	v.nextUpdate = now.Add(r.settings.Load().OCSPLifetime).Truncate(time.Second)
	return v, nil
}
