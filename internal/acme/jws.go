package acme

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// The ways in which the gate refuses a message. The texts of the errors that
// wrap them are for the client: they hold nothing but what it sent.
var (
	ErrMalformedJWS          = errors.New("malformed JWS")
	ErrBadSignatureAlgorithm = errors.New("signature algorithm refused")
	ErrBadPublicKey          = errors.New("public key refused")
	ErrBadSignature          = errors.New("signature does not verify")
)

// jwsMaxSize is the longest message ParseJWS and ParseEAB read, in bytes.
const jwsMaxSize = 512 << 10

// jwsBase64 refuses padding and bits set behind the last octet; constant.
var jwsBase64 = base64.RawURLEncoding.Strict()

// JWS is a request as RFC 8555 §6.2 wants it: a JWS in flattened JSON
// serialization with one signature by an account key. Nothing in it can be
// trusted before Verify has succeeded.
type JWS struct {
	Algorithm    string // one of SignatureAlgorithms
	Nonce        string // empty when there is none, as in the inner JWS of keyChange
	URL          string // never empty
	KeyID        string // the account URL; empty exactly when JWK is not nil
	JWK          *JWK
	Payload      []byte // decoded
	EmptyPayload bool   // the payload is the empty string: POST-as-GET, which "{}" is not

	signed    []byte // the signing input, as received
	signature []byte
}

// SignatureAlgorithms lists the values of "alg" that the gate accepts, as the
// badSignatureAlgorithm problem names them (RFC 8555 §6.2).
func SignatureAlgorithms() []string {
	return []string{"ES256", "ES384", "ES512", "EdDSA", "RS256"}
}

// ParseJWS reads a request body and checks all that can be checked without a
// key; the caller looks at Nonce and URL, and must call Verify. Errors wrap
// ErrMalformedJWS, ErrBadSignatureAlgorithm or, for the embedded key,
// ErrBadPublicKey. With an error comes a JWS that holds the nonce and nothing
// else, if the message had one: it has appeared, so it has to be spent
// (RFC 8555 §6.5).
func ParseJWS(body []byte) (*JWS, error) {
	jws := new(JWS)
	if err := jws.parse(body); err != nil {
		return &JWS{Nonce: jws.Nonce}, err
	}
	return jws, nil
}

func (j *JWS) parse(body []byte) error {
	message, err := jwsOpen(body)
	if message == nil {
		return err
	}
	// The nonce counts even when the message has an extension that is refused.
	nonce, nonceErr := jwsNonceOf(message.header)
	j.Nonce = nonce
	if err != nil {
		return err
	}
	if nonceErr != nil {
		return nonceErr
	}
	if j.Algorithm, err = message.algorithm(SignatureAlgorithms()); err != nil {
		return err
	}
	if err := j.parseKey(message.header); err != nil {
		return err
	}
	if j.URL, err = message.url(); err != nil {
		return err
	}
	j.EmptyPayload = len(message.payload) == 0
	j.Payload, j.signature, err = message.decode()
	j.signed = message.signingInput()
	return err
}

// parseKey reads "kid" or "jwk", of which there must be one.
func (j *JWS) parseKey(header jwsObject) error {
	kid, hasKeyID, err := header.optionalText("kid")
	if err != nil {
		return err
	}
	jwk, hasJWK := header.find("jwk")
	switch {
	case hasKeyID && hasJWK:
		return jwsMalformed(`%s: "kid" and "jwk" exclude each other`, header.what)
	case hasJWK:
		j.JWK, err = ParseJWK(jwk)
		return err
	case len(kid) > 0:
		j.KeyID = string(kid)
		return nil
	default:
		return jwsMalformed(`%s: either "kid" or "jwk" must be there`, header.what)
	}
}

// jwsNonceOf returns the nonce in header, empty when there is none. One that
// is not base64url makes the message malformed (RFC 8555 §6.5.2).
func jwsNonceOf(header jwsObject) (string, error) {
	nonce, found, err := header.optionalText("nonce")
	if err != nil || !found {
		return "", err
	}
	if octets, err := jwsDecode(nonce); err != nil || len(octets) == 0 {
		return "", jwsMalformed(`%s: "nonce" is not unpadded base64url`, header.what)
	}
	return string(nonce), nil
}

// Verify checks the signature with key: *ecdsa.PublicKey, *rsa.PublicKey or
// ed25519.PublicKey. Each key has exactly one algorithm; the error wraps
// ErrBadSignatureAlgorithm when the message names another, and ErrBadSignature
// when the signature is not by this key over these octets.
func (j *JWS) Verify(key crypto.PublicKey) error {
	algorithm := jwkAlgorithm(key)
	if algorithm == "" {
		return fmt.Errorf("%w: no signature algorithm fits it", ErrBadPublicKey)
	}
	if j.Algorithm != algorithm {
		return fmt.Errorf("%w: %q does not fit the key, which signs with %q", ErrBadSignatureAlgorithm, j.Algorithm, algorithm)
	}
	if !jwsVerifies(key, j.signed, j.signature) {
		return fmt.Errorf("%w: it is not by the key of this request over its protected header and payload", ErrBadSignature)
	}
	return nil
}

