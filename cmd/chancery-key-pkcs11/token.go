package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"

	"github.com/miekg/pkcs11"

	"chancery/internal/keyhelper/wire"
)

// token is a token while it is there, with somebody logged in.
type token struct {
	library  *pkcs11.Ctx
	uri      *keyURI
	public   crypto.PublicKey
	sessions chan *session // those that are free; closed when the token is lost
}

// session is one conversation with the token; one goroutine has it at a time.
type session struct {
	handle pkcs11.SessionHandle
	key    pkcs11.ObjectHandle
}

// openToken finds the token, logs in, and finds the key.
func openToken(library *pkcs11.Ctx, uri *keyURI, pin string) (*token, error) {
	slot, err := findSlot(library, uri)
	if err != nil {
		return nil, err
	}
	t := &token{library: library, uri: uri, sessions: make(chan *session, sessions)}
	for i := range sessions {
		handle, err := library.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			return nil, fmt.Errorf("couldn't open a session: %w", err)
		}
		if i == 0 { // it counts for all
			if err := login(library, handle, pin); err != nil {
				return nil, err
			}
		}
		key, err := t.find(handle, pkcs11.CKO_PRIVATE_KEY)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if t.public, err = t.readPublic(handle, key); err != nil {
				return nil, err
			}
		}
		t.sessions <- &session{handle, key}
	}
	return t, nil
}

// findSlot finds the slot with the token that the URI describes.
func findSlot(library *pkcs11.Ctx, uri *keyURI) (uint, error) {
	slots, err := library.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("couldn't list the tokens: %w", err)
	}
	var found []uint
	for _, slot := range slots {
		info, err := library.GetTokenInfo(slot)
		if err == nil && uri.matches(slot, &info) {
			found = append(found, slot)
		}
	}
	switch len(found) {
	case 0:
		return 0, wire.Errorf(wire.Unavailable, "the token %s is not there", uri.token+uri.serial)
	case 1:
		return found[0], nil
	default:
		return 0, wire.Errorf(wire.Refused, "%d tokens are what the key's URI describes; add serial=NUMBER", len(found))
	}
}

func (u *keyURI) matches(slot uint, info *pkcs11.TokenInfo) bool {
	is := func(wanted, found string) bool { return wanted == "" || wanted == strings.TrimRight(found, " \x00") }
	return is(u.token, info.Label) && is(u.serial, info.SerialNumber) && is(u.manufacturer, info.ManufacturerID) &&
		is(u.model, info.Model) && (u.slot == nil || *u.slot == slot)
}

func login(library *pkcs11.Ctx, handle pkcs11.SessionHandle, pin string) error {
	err := library.Login(handle, pkcs11.CKU_USER, pin)
	switch {
	case err == nil || is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN):
		return nil
	case is(err, pkcs11.CKR_PIN_INCORRECT), is(err, pkcs11.CKR_PIN_LOCKED), is(err, pkcs11.CKR_PIN_INVALID), is(err, pkcs11.CKR_PIN_LEN_RANGE), is(err, pkcs11.CKR_PIN_EXPIRED):
		return wire.Errorf(wire.Refused, "the token refuses the PIN: %v", err)
	default:
		return fmt.Errorf("couldn't log in to the token: %w", err)
	}
}

// find finds the one object of a class that the URI describes.
func (t *token) find(handle pkcs11.SessionHandle, class uint) (pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if t.uri.object != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.uri.object))
	}
	if t.uri.id != nil {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, t.uri.id))
	}
	if err := t.library.FindObjectsInit(handle, template); err != nil {
		return 0, fmt.Errorf("couldn't look for the key: %w", err)
	}
	found, _, err := t.library.FindObjects(handle, 2)
	if ended := t.library.FindObjectsFinal(handle); err == nil {
		err = ended
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("couldn't look for the key: %w", err)
	case len(found) == 0:
		return 0, wire.Errorf(wire.Unavailable, "the key %s is not in the token", t.uri.key())
	case len(found) > 1:
		return 0, wire.Errorf(wire.Refused, "several keys in the token are called %s; add id=%%XX to the key's URI", t.uri.key())
	}
	return found[0], nil
}

