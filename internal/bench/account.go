package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// account signs requests. Its fields don't change once it is registered.
type account struct {
	key        *ecdsa.PrivateKey
	jwk        json.RawMessage // its members in the order of RFC 7638
	thumbprint string
	url        string // "" until it is registered
	rand       io.Reader
}

func encode(octets []byte) string { return base64.RawURLEncoding.EncodeToString(octets) }

func newAccount(rand io.Reader) (*account, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes() // 4 || x || y
	if err != nil {
		return nil, err
	}
	jwk := fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, encode(point[1:33]), encode(point[33:]))
	thumbprint := sha256.Sum256(jwk)
	return &account{key: key, jwk: jwk, thumbprint: encode(thumbprint[:]), rand: rand}, nil
}

// keyAuthorization answers a token (RFC 8555 §8.1).
func (a *account) keyAuthorization(token string) string { return token + "." + a.thumbprint }

// protected is a JWS header (RFC 8555 §6.2).
type protected struct {
	Algorithm string          `json:"alg"`
	JWK       json.RawMessage `json:"jwk,omitempty"`
	KeyID     string          `json:"kid,omitempty"`
	Nonce     string          `json:"nonce,omitempty"`
	URL       string          `json:"url"`
}

// sign makes the body of a request; an empty payload is POST-as-GET (RFC 8555
// §6.3).
func (a *account) sign(url, nonce string, payload []byte) ([]byte, error) {
	header := protected{Algorithm: "ES256", KeyID: a.url, Nonce: nonce, URL: url}
	if a.url == "" {
		header.JWK = a.jwk
	}
	return seal(header, payload, a.signature)
}

// bind makes an external account binding to the account (RFC 8555 §7.3.4).
func (a *account) bind(url string, binding EAB) (json.RawMessage, error) {
	return seal(protected{Algorithm: "HS256", KeyID: binding.KeyID, URL: url}, a.jwk, func(input []byte) ([]byte, error) {
		mac := hmac.New(sha256.New, binding.Key)
		mac.Write(input)
		return mac.Sum(nil), nil
	})
}

// seal makes a flattened JWS (RFC 7515 §7.2.2).
func seal(header protected, payload []byte, sign func(input []byte) ([]byte, error)) ([]byte, error) {
	text, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	first, second := encode(text), encode(payload)
	signature, err := sign([]byte(first + "." + second))
	if err != nil {
		return nil, err
	}
	return []byte(`{"protected":"` + first + `","payload":"` + second + `","signature":"` + encode(signature) + `"}`), nil
}

// signature is ES256 (RFC 7518 §3.4): two numbers of 32 octets.
func (a *account) signature(input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	der, err := ecdsa.SignASN1(a.rand, a.key, digest[:])
	if err != nil {
		return nil, err
	}
	var r, s big.Int
	outer, inner := cryptobyte.String(der), cryptobyte.String{}
	if !outer.ReadASN1(&inner, asn1.SEQUENCE) || !inner.ReadASN1Integer(&r) || !inner.ReadASN1Integer(&s) {
		return nil, fmt.Errorf("couldn't read the signature %x", der)
	}
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	return raw, nil
}