// jwsVerifies checks a signature by a key that jwkAlgorithm knows.
func jwsVerifies(key crypto.PublicKey, signed, signature []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return jwsVerifiesECDSA(key, signed, signature)
	case ed25519.PublicKey:
		return ed25519.Verify(key, signed, signature)
	case *rsa.PublicKey:
		digest := sha256.Sum256(signed)
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil
	default:
		return false
	}
}

// jwsVerifiesECDSA checks a signature in the form of RFC 7518 §3.4: r and s,
// each as long as the order of the curve.
func jwsVerifiesECDSA(key *ecdsa.PublicKey, signed, signature []byte) bool {
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	r := new(big.Int).SetBytes(signature[:size])
	s := new(big.Int).SetBytes(signature[size:])
	switch size {
	case 32:
		digest := sha256.Sum256(signed)
		return ecdsa.Verify(key, digest[:], r, s)
	case 48:
		digest := sha512.Sum384(signed)
		return ecdsa.Verify(key, digest[:], r, s)
	default:
		digest := sha512.Sum512(signed)
		return ecdsa.Verify(key, digest[:], r, s)
	}
}

// jwsMessage is a JWS in flattened JSON serialization (RFC 7515 §7.2.2), its
// parts still in base64url.
type jwsMessage struct {
	header                        jwsObject // protected, decoded
	protected, payload, signature []byte
}

// jwsOpen splits a message and reads its protected header. It refuses what
// RFC 8555 §6.2 refuses: unprotected headers, several signatures, detached and
// unencoded payloads; and every extension that must be understood, because the
// gate understands none. With the error about the last comes the message.
func jwsOpen(text []byte) (*jwsMessage, error) {
	if len(text) > jwsMaxSize {
		return nil, jwsMalformed("the message is longer than %d bytes", jwsMaxSize)
	}
	object, err := jwsParseObject("the JWS", text)
	if err != nil {
		return nil, err
	}
	if err := object.forbid("header", "signatures"); err != nil {
		return nil, err
	}
	message := new(jwsMessage)
	if message.protected, err = object.text("protected"); err != nil {
		return nil, err
	}
	if message.payload, err = object.text("payload"); err != nil {
		return nil, err
	}
	if message.signature, err = object.text("signature"); err != nil {
		return nil, err
	}
	header, err := jwsDecode(message.protected)
	if err != nil {
		return nil, jwsMalformed("the protected header: %w", err)
	}
	if message.header, err = jwsParseObject("the protected header", header); err != nil {
		return nil, err
	}
	return message, message.header.forbid("crit", "b64")
}

// algorithm returns "alg" if it is among accepted.
func (m *jwsMessage) algorithm(accepted []string) (string, error) {
	algorithm, err := m.header.text("alg")
	if err != nil {
		return "", err
	}
	for _, name := range accepted {
		if string(algorithm) == name {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w: %.40q; accepted are %s", ErrBadSignatureAlgorithm, algorithm, strings.Join(accepted, ", "))
}

// url returns "url", which must be there (RFC 8555 §6.4).
func (m *jwsMessage) url() (string, error) {
	url, err := m.header.text("url")
	if err == nil && len(url) == 0 {
		err = jwsMalformed(`%s: "url" is empty`, m.header.what)
	}
	return string(url), err
}

// decode returns the octets of payload and signature.
func (m *jwsMessage) decode() (payload, signature []byte, err error) {
	if payload, err = jwsDecode(m.payload); err != nil {
		return nil, nil, jwsMalformed("the payload: %w", err)
	}
	if signature, err = jwsDecode(m.signature); err != nil {
		return nil, nil, jwsMalformed("the signature: %w", err)
	}
	if len(signature) == 0 {
		return nil, nil, jwsMalformed("the signature is empty")
	}
	return payload, signature, nil
}

// signingInput returns what the signature covers (RFC 7515 §5.1), in the very
// characters that were received.
func (m *jwsMessage) signingInput() []byte {
	input := make([]byte, 0, len(m.protected)+1+len(m.payload))
	input = append(input, m.protected...)
	input = append(input, '.')
	return append(input, m.payload...)
}

// jwsDecode decodes base64url without padding (RFC 7515 §2), of which every
// octet string has exactly one spelling here.
func jwsDecode(text []byte) ([]byte, error) {
	if bytes.ContainsAny(text, "\r\n") { // encoding/base64 would skip them
		return nil, errors.New("line breaks in base64url")
	}
	octets := make([]byte, jwsBase64.DecodedLen(len(text)))
	if _, err := jwsBase64.Decode(octets, text); err != nil {
		return nil, fmt.Errorf("not unpadded base64url: %w", err)
	}
	return octets, nil
}

// jwsMalformed returns an error that wraps ErrMalformedJWS.
func jwsMalformed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMalformedJWS, fmt.Errorf(format, args...))
}