// readPublic reads the public half of a key: of RSA keys from the private one,
// of others from the public object, which has the same name.
func (t *token) readPublic(handle pkcs11.SessionHandle, private pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	values, err := t.library.GetAttributeValue(handle, private, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, nil)})
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key's type: %w", err)
	}
	switch kind := values[0].Value; {
	case isUlong(kind, pkcs11.CKK_RSA):
		return t.readRSA(handle, private)
	case isUlong(kind, pkcs11.CKK_EC):
		public, err := t.find(handle, pkcs11.CKO_PUBLIC_KEY)
		if err != nil {
			return nil, err
		}
		return t.readECDSA(handle, public)
	}
	return nil, wire.Errorf(wire.Refused, "the key %s is neither RSA nor ECDSA", t.uri.key())
}

// isUlong compares a value that the library wrote as a CK_ULONG.
func isUlong(value []byte, number uint) bool {
	return string(value) == string(pkcs11.NewAttribute(0, number).Value)
}

func (t *token) readRSA(handle pkcs11.SessionHandle, key pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	values, err := t.library.GetAttributeValue(handle, key, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS, nil), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, nil),
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't read the public key: %w", err)
	}
	exponent := new(big.Int).SetBytes(values[1].Value)
	if !exponent.IsInt64() || exponent.Int64() > 1<<31-1 {
		return nil, wire.Errorf(wire.Refused, "the RSA key has an exponent that is too large")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(values[0].Value), E: int(exponent.Int64())}, nil
}

// curves are those that the server signs with, by the DER of their names.
var curves = map[string]elliptic.Curve{
	"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07": elliptic.P256(),
	"\x06\x05\x2b\x81\x04\x00\x22":             elliptic.P384(),
	"\x06\x05\x2b\x81\x04\x00\x23":             elliptic.P521(),
}

func (t *token) readECDSA(handle pkcs11.SessionHandle, key pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	values, err := t.library.GetAttributeValue(handle, key, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, nil), pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil),
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't read the public key: %w", err)
	}
	curve := curves[string(values[0].Value)]
	if curve == nil {
		return nil, wire.Errorf(wire.Refused, "the key %s is on another curve than P-256, P-384 and P-521", t.uri.key())
	}
	point := values[1].Value
	var inner []byte // an OCTET STRING around the point, which some libraries leave out
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, wire.Errorf(wire.Refused, "couldn't read the public key: %v", err)
	}
	return public, nil
}

// acquire waits for a free session; ok is false when the token is lost.
func (t *token) acquire() (s *session, ok bool) {
	s, ok = <-t.sessions
	return s, ok
}

func (t *token) release(s *session) { t.sessions <- s }

// drain waits until nobody uses the token, and lets nobody do so again.
func (t *token) drain() {
	for range sessions {
		<-t.sessions
	}
	close(t.sessions)
}

// check looks for the key.
func (t *token) check(s *session) error {
	found, err := t.find(s.handle, pkcs11.CKO_PRIVATE_KEY)
	if err == nil && found != s.key {
		err = fmt.Errorf("the key %s is another object than before", t.uri.key())
	}
	return err
}

// sign makes a signature in the form that certificates have it.
func (t *token) sign(s *session, hash crypto.Hash, digest []byte) ([]byte, error) {
	if hash == 0 || len(digest) != hash.Size() {
		return nil, wire.Errorf(wire.Refused, "a digest of %d octets can't be signed", len(digest))
	}
	mechanism, input := uint(pkcs11.CKM_ECDSA), digest
	_, isRSA := t.public.(*rsa.PublicKey)
	if isRSA {
		mechanism, input = pkcs11.CKM_RSA_PKCS, append(digestInfo(hash), digest...)
	}
	if err := t.library.SignInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, s.key); err != nil {
		return nil, fmt.Errorf("couldn't begin a signature: %w", err)
	}
	signature, err := t.library.Sign(s.handle, input)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign: %w", err)
	}
	if isRSA {
		return signature, nil
	}
	return encodeECDSA(signature)
}

// digestInfo is what comes before the digest in a PKCS #1 v1.5 signature
// (RFC 8017 §9.2, note 1).
func digestInfo(hash crypto.Hash) []byte {
	size, last := byte(hash.Size()), map[crypto.Hash]byte{crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}[hash]
	return []byte{0x30, 0x11 + size, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last, 0x05, 0x00, 0x04, size}
}

// encodeECDSA turns the two numbers that tokens return into an Ecdsa-Sig-Value
// (RFC 3279 §2.2.3).
func encodeECDSA(signature []byte) ([]byte, error) {
	half := len(signature) / 2
	if half == 0 || len(signature)%2 != 0 {
		return nil, fmt.Errorf("the token returned a signature of %d octets", len(signature))
	}
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]),
	})
}
