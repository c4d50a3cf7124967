package client_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/client"
)

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256}

func someKeys(t *testing.T) map[string]crypto.Signer {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{
		"P-256":   must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"P-384":   must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"Ed25519": edwards,
		"RSA":     must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)),
	}
}

func TestTokens(t *testing.T) {
	d := startDoor(t)
	now := time.Now().Truncate(time.Second)
	seen := map[string]bool{}
	for name, key := range someKeys(t) {
		text := must[string](t)(client.Token{
			Provisioner: "deploy", Server: "https://ca.corp.example:9443/", Names: []string{"web.corp", "uri:spiffe://corp/web"},
			Profile: "tls-mutual", Root: d.root, Key: key, Now: func() time.Time { return now },
		}.Sign())
		signed := must[*jose.JSONWebSignature](t)(jose.ParseSignedCompact(text, algorithms))
		payload := must[[]byte](t)(signed.Verify(key.Public()))
		var claims struct {
			Iss, Aud, Sub, Jti, Profile, Sha string
			Iat, Nbf, Exp                    int64
			Sans                             []string
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if claims.Iss != "deploy" || claims.Aud != "https://ca.corp.example:9443/api/v1/sign" || claims.Sub != "web.corp" ||
			claims.Iat != now.Unix() || claims.Nbf != now.Unix() || claims.Exp != now.Unix()+300 || claims.Profile != "tls-mutual" ||
			claims.Sha != hex.EncodeToString(fingerprint(d.root)) || !slices.Equal(claims.Sans, []string{"web.corp", "uri:spiffe://corp/web"}) {
			t.Errorf("%s: claims %s", name, payload)
		}
		if id := must[string](t)(client.Thumbprint(key.Public())); signed.Signatures[0].Header.KeyID != id {
			t.Errorf("%s: kid is %s, want %s", name, signed.Signatures[0].Header.KeyID, id)
		}
		if len(claims.Jti) != 22 || seen[claims.Jti] {
			t.Errorf("%s: jti is %q", name, claims.Jti)
		}
		seen[claims.Jti] = true
	}
}

// Servers compare the audience as text, so there must be one for each.
func TestTokensNameTheServerOneWay(t *testing.T) {
	key := someKeys(t)["P-256"]
	for server, want := range map[string]string{
		"https://CA.Corp.example": "https://ca.corp.example", "https://ca.corp.example:443/": "https://ca.corp.example",
		"https://ca.corp.example:9443": "https://ca.corp.example:9443", "HTTPS://[2001:DB8::1]:443": "https://[2001:db8::1]",
	} {
		text := must[string](t)(client.Token{Provisioner: "p", Server: server, Names: []string{"a"}, Key: key}.Sign())
		signed := must[*jose.JSONWebSignature](t)(jose.ParseSignedCompact(text, algorithms))
		var claims struct{ Aud string }
		if err := json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &claims); err != nil || claims.Aud != want+"/api/v1/sign" {
			t.Errorf("the token for %s is for %s (%v)", server, claims.Aud, err)
		}
	}
}

// A token of type x5c is verified with nothing but the root.
func TestTokensWithACertificate(t *testing.T) {
	d := startDoor(t)
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	leaf := d.sign(key.Public(), []string{"old.corp.example"})
	order := client.Token{Provisioner: "old", Server: d.URL, Names: []string{"a.corp"}, Key: key, Chain: []*x509.Certificate{leaf}}
	signed := must[*jose.JSONWebSignature](t)(jose.ParseSignedCompact(must[string](t)(order.Sign()), algorithms))
	chains, err := signed.Signatures[0].Header.Certificates(x509.VerifyOptions{
		Roots: client.Pool(d.root), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil || !chains[0][0].Equal(leaf) || signed.Signatures[0].Header.KeyID != "" {
		t.Fatalf("the chain is %v, %v", chains, err)
	}
	if _, err := signed.Verify(chains[0][0].PublicKey); err != nil {
		t.Error(err)
	}
	order.Key = must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if _, err := order.Sign(); err == nil {
		t.Error("signed with another key than the certificate's")
	}
}

func TestTokensNeedWhatTheySay(t *testing.T) {
	key := someKeys(t)["P-256"]
	p224 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	good := client.Token{Provisioner: "p", Server: "https://ca", Names: []string{"a"}, Key: key}
	for name, spoil := range map[string]func(*client.Token){
		"key": func(t *client.Token) { t.Key = nil }, "provisioner": func(t *client.Token) { t.Provisioner = "" },
		"server": func(t *client.Token) { t.Server = "ca" }, "names": func(t *client.Token) { t.Names = nil },
		"lifetime": func(t *client.Token) { t.Lifetime = -time.Second }, "curve": func(t *client.Token) { t.Key = p224 },
	} {
		order := good
		spoil(&order)
		if text, err := order.Sign(); err == nil {
			t.Errorf("%s: made %s", name, text)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	for name, key := range someKeys(t) {
		text := must[[]byte](t)(client.MarshalKey(key))
		path := filepath.Join(t.TempDir(), "key.jwk")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		again := must[crypto.Signer](t)(client.ReadKey(path))
		if !again.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
			t.Errorf("%s: reads as another key", name)
		}
		public := must[[]byte](t)(client.MarshalPublicKey(key.Public()))
		if strings.Contains(string(public), `"d"`) {
			t.Errorf("%s: the public half is %s", name, public)
		}
		if _, err := client.ParseKey(public); err == nil {
			t.Errorf("%s: took a public key for a private one", name)
		}
		if err := errors.Join(os.Chmod(path, 0o644)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.ReadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%s: a key for all to read: %v", name, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}`))
	f.Add([]byte(`{"kty":"oct","k":"AA"}`))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := client.ParseKey(text); err == nil && key.Public() == nil {
			t.Error("a key without a public half")
		}
	})
}
