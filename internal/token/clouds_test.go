package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/token"
)

func TestBadTokensOfGCP(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	ca := start(t, "gce: {type: gcp, projects: [web-prod], jwks_url: '"+i.URL+"/keys'}")
	instance := func(changes claims) claims {
		return claims{"google": claims{"compute_engine": claims{
			"project_id": "web-prod", "zone": "europe-west3-a", "instance_id": "152986662232938449", "instance_name": "web-1",
		}.with(changes)}}
	}
	b := &bearer{ca: ca, by: "gce", issue: i.signer, once: true, names: "dns:web-1.c.web-prod.internal dns:web-1.europe-west3-a.c.web-prod.internal"}
	b.good = func() claims {
		now := time.Now().Unix()
		return instance(nil).with(claims{"iss": "https://accounts.google.com", "aud": ca.BaseURL, "sub": "1075", "iat": now, "exp": now + 3600})
	}
	b.own = changed(t, i.signer, b.good, []made{
		{"of a service account alone", claims{"google": nil}, forbidden, "unauthorized", "format=full"},
		{"an instance that is a text", claims{"google": claims{"compute_engine": "x"}}, forbidden, "unauthorized", "format=full"},
		{"another project", instance(claims{"project_id": "web-test"}), forbidden, "unauthorized", `of the project "web-test"`},
		{"no project", instance(claims{"project_id": nil}), bad400, "malformed", `no claim "project_id"`},
		{"no number", instance(claims{"instance_id": nil}), bad400, "malformed", `no claim "instance_id"`},
		{"a wildcard", instance(claims{"instance_name": "*"}), bad400, "malformed", "none of DNS"},
		{"no host's name", instance(claims{"instance_name": "a b"}), bad400, "malformed", "none of DNS"},
	})
	b.refuses(t, 24*time.Hour)
	request := token.SignRequest{Token: i.token(t, b.good()), CSR: newCSR(t, newKey(t)), Provisioner: "gce"}
	sign(t, ca, request).refused(t, forbidden, "tokenUsed", "was used") // another token of the same instance
	b.good = func() claims {
		now := time.Now().Unix()
		return instance(claims{"instance_id": "7"}).with(claims{"iss": "accounts.google.com", "aud": ca.BaseURL, "sub": "1075", "iat": now, "exp": now + 3600})
	}
	b.serves(t)
}

func TestBadTokensOfAzure(t *testing.T) {
	t.Parallel()
	const tenant, subscription, other = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000", "99999999-7777-8888-9999-000000000000"
	i := newIssuer(t)
	ca := start(t, "vms: {type: azure, tenants: ["+tenant+"], subscriptions: ["+subscription+"], audience: ['api://chancery'], jwks_url: '"+i.URL+"/keys'}")
	machine := func(of, kind, name string) string {
		return "/subscriptions/" + of + "/resourcegroups/web/providers/Microsoft." + kind + "/" + name
	}
	named := func(name string) func() claims {
		return func() claims {
			now := time.Now().Unix()
			return claims{
				"iss": "https://sts.windows.net/" + tenant + "/", "aud": "api://chancery", "sub": "9d1d1f0e", "tid": tenant,
				"iat": now, "nbf": now, "exp": now + 3600, "xms_mirid": machine(subscription, "Compute/virtualMachines", name),
			}
		}
	}
	b := &bearer{ca: ca, by: "vms", issue: i.signer, good: named("web-1"), once: true, names: "dns:web-2"}
	b.own = changed(t, i.signer, b.good, []made{
		{"another tenant", claims{"tid": other}, forbidden, "unauthorized", `of the tenant "` + other + `"`},
		{"no tenant", claims{"tid": nil}, bad400, "malformed", `no claim "tid"`},
		{"the tenant of another issuer", claims{"iss": "https://sts.windows.net/" + other + "/"}, forbidden, "unauthorized", "the token is from"},
		{"made out for Azure itself", claims{"aud": "https://management.azure.com/"}, forbidden, "unauthorized", "the token is for"},
		{"of no managed identity", claims{"xms_mirid": nil}, forbidden, "unauthorized", `no claim "xms_mirid"`},
		{"asked for by a machine, of no identity", claims{"xms_mirid": nil, "xms_az_rid": machine(subscription, "Compute/virtualMachines", "web-9")}, forbidden, "unauthorized", `no claim "xms_mirid"`},
		{"of a function", claims{"xms_mirid": machine(subscription, "Web/sites", "f")}, forbidden, "unauthorized", "which is no virtual machine"},
		{"of an identity that a function uses", claims{"xms_mirid": machine(subscription, "ManagedIdentity/userAssignedIdentities", "i"), "xms_az_rid": machine(subscription, "Web/sites", "f")}, forbidden, "unauthorized", "which is no virtual machine"},
		{"another subscription", claims{"xms_mirid": machine(other, "Compute/virtualMachines", "web-1")}, forbidden, "unauthorized", "of the subscription"},
		{"of what is in a machine", claims{"xms_mirid": machine(subscription, "Compute/virtualMachines", "web-1/extensions/x")}, forbidden, "unauthorized", "which is no virtual machine"},
		{"a name of several labels", claims{"xms_mirid": machine(subscription, "Compute/virtualMachines", "www.corp.example")}, forbidden, "unauthorized", "no DNS name of one label"},
	})
	b.refuses(t, 25*time.Hour)
	request := token.SignRequest{Token: i.token(t, b.good().with(claims{"xms_mirid": strings.ToUpper(textOf(b.good()["xms_mirid"]))})), CSR: newCSR(t, newKey(t))}
	sign(t, ca, request).refused(t, forbidden, "tokenUsed", "was used") // another token of the same machine
	b.good = named("web-2")
	b.serves(t)
}

