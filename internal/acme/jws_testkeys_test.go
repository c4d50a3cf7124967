package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

const (
	jwsTestURL   = "https://ca.example/acme/new-order"
	jwsTestKeyID = "https://ca.example/acme/account/1"
	jwsTestNonce = "5XJ1L3lEkMG7tR6pA00clA"
)

// jwsTestKeys has a private key for each algorithm. All but the RSA key are
// the same in every process, as fuzzing needs.
var jwsTestKeys = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{
		"ES256": jwsTestECKey(elliptic.P256(), 7),
		"ES384": jwsTestECKey(elliptic.P384(), 7),
		"ES512": jwsTestECKey(elliptic.P521(), 7),
		"EdDSA": jwsTestEdKey(),
		"RS256": rsaKey,
	}
})

func jwsTestEdKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, 32)) }

// jwsTestECKey is the key whose scalar is a small number.
func jwsTestECKey(curve elliptic.Curve, scalar uint16) *ecdsa.PrivateKey {
	raw := make([]byte, (curve.Params().BitSize+7)/8)
	raw[len(raw)-2], raw[len(raw)-1] = byte(scalar>>8), byte(scalar)
	key, err := ecdsa.ParseRawPrivateKey(curve, raw)
	if err != nil {
		panic(err)
	}
	return key
}

// jwsTestJWK is the JWK of a public key as go-jose prints it.
func jwsTestJWK(public crypto.PublicKey) []byte {
	text, err := (&jose.JSONWebKey{Key: public}).MarshalJSON()
	if err != nil {
		panic(err)
	}
	return text
}

// jwsTestSign signs protected and payload, whatever is in them, with the P-256
// or Ed25519 test key, and puts more in front of the flattened JWS's members.
func jwsTestSign(key crypto.Signer, protected, payload, more string) []byte {
	protected, payload = jwkText([]byte(protected)), jwkText([]byte(payload))
	return jwsTestSignText(key, protected, payload, more)
}

// jwsTestSignText does the same for what is in base64url already.
func jwsTestSignText(key crypto.Signer, protected, payload, more string) []byte {
	input := []byte(protected + "." + payload)
	var signature []byte
	switch key := key.(type) {
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, input)
	case *ecdsa.PrivateKey:
		digest := sha256.Sum256(input)
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			panic(err)
		}
		signature = slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32)))
	default:
		panic("no such test key")
	}
	return fmt.Appendf(nil, `{%s"protected":%q,"payload":%q,"signature":"%s"}`, more, protected, payload, jwkText(signature))
}

// jwsTestNonceSource makes go-jose put the test nonce into what it signs.
type jwsTestNonceSource struct{}

func (jwsTestNonceSource) Nonce() (string, error) { return jwsTestNonce, nil }

// jwsTestJose signs with go-jose, as an ACME client would.
func jwsTestJose(tb testing.TB, algorithm string, embed bool, payload []byte) []byte {
	tb.Helper()
	key := jose.JSONWebKey{Key: jwsTestKeys()[algorithm], KeyID: jwsTestKeyID}
	options := &jose.SignerOptions{NonceSource: jwsTestNonceSource{}, EmbedJWK: embed}
	options.WithHeader("url", jwsTestURL)
	if embed {
		key.KeyID = ""
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, options)
	if err != nil {
		tb.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		tb.Fatal(err)
	}
	return []byte(signed.FullSerialize())
}

// jwsTestTwin is go-jose's opinion of a message.
func jwsTestTwin(body []byte, key crypto.PublicKey) (payload []byte, header jose.Header, err error) {
	var algorithms []jose.SignatureAlgorithm
	for _, name := range SignatureAlgorithms() {
		algorithms = append(algorithms, jose.SignatureAlgorithm(name))
	}
	parsed, err := jose.ParseSignedJSON(string(body), algorithms)
	if err != nil {
		return nil, header, err
	}
	payload, err = parsed.Verify(key)
	return payload, parsed.Signatures[0].Protected, err
}

// jwsTestDecode is base64url as encoding/base64 reads it.
func jwsTestDecode(tb testing.TB, text string) []byte {
	tb.Helper()
	octets, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		tb.Fatal(err)
	}
	return octets
}

// jwsTestOtherLetter returns a letter of base64url that is not c.
func jwsTestOtherLetter(c byte) byte {
	if c == 'A' {
		return 'B'
	}
	return 'A'
}
