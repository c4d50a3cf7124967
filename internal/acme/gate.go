package acme

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/store"
)

const (
	prefix       = "/acme/"
	maxBody      = 128 << 10 // a CSR for 100 long names in base64url fits
	contentJSON  = "application/json"
	contentJOSE  = "application/jose+json"
	contentError = "application/problem+json"
)

// request is what handlers get: an HTTP request, and, of those that carry a
// JWS, what the gate found in it.
type request struct {
	*http.Request
	*settings
	base string // the external URL by which the client reached the door

	jws     *JWS
	account *account // whose key signed; nil when an embedded key did
}

// url makes an absolute URL below /acme/.
func (r *request) url(path ...string) string {
	return r.base + prefix + strings.Join(path, "/")
}

func (r *request) accountURL() string { return r.url("account", r.account.ID) }

// response is what handlers return. A body of type []byte is sent as it is.
type response struct {
	status      int // 0 means 200
	contentType string
	header      http.Header
	body        any
}

// answer makes a response with a JSON body.
func answer(body any) *response { return &response{body: body, header: http.Header{}} }

func (r *response) set(name, value string) *response {
	r.header.Set(name, value)
	return r
}

func (r *response) link(url, relation string) *response {
	r.header.Add("Link", "<"+url+`>;rel="`+relation+`"`)
	return r
}

// created makes the response 201 with the URL of what was created.
func (r *response) created(url string) *response {
	r.status = http.StatusCreated
	return r.set("Location", url)
}

// handler serves one resource.
type handler func(ctx context.Context, r *request) (*response, error)

// adapt makes an http.Handler of a resource's handler: it writes what that
// returns, with the headers every answer has.
func (d *Door) adapt(resource string, serve handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		settings := d.settings.Load()
		req := &request{Request: r, settings: settings, base: settings.baseOfHost(r.Host)}
		d.annotate(r.Context(), "acme", resource)
		header := w.Header()
		header.Set("Access-Control-Allow-Origin", "*")
		if r.Method == http.MethodOptions {
			header.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
			header.Set("Access-Control-Allow-Headers", "Content-Type")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		header.Set("Access-Control-Expose-Headers", "Replay-Nonce, Location, Link, Retry-After")
		resp, err := serve(r.Context(), req)
		if r.Method == http.MethodPost {
			d.addNonce(header)
		}
		if !strings.HasSuffix(resource, "directory") {
			header.Add("Link", "<"+req.url("directory")+`>;rel="index"`) // RFC 8555 §7.1
		}
		if err != nil {
			d.writeProblem(w, r, problemOf(err))
			return
		}
		d.write(w, r, resp)
	}
}

func (d *Door) addNonce(header http.Header) {
	header.Set("Replay-Nonce", d.deps.Nonces.New())
	header.Set("Cache-Control", "no-store") // RFC 8555 §6.5.1
}

// baseOfHost picks the configured URL a client came by. The Host header only
// chooses among those; it never makes one.
func (s *settings) baseOfHost(host string) string {
	for _, base := range s.bases {
		if _, authority, _ := strings.Cut(base, "://"); strings.EqualFold(authority, host) {
			return base
		}
	}
	return s.ExternalURL
}

func (d *Door) writeProblem(w http.ResponseWriter, r *http.Request, problem *Problem) {
	d.annotate(r.Context(), "problem", strings.TrimPrefix(problem.Type, typePrefix))
	d.annotate(r.Context(), "detail", problem.Detail)
	if problem.Status >= 500 {
		d.deps.Log.LogAttrs(r.Context(), slog.LevelError, "an ACME request failed",
			slog.String("path", r.URL.Path), slog.Any("error", problem.cause))
	}
	d.write(w, r, &response{status: problem.Status, contentType: contentError, header: problem.header, body: problem})
}

