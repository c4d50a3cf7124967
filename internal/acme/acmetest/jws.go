package acmetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Encode is unpadded base64url, the only one in ACME.
func Encode(octets []byte) string { return base64.RawURLEncoding.EncodeToString(octets) }

// JWK is a public key as a JWK, its members in the order of RFC 7638.
func JWK(public crypto.PublicKey) json.RawMessage {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4 || x || y
		if err != nil {
			panic(err) // a key the test made
		}
		half := len(point) / 2
		return fmt.Appendf(nil, `{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`,
			key.Params().Name, Encode(point[1:1+half]), Encode(point[1+half:]))
	case ed25519.PublicKey:
		return fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":"%s"}`, Encode(key))
	case *rsa.PublicKey:
		return fmt.Appendf(nil, `{"e":"%s","kty":"RSA","n":"%s"}`, Encode(big.NewInt(int64(key.E)).Bytes()), Encode(key.N.Bytes()))
	default:
		panic(fmt.Sprintf("no JWK of a %T", public))
	}
}

// Thumbprint is the key's by RFC 7638.
func Thumbprint(public crypto.PublicKey) string {
	sum := sha256.Sum256(JWK(public))
	return Encode(sum[:])
}

// Algorithm is the "alg" that goes with a key.
func Algorithm(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Params().BitSize]
	case ed25519.PublicKey:
		return "EdDSA"
	default:
		return "RS256"
	}
}

// Sign makes a flattened JWS by key over a protected header and a payload.
func Sign(key crypto.Signer, header map[string]any, payload []byte) []byte {
	return seal(header, payload, func(input []byte) []byte { return signature(key, input) })
}

// MAC makes a flattened JWS with HS256, as external account bindings are.
func MAC(secret []byte, header map[string]any, payload []byte) []byte {
	return seal(header, payload, func(input []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(input)
		return mac.Sum(nil)
	})
}

func seal(header map[string]any, payload []byte, sign func([]byte) []byte) []byte {
	protected, err := json.Marshal(header)
	if err != nil {
		panic(err) // a header the test made
	}
	input := Encode(protected) + "." + Encode(payload)
	return fmt.Appendf(nil, `{"protected":"%s","payload":"%s","signature":"%s"}`,
		Encode(protected), Encode(payload), Encode(sign([]byte(input))))
}

// signature is the key's over input, in the form of JWS (RFC 7518 §3).
func signature(key crypto.Signer, input []byte) []byte {
	hash, digest := crypto.SHA256, input
	switch Algorithm(key.Public()) {
	case "ES384":
		hash = crypto.SHA384
	case "ES512":
		hash = crypto.SHA512
	case "EdDSA":
		hash = 0
	}
	if hash != 0 {
		h := hash.New()
		h.Write(input)
		digest = h.Sum(nil)
	}
	signed, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		panic(err) // a key the test made
	}
	if public, ok := key.Public().(*ecdsa.PublicKey); ok {
		return rawSignature(signed, (public.Params().BitSize+7)/8)
	}
	return signed
}

// rawSignature turns a DER signature of ECDSA into two numbers of that size.
func rawSignature(der []byte, size int) []byte {
	var r, s big.Int
	input, inner := cryptobyte.String(der), cryptobyte.String{}
	if !input.ReadASN1(&inner, asn1.SEQUENCE) || !inner.ReadASN1Integer(&r) || !inner.ReadASN1Integer(&s) {
		panic("a signature that crypto/ecdsa made cannot be read")
	}
	raw := make([]byte, 2*size)
	r.FillBytes(raw[:size])
	s.FillBytes(raw[size:])
	return raw
}
