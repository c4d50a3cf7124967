package client

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/keys"
)

// Token says what a one-time token is to vouch for. Sign makes it.
type Token struct {
	Provisioner string              // the name of the provisioner that knows the key
	Server      string              // https://HOST[:PORT]: the only server that takes the token
	Names       []string            // for which the certificate will be: NAME, IP, uri:… or email:…
	Subject     string              // who asks, for records; "" for the first name
	Profile     string              // "" for the provisioner's default
	Lifetime    time.Duration       // how long it can be used; 0 for five minutes
	Root        *x509.Certificate   // the root of the server, for who uses the token to compare; may be nil
	Key         crypto.Signer       // ECDSA, Ed25519 or RSA
	Chain       []*x509.Certificate // for provisioners of type x5c: the certificate of Key and those above it
	Now         func() time.Time    // nil for time.Now
	Rand        io.Reader           // nil for crypto/rand
}

const (
	defaultLifetime = 5 * time.Minute
	tokenIDSize     = 16 // octets
)

type tokenClaims struct {
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud"`
	Subject   string   `json:"sub"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	ID        string   `json:"jti"`
	Names     []string `json:"sans"`
	Profile   string   `json:"profile,omitempty"`
	Root      string   `json:"sha,omitempty"`
}

// Sign makes a token that is good for one certificate.
func (t Token) Sign() (string, error) {
	token, err := t.sign()
	if err != nil {
		return "", &Error{"make the token", err}
	}
	return token, nil
}

func (t Token) sign() (string, error) {
	claims, err := t.claims()
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	algorithm, err := algorithmOf(t.Key.Public())
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	signing := jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: t.Key}}
	if len(t.Chain) > 0 {
		if !keys.Equal(t.Chain[0].PublicKey, t.Key.Public()) {
			return "", errors.New("the certificate is for another key")
		}
		options.WithHeader("x5c", encodeChain(t.Chain))
	} else {
		id, err := Thumbprint(t.Key.Public())
		if err != nil {
			return "", err
		}
		signing.Key = jose.JSONWebKey{Key: t.Key, KeyID: id}
	}
	signer, err := jose.NewSigner(signing, options)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func (t Token) claims() (*tokenClaims, error) {
	switch {
	case t.Key == nil:
		return nil, errors.New("there is no key to sign it with")
	case t.Provisioner == "":
		return nil, errors.New("the name of the provisioner is missing")
	case len(t.Names) == 0:
		return nil, errors.New("it names nothing to get a certificate for")
	case t.Lifetime < 0:
		return nil, fmt.Errorf("the lifetime %v is not positive", t.Lifetime)
	}
	server, err := (&Client{Server: t.Server}).base()
	if err != nil {
		return nil, err
	}
	random := make([]byte, tokenIDSize)
	if _, err := io.ReadFull(cmp.Or(t.Rand, rand.Reader), random); err != nil {
		return nil, err
	}
	now := time.Now()
	if t.Now != nil {
		now = t.Now()
	}
	claims := &tokenClaims{
		Issuer: t.Provisioner, Audience: server + "/api/v1/sign", Subject: cmp.Or(t.Subject, t.Names[0]),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(cmp.Or(t.Lifetime, defaultLifetime)).Unix(),
		ID: base64.RawURLEncoding.EncodeToString(random), Names: t.Names, Profile: t.Profile,
	}
	if t.Root != nil {
		claims.Root = Fingerprint(t.Root)
	}
	return claims, nil
}

// encodeChain is the header x5c (RFC 7515 §4.1.6).
func encodeChain(chain []*x509.Certificate) []string {
	var encoded []string
	for _, certificate := range chain {
		encoded = append(encoded, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	return encoded
}

func algorithmOf(public crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if algorithm, ok := map[int]jose.SignatureAlgorithm{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}[key.Params().BitSize]; ok {
			return algorithm, nil
		}
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	case *rsa.PublicKey:
		return jose.RS256, nil
	}
	return "", fmt.Errorf("tokens cannot be signed with a key of type %s", keys.TypeOf(public))
}

// Thumbprint is the identifier of a key in tokens (RFC 7638), in base64url.
func Thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("couldn't name the key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// ReadKey reads a private key from a file in which only its owner can read: a
// JWK (RFC 7517) or a PEM block.
func ReadKey(path string) (crypto.Signer, error) {
	text, err := keys.ReadPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key: %w", err)
	}
	key, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the key %s: %w", path, err)
	}
	return key, nil
}

// ParseKey reads a private key: a JWK or a PEM block.
func ParseKey(text []byte) (crypto.Signer, error) {
	if !strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		return keys.Parse(text, nil)
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("it is no JWK: %w", err)
	}
	key, ok := jwk.Key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it has only the public half of the key")
	}
	return key, nil
}

// MarshalKey encodes a private key as a JWK that ReadKey reads.
func MarshalKey(key crypto.Signer) ([]byte, error) {
	text, err := marshalJWK(key, key.Public())
	return append(text, '\n'), err
}

// MarshalPublicKey encodes a public key as a JWK, as provisioners have it.
func MarshalPublicKey(public crypto.PublicKey) ([]byte, error) { return marshalJWK(public, public) }

func marshalJWK(key any, public crypto.PublicKey) ([]byte, error) {
	algorithm, err := algorithmOf(public)
	if err != nil {
		return nil, err
	}
	id, err := Thumbprint(public)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(algorithm), Use: "sig"})
	if err != nil {
		return nil, fmt.Errorf("couldn't encode the key: %w", err)
	}
	return text, nil
}