func (d *Door) write(w http.ResponseWriter, r *http.Request, resp *response) {
	header := w.Header()
	for name, values := range resp.header {
		for _, value := range values {
			header.Add(name, value)
		}
	}
	body, raw := resp.body.([]byte)
	if !raw && resp.body != nil {
		var err error
		if body, err = json.Marshal(resp.body); err != nil {
			d.deps.Log.Error("couldn't encode an answer", "path", r.URL.Path, "error", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		header.Set("Content-Type", contentJSON)
	}
	if resp.contentType != "" {
		header.Set("Content-Type", resp.contentType)
	}
	if resp.status != 0 {
		w.WriteHeader(resp.status)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone needs no answer
	}
}

// get serves a resource that is read without a JWS.
func get(next handler) handler {
	return func(ctx context.Context, r *request) (*response, error) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return nil, methodNotAllowed(r, "GET")
		}
		return next(ctx, r)
	}
}

func methodNotAllowed(r *request, allowed string) error {
	return newProblem(malformed, "%s is not for this resource; use %s", r.Method, allowed).
		with(http.StatusMethodNotAllowed).set("Allow", allowed)
}

// byAccount serves a resource whose requests an account's key signs.
func (d *Door) byAccount(next handler) handler {
	return func(ctx context.Context, r *request) (*response, error) {
		if err := d.open(ctx, r); err != nil {
			return nil, err
		}
		if r.account == nil {
			return nil, newProblem(malformed, "this resource takes requests signed by an account; name it in \"kid\" instead of giving a \"jwk\"")
		}
		return next(ctx, r)
	}
}

// byKey serves a resource whose requests the key embedded in them signs.
func (d *Door) byKey(next handler) handler {
	return func(ctx context.Context, r *request) (*response, error) {
		if err := d.open(ctx, r); err != nil {
			return nil, err
		}
		if r.account != nil {
			return nil, newProblem(malformed, "this resource takes requests signed by the key they carry; give a \"jwk\" instead of a \"kid\"")
		}
		return next(ctx, r)
	}
}

// reading serves POST-as-GET only (RFC 8555 §6.3).
func reading(next handler) handler {
	return func(ctx context.Context, r *request) (*response, error) {
		if !r.jws.EmptyPayload {
			return nil, newProblem(malformed, "this resource can only be read; send an empty payload (POST-as-GET)")
		}
		return next(ctx, r)
	}
}

// open is the gate (RFC 8555 §6.2–6.5): it reads the JWS, spends its nonce,
// and verifies that it is meant for this URL and signed by who it says.
func (d *Door) open(ctx context.Context, r *request) error {
	if r.Method != http.MethodPost {
		return methodNotAllowed(r, "POST")
	}
	body, err := readBody(r.Request)
	if err != nil {
		return err
	}
	jws, err := ParseJWS(body)
	if jws != nil && jws.Nonce != "" {
		r.jws = jws
		if spendErr := d.spendNonce(ctx, jws.Nonce, r); spendErr != nil && err == nil {
			return spendErr
		}
	}
	if err != nil {
		return gateProblem(err)
	}
	if r.jws = jws; jws.Nonce == "" {
		return newProblem(badNonce, "the JWS has no nonce; use the one in Replay-Nonce")
	}
	if err := r.checkURL(); err != nil {
		return err
	}
	key := jws.JWK
	if key == nil {
		if r.account, err = d.accountOf(ctx, r); err != nil {
			return err
		}
		key = r.account.key
		d.annotate(ctx, "account", r.account.ID)
	}
	return gateProblem(jws.Verify(key.Public))
}

// checkKey refuses weak keys for accounts by the same rules as for
// certificates. Revocation by a certificate's key does without: whoever broke a
// weak key may as well use it for that.
func (d *Door) checkKey(key *JWK) error {
	err := d.deps.CheckKey(key.Public)
	if err == nil {
		return nil
	}
	return newProblem(badPublicKey, "the account key is refused: %s", failure.ReportOf(err).Text).because(err)
}