// region signs documents as the metadata service of a region does, by openssl.
type region struct{ certificate, key string }

func newRegion(t testing.TB) *region {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x7357), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{Country: []string{"US"}, Organization: []string{"Amazon Web Services LLC"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	dir := t.TempDir()
	r := &region{filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")}
	check(t, os.WriteFile(r.certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(r.key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600))
	return r
}

// sign makes a token of a document, with further options of openssl.
func (r *region) sign(t testing.TB, document string, options ...string) string {
	t.Helper()
	arguments := append([]string{"smime", "-sign", "-binary", "-nocerts", "-outform", "DER", "-signer", r.certificate, "-inkey", r.key}, options...)
	command := exec.CommandContext(t.Context(), "openssl", arguments...)
	command.Stdin = strings.NewReader(document)
	signed, err := command.Output()
	check(t, err)
	return base64.StdEncoding.EncodeToString(signed)
}

func TestBadTokensOfAWS(t *testing.T) {
	t.Parallel()
	frankfurt, other := newRegion(t), newRegion(t)
	ca := start(t, "ec2: {type: aws, accounts: ['123456789012'], regions: [eu-central-1], lifetime: 1h, certificates: ["+frankfurt.certificate+"]}, "+jwkSpec(t, "ci", newSigner(t), ""))
	document := func(changes claims) string {
		return text(t, claims{
			"accountId": "123456789012", "region": "eu-central-1", "instanceId": "i-1", "privateIp": "10.1.2.3",
			"pendingTime": time.Now().UTC().Format(time.RFC3339), "version": "2017-09-30", "billingProducts": []any{nil},
		}.with(changes))
	}
	good := func(id string) string {
		return frankfurt.sign(t, document(claims{"instanceId": id}), "-nodetach", "-md", "sha256")
	}
	changedTo := func(changes claims) string { return frankfurt.sign(t, document(changes), "-nodetach", "-md", "sha256") }
	whole, err := base64.StdEncoding.DecodeString(good("i-1"))
	check(t, err)
	forged := base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(whole), "10.1.2.3", "10.1.2.4", 1)))
	refuseAll(t, ca, "ec2", []bad{
		{"another account", changedTo(claims{"accountId": "210987654321"}), forbidden, "unauthorized", `of the account "210987654321"`},
		{"another region", changedTo(claims{"region": "eu-west-1"}), forbidden, "unauthorized", "that of the region eu-west-1 is"},
		{"unknown region", changedTo(claims{"region": "mars-1"}), forbidden, "unauthorized", `of the region "mars-1"`},
		{"another signer", other.sign(t, document(nil), "-nodetach", "-md", "sha256"), forbidden, "unauthorized", "not by the certificate of the region eu-central-1"},
		{"document changed", forged, forbidden, "unauthorized", "its digest is another"},
		{"signature alone", frankfurt.sign(t, document(nil), "-md", "sha256"), bad400, "malformed", "no signed instance identity document"},
		{"without attributes", frankfurt.sign(t, document(nil), "-nodetach", "-md", "sha256", "-noattr"), bad400, "malformed", "no signed instance identity document"},
		{"a weak digest", frankfurt.sign(t, document(nil), "-nodetach", "-md", "sha1"), bad400, "malformed", "no signed instance identity document"},
		{"launched long ago", changedTo(claims{"pendingTime": "2026-01-01T00:00:00Z"}), forbidden, "unauthorized", "takes 1h0m0s at most"},
		{"not launched yet", changedTo(claims{"pendingTime": "2126-01-01T00:00:00Z"}), forbidden, "unauthorized", "set the clocks right"},
		{"no time", changedTo(claims{"pendingTime": "yesterday"}), bad400, "malformed", "is no time"},
		{"no instance", changedTo(claims{"instanceId": nil}), bad400, "malformed", `no claim "instanceId"`},
		{"no address", changedTo(claims{"privateIp": "web.corp"}), bad400, "malformed", "is no address"},
		{"account twice", frankfurt.sign(t, `{"accountId":"1",`+document(nil)[1:], "-nodetach", "-md", "sha256"), bad400, "malformed", "one is there twice"},
		{"not JSON", frankfurt.sign(t, "hello", "-nodetach", "-md", "sha256"), bad400, "malformed", "no JSON object"},
		{"a JWT", newSigner(t).token(t, claimsFor(ca, "ec2", "a.corp")), bad400, "malformed", "no signed instance identity document"},
		{"the document alone", base64.StdEncoding.EncodeToString([]byte(document(nil))), bad400, "malformed", "no signed instance identity document"},
		{"trailing bytes", base64.StdEncoding.EncodeToString(append(whole, 0)), bad400, "malformed", "no signed instance identity document"},
		{"no base64", "%", bad400, "malformed", "no base64"},
		{"empty", "", bad400, "malformed", "no signed instance identity document"},
		{"one megabyte", strings.Repeat("A", 1<<20), 413, "tooLarge", "octets"},
		{"too long", strings.Repeat("A", 100<<10), bad400, "malformed", "at most 65536"},
	}, func() string { return good("i-1") })

	request := token.SignRequest{Token: good("i-1"), CSR: newCSR(t, newKey(t)), Provisioner: "ec2"}
	sign(t, ca, request).refused(t, forbidden, "tokenUsed", "was used") // another document of the same instance
	request.Token = good("i-2")
	if made, _ := sign(t, ca, request).issued(t); strings.Join(made.Names, " ") != "ip:10.1.2.3" {
		t.Errorf("the names are %v", made.Names)
	}
	for _, by := range []string{"", "ci"} { // whose it is must be said, rightly
		request.Provisioner, request.Token = by, good("i-3")
		sign(t, ca, request).refused(t, bad400, "malformed", "the token is no JWT")
	}
}
