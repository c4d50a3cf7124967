package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/expr"
	"chancery/internal/provisioner"
)

const publicKey = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`

func TestProvisioners(t *testing.T) {
	dir := t.TempDir()
	text := `provisioners:
  ci:
    type: jwk
    keys: [ci.jwk, '` + publicKey + `']
    profiles: [tls-server]
    names: ["uri:spiffe://corp/ci", {cel: '"email:" + token.sub'}]
    labels: {team: "1"}
    lifetime: 30m
`
	for name, data := range map[string]string{FileName: text, "ci.jwk": publicKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(LoadOptions{Dir: dir, Set: []string{"provisioners.ci.labels.site=berlin"}})
	if err != nil {
		t.Fatal(err)
	}
	ci := c.Provisioners["ci"]
	if ci.Labels["team"] != "1" || ci.Labels["site"] != "berlin" || ci.Lifetime.String() != "30m" || !slices.Equal(ci.Names, []expr.Value[string]{
		expr.Literal("uri:spiffe://corp/ci"), expr.CEL[string](`"email:" + token.sub`),
	}) {
		t.Errorf("read %+v", ci)
	}
	if _, err := provisioner.Compile("ci", ci, c.ProvisionerDeps()); err != nil {
		t.Error(err)
	}
	if files := c.NamedFiles(); !slices.Equal(files, []string{"ci.jwk"}) { // a backup needs them
		t.Errorf("the files are %v", files)
	}
}

// TestProvisionerWithoutFile leaves it to the server to want files that are
// missing: a backup that is being restored has its configuration first.
func TestProvisionerWithoutFile(t *testing.T) {
	c, err := Parse(FileName, []byte("provisioners: {ci: {type: jwk, keys: [gone.jwk]}}"))
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Error(), "chancery.yaml:1:") || !strings.Contains(c.Warnings[0].Error(), "provisioners.ci.keys[0]: the file can't be read") {
		t.Errorf("%v, %v", err, c)
	}
}

func TestProvisionerMistakes(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"{ci: {keys: [x]}}", `chancery.yaml:1:16: provisioners.ci.type: there is no type ""`},
		{"{ci: {type: ldap}}", `provisioners.ci.type: "ldap" is unknown; write jwk, oidc, `},
		{"{ci: {type: jwk}}", "provisioners.ci.keys: either keys or jwks_url"},
		{"{ci: {type: jwk, keys: [/]}}", "provisioners.ci.keys[0]: the file can't be read"},
		{"{ci: {type: jwk, keys: ['{\"kty\":\"oct\",\"k\":\"AAAA\"}']}}", "provisioners.ci.keys[0]: this can't be used: it is no public key for signatures"},
		{"{ci: {type: jwk, keys: ['" + publicKey + "'], issuer: https://a.corp}}", "provisioners.ci.issuer: this belongs to provisioners of the type oidc"},
		{"{ci: {type: jwk, keys: ['" + publicKey + "'], profiles: [gone]}}", "provisioners.ci.profiles[0]: there is no profile \"gone\""},
		{"{ci: {type: jwk, keys: ['" + publicKey + "'], names: ['not a name']}}", "provisioners.ci.names[0]: \"not a name\" is no name"},
		{"{ci: {type: jwk, keys: ['" + publicKey + "'], names: [{cel: 'tokn.sub'}]}}", "provisioners.ci.names[0]: line 1, column 1: undeclared reference"},
		{"{ci: {type: jwk, keys: ['" + publicKey + "'], names: [{cel: 'grant.name'}]}}", "only token and now are known here"},
		{"{ci: {type: jwk, keys: ['" + publicKey + "'], lifetime: 3y}}", "provisioners.ci.lifetime: "},
		{"{a/b: {type: jwk, keys: ['" + publicKey + "']}}", "provisioners.a/b: \"a/b\" is no name for a provisioner"},
		{"{ci: {type: x5c}}", "provisioners.ci.roots: name the CA certificates"},
	} {
		_, err := Parse(FileName, []byte("provisioners: "+test.text+"\n"))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "chancery.yaml:1:") {
			t.Errorf("%s: %v, want %q", test.text, err, test.want)
		}
	}
}

// TestDocumentedProvisioners reads what docs/token.md shows.
func TestDocumentedProvisioners(t *testing.T) {
	text, err := os.ReadFile("../../docs/token.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(examples) < 5 {
		t.Fatalf("%d examples", len(examples))
	}
	dir := t.TempDir()
	for _, example := range examples {
		for name, data := range map[string][]byte{FileName: example[1], "deploy.pub.jwk": []byte(publicKey), "old-root.pem": rootPEM(t)} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load(LoadOptions{Dir: dir}); err != nil {
			t.Errorf("%v:\n%s", err, example[1])
		}
	}
}

func rootPEM(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