func readBody(r *http.Request) ([]byte, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != contentJOSE {
		return nil, newProblem(malformed, "the content type is %.60q; it must be %q", r.Header.Get("Content-Type"), contentJOSE).
			with(http.StatusUnsupportedMediaType)
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	body := bytes.NewBuffer(make([]byte, 0, max(512, r.ContentLength+1)))
	if _, err := body.ReadFrom(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return nil, newProblem(malformed, "the body could not be read").because(err)
	}
	if body.Len() > maxBody {
		return nil, tooLarge()
	}
	return body.Bytes(), nil
}

func tooLarge() error {
	return newProblem(malformed, "the body is larger than %d bytes", maxBody).with(http.StatusRequestEntityTooLarge)
}

func (d *Door) spendNonce(ctx context.Context, nonce string, r *request) error {
	fresh, err := d.deps.Nonces.Spend(ctx, nonce)
	switch {
	case err != nil:
		return failure.Wrap("spend nonce", err)
	case !fresh:
		return newProblem(badNonce, "the nonce was used before, is too old or is not from this CA; repeat the request with the one in Replay-Nonce")
	case r.NonceReject > 0 && d.chance(r.NonceReject):
		return newProblem(badNonce, "the nonce is refused on purpose (acme.fault.nonce_reject); repeat the request with the one in Replay-Nonce")
	}
	return nil
}

// chance is true with the given probability.
func (d *Door) chance(probability float64) bool {
	var random [4]byte
	_, err := io.ReadFull(d.deps.Rand, random[:])
	return err == nil && float64(binary.BigEndian.Uint32(random[:])) < probability*(1<<32)
}

// checkURL compares the URL that was signed with the one that was asked for,
// under any of the door's names (RFC 8555 §6.4), and goes on by that name.
func (r *request) checkURL() error {
	asked := r.URL.RequestURI()
	for _, base := range r.bases {
		if r.jws.URL == base+asked {
			r.base = base
			return nil
		}
	}
	return newProblem(unauthorized, "the JWS is for %.200q, the request for %.200q; the CA's URL is set by external_url", r.jws.URL, r.base+asked)
}

// gateProblem says what is wrong with a JWS; nil stays nil.
func gateProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrBadSignatureAlgorithm):
		problem := newProblem(badSignatureAlgorithm, "%s", err)
		problem.Algorithms = SignatureAlgorithms()
		return problem
	case errors.Is(err, ErrBadPublicKey):
		return newProblem(badPublicKey, "%s", err)
	case errors.Is(err, ErrBadSignature):
		return newProblem(unauthorized, "%s", err)
	default:
		return newProblem(malformed, "%s", err)
	}
}

// accountOf finds the account that "kid" names. What is wrong with it is only
// said of accounts that exist, whose URLs nobody guesses.
func (d *Door) accountOf(ctx context.Context, r *request) (*account, error) {
	id, ok := r.idOf("account", r.jws.KeyID)
	if !ok {
		return nil, newProblem(accountDoesNotExist, "%.200q in \"kid\" is no account URL of this CA", r.jws.KeyID)
	}
	found, err := d.accounts.get(ctx, d.deps.Store, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, newProblem(accountDoesNotExist, "there is no account %.200q; create one with newAccount", r.jws.KeyID)
	case err != nil:
		return nil, failure.Wrap("read account", err)
	}
	return found, found.checkValid()
}

// idOf takes the id out of a URL of ours, by whatever base.
func (r *request) idOf(resource, url string) (id string, ok bool) {
	for _, base := range r.bases {
		id, ok = strings.CutPrefix(url, base+prefix+resource+"/")
		if ok && id != "" && !strings.ContainsAny(id, "/?#") {
			return id, true
		}
	}
	return "", false
}

// decode reads the payload, whose member names may come in any case.
func (r *request) decode(into any) error {
	if r.jws.EmptyPayload {
		return newProblem(malformed, "the payload is empty; it must be a JSON object")
	}
	if trimmed := bytes.TrimLeft(r.jws.Payload, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return newProblem(malformed, "the payload is no JSON object")
	}
	if err := json.Unmarshal(r.jws.Payload, into); err != nil {
		return newProblem(malformed, "the payload cannot be read: %s", err)
	}
	return nil
}
