package profile_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"chancery/internal/config"
	"chancery/internal/expr"
	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/lint"
	"chancery/internal/profile"
	"chancery/internal/serial"
	"chancery/internal/x509der"
)

const profiles = `
profiles:
  spiffe:
    san: {omit_identifiers: true, uris: [{cel: '"spiffe://corp/" + token.sub'}]}
    extended_key_usages: [serverAuth, clientAuth]
    validity: {default: 1h}
  mesh:
    subject: {organization: Corp, common_name: {cel: '"Mesh " + grant.labels.team'}}
    san: {uris: ["spiffe://corp.example"]}
    basic_constraints: {ca: true, path_length: 1}
    name_constraints:
      permitted: {dns: [{cel: 'grant.labels.team + ".corp.example"'}], ips: [10.2.0.0/16], uris: [corp.example]}
      excluded: {dns: [secret.a.corp.example], emails: [corp.example], ips: ["::/0"]}
    policies: [{oid: 1.3.6.1.4.1.55555.1, cps: "http://ca.corp.example/cps"}]
  custom:
    extensions:
      - {oid: 1.3.6.1.4.1.55555.1, value: {utf8: {cel: 'token.name'}}}
      - {oid: 1.3.6.1.4.1.55555.2, value: {ia5: plain}}
      - {oid: 1.3.6.1.4.1.55555.3, value: {printable: "A (1)"}}
      - {oid: 1.3.6.1.4.1.55555.4, value: {int: {cel: 'token.uid * -1'}}}
      - {oid: 1.3.6.1.4.1.55555.5, value: {bool: {cel: '"x" in token.groups'}}}
      - {oid: 1.3.6.1.4.1.55555.6, value: {bytes: "base64:AQID"}}
      - {oid: 1.3.6.1.4.1.55555.7, value: {oid: 1.2.840.113549}}
      - {oid: 1.3.6.1.4.1.55555.8, value: {sequence: [{int: 5}, {sequence: [{bool: false}]}, {bytes: {cel: 'b"\xff"'}}]}}
      - {oid: 1.3.6.1.4.1.55555.9, critical: true, value: {der: {cel: 'csr.extensions["1.2.3"]'}}}
  smime:
    extended_key_usages: [emailProtection]
    key_usages: [digitalSignature, keyEncipherment, keyAgreement]
    san: {types: [email]}
    subject: {country: DE, common_name: {cel: 'emails[0]'}}
  code:
    extended_key_usages: [codeSigning]
    san: {omit_identifiers: true}
    subject: {organization: Corp, organizational_unit: {cel: 'grant.labels.map(l, l + "=" + grant.labels[l])'}, serial_number: "7", common_name: Release}
  addresses:
    san: {types: [ip]}
  staple:
    must_staple: true
    urls: {ocsp: "http://ocsp.corp.example", crl: "http://ca.corp.example/1.crl", issuer: "http://ca.corp.example/i.der"}
  team:
    subject: {organizational_unit: {cel: 'grant.labels.team'}, extra: [{oid: 0.9.2342.19200300.100.1.25, value: corp}]}
    restricted: true
  signed:
    subject: {common_name: {cel: 'csr.subject.common_name'}}
`

var now = time.Date(2026, 11, 23, 20, 3, 4, 567, time.UTC)

// Each profile with one request: the subject and all extensions as OpenSSL
// shows them, but for the two key identifiers.
func TestTable(t *testing.T) {
	set := compileAll(t, profiles)
	facts := expr.Facts{
		Grant: &expr.Grant{ID: "g", Labels: map[string]string{"team": "a"}, Profiles: []string{"team"}},
		Token: expr.Claims{"sub": "ns/web", "name": "Größe", "uid": 1000, "groups": []string{"x"}},
	}
	const leaf = "Key Usage: critical|Digital Signature|Extended Key Usage:|TLS Web Server Authentication|Basic Constraints: critical|CA:FALSE|"
	for name, test := range map[string]struct {
		names []identifier.Identifier
		want  string
	}{
		"spiffe": {nil, "|Key Usage: critical|Digital Signature|Extended Key Usage:|TLS Web Server Authentication, TLS Web Client Authentication|Basic Constraints: critical|CA:FALSE|" +
			"Subject Alternative Name: critical|URI:spiffe://corp/ns/web"},
		"mesh": {nil, "O=Corp,CN=Mesh a|Key Usage: critical|Digital Signature, Certificate Sign, CRL Sign|Basic Constraints: critical|CA:TRUE, pathlen:1|" +
			"Subject Alternative Name:|URI:spiffe://corp.example|Certificate Policies:|Policy: 1.3.6.1.4.1.55555.1|CPS: http://ca.corp.example/cps|" +
			"Name Constraints: critical|Permitted:|DNS:a.corp.example|IP:10.2.0.0/255.255.0.0|URI:corp.example|Excluded:|DNS:secret.a.corp.example|IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0|email:corp.example"},
		"custom": {names("dns:a.corp"), "|" + leaf + "Subject Alternative Name: critical|DNS:a.corp|" +
			"1.3.6.1.4.1.55555.1:|..Gr....e|1.3.6.1.4.1.55555.2:|..plain|1.3.6.1.4.1.55555.3:|..A (1)|1.3.6.1.4.1.55555.4:|....|1.3.6.1.4.1.55555.5:|...|" +
			"1.3.6.1.4.1.55555.6:|.....|1.3.6.1.4.1.55555.7:|..*.H..|1.3.6.1.4.1.55555.8:|0....0.......|1.3.6.1.4.1.55555.9: critical|.."},
		"smime": {names("email:jane@corp.example"), "C=DE,CN=jane@corp.example|Key Usage: critical|Digital Signature, Key Agreement|Extended Key Usage:|E-mail Protection|Basic Constraints: critical|CA:FALSE|" +
			"Subject Alternative Name:|email:jane@corp.example"},
		"code":      {names("dns:build.corp"), "O=Corp,OU=team=a,serialNumber=7,CN=Release|Key Usage: critical|Digital Signature|Extended Key Usage:|Code Signing|Basic Constraints: critical|CA:FALSE"},
		"addresses": {names("ip:10.0.0.1", "ip:2001:db8::1"), "|" + leaf + "Subject Alternative Name: critical|IP Address:10.0.0.1, IP Address:2001:DB8:0:0:0:0:0:1"},
		"staple": {names("dns:a.corp"), "|" + leaf + "Authority Information Access:|OCSP - URI:http://ocsp.corp.example|CA Issuers - URI:http://ca.corp.example/i.der|" +
			"Subject Alternative Name: critical|DNS:a.corp|CRL Distribution Points:|Full Name:|URI:http://ca.corp.example/1.crl|TLS Feature:|status_request"},
		"team":   {names("dns:a.corp"), "DC=corp,OU=a|" + leaf + "Subject Alternative Name:|DNS:a.corp"},
		"signed": {names("dns:a.corp"), "CN=from-csr.corp|" + leaf + "Subject Alternative Name:|DNS:a.corp"},
	} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			cert := ca.issue(t, set[name], test.names, facts)
			if got := shown(t, cert); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			ca.openssl(t, true, cert)
			if err := lint.New().CheckSample(cert.RawTBSCertificate, ca.issuer.Algorithm()); err != nil {
				t.Error(err)
			}
			if _, err := lint.New().Profile(set[name], ca.issuer, now); err != nil {
				t.Error(err)
			}
		})
	}
}

// The values of custom extensions, which OpenSSL shows in part.
func TestCustomExtensionBytes(t *testing.T) {
	facts := expr.Facts{Token: expr.Claims{"name": "Größe", "uid": 1000, "groups": []string{"x"}}}
	cert := newAuthority(t).issue(t, compileAll(t, profiles)["custom"], names("dns:a.corp"), facts)
	want := map[string]string{
		"1": "\x0c\x07Gr\xc3\xb6\xc3\x9fe", "2": "\x16\x05plain", "3": "\x13\x05A (1)", "4": "\x02\x02\xfc\x18", "5": "\x01\x01\xff", "6": "\x04\x03\x01\x02\x03",
		"7": "\x06\x06\x2a\x86\x48\x86\xf7\x0d", "8": "\x30\x0b\x02\x01\x05\x30\x03\x01\x01\x00\x04\x01\xff", "9": "\x05\x00",
	}
	for _, extension := range cert.Extensions {
		number, ok := strings.CutPrefix(extension.Id.String(), "1.3.6.1.4.1.55555.")
		if ok && (string(extension.Value) != want[number] || extension.Critical != (number == "9")) {
			t.Errorf("%s: %x, critical %v; want %x", extension.Id, extension.Value, extension.Critical, want[number])
		}
		delete(want, number)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// Under a mesh intermediate, leaves inside its constraints verify, and others
// don't; nor does a CA below what its path length allows.
func TestMeshIntermediate(t *testing.T) {
	set := compileAll(t, profiles)
	root := newAuthority(t)
	mesh := root.issue(t, set["mesh"], nil, expr.Facts{Grant: &expr.Grant{Labels: map[string]string{"team": "a"}}})
	issuer, err := profile.NewIssuer(mesh)
	if err != nil {
		t.Fatal(err)
	}
	below := &authority{root.cert, mesh, root.key, issuer}
	for text, verifies := range map[string]bool{
		"dns:a.corp.example": true, "dns:x.a.corp.example": true, "dns:b.corp.example": false, "dns:secret.a.corp.example": false,
		"ip:10.2.3.4": true, "ip:10.3.3.4": false, "ip:2001:db8::1": false,
	} {
		below.openssl(t, verifies, below.issue(t, set["tls-server"], names(text), expr.Facts{}))
	}
	_, err = set["mesh"].ToBeSigned(below.input(t, nil, expr.Facts{}))
	if err == nil || !strings.Contains(err.Error(), "path length 1, and that of the issuer is 1") {
		t.Errorf("a CA with the same path length below it: %v", err)
	}
}

// A profile passes the lints whatever its expressions read: where the facts of
// samples don't do, something of the right form stands in.
func TestSamplesStandIn(t *testing.T) {
	set := compileAll(t, `
profiles:
  all:
    subject:
      country: {cel: token.c}
      province: {cel: token.c}
      locality: {cel: token.c}
      postal_code: {cel: token.c}
      street_address: {cel: token.c}
      organization: {cel: token.c}
      organizational_unit: {cel: token.c}
      serial_number: {cel: token.c}
      extra: [{oid: 2.5.4.12, value: {cel: token.c}}, {oid: 0.9.2342.19200300.100.1.25, value: {cel: token.c}}]
    san: {types: [dns, ip, email, uri], dns: {cel: token.c}, ips: {cel: token.c}, emails: {cel: token.c}, uris: {cel: token.c}}
    extensions:
      - {oid: 1.2.3.4, value: {sequence: [{utf8: {cel: token.c}}, {int: {cel: token.c}}, {bool: {cel: token.c}}, {oid: {cel: token.c}}, {bytes: {cel: token.c}}, {der: {cel: token.c}}]}}
  ca:
    subject: {common_name: {cel: token.c}}
    basic_constraints: {ca: true}
    name_constraints: {permitted: {dns: {cel: token.c}, ips: {cel: token.c}, emails: {cel: token.c}, uris: {cel: token.c}}}
`)
	for _, name := range []string{"all", "ca"} {
		if warnings, err := lint.New().Profile(set[name], newAuthority(t).issuer, now); err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", name, warnings, err)
		}
	}
}

// What requesters lack, and who may not, is told.
func TestTableRefuses(t *testing.T) {
	set := compileAll(t, profiles)
	team := expr.Facts{Grant: &expr.Grant{ID: "g", Profiles: []string{"other"}}}
	for _, test := range []struct {
		profile string
		names   []identifier.Identifier
		facts   expr.Facts
		kind    failure.Kind
		says    string
	}{
		{"spiffe", nil, expr.Facts{}, failure.Rejected, `the profile spiffe can't fill san.uris[0] with its expression "spiffe://corp/" + token.sub: no such key: sub`},
		{"spiffe", nil, expr.Facts{Token: expr.Claims{"sub": "a b"}}, failure.Rejected, `it gives "spiffe://corp/a b": the URI has the character ' '`},
		{"spiffe", nil, expr.Facts{Token: expr.Claims{"sub": ""}}, failure.Rejected, "the path of a SPIFFE ID"},
		{"spiffe", nil, expr.Facts{Token: expr.Claims{"sub": 7}}, failure.Rejected, "no such overload"},
		{"mesh", nil, expr.Facts{Grant: &expr.Grant{}}, failure.Rejected, "subject.common_name[0] with its expression"},
		{"smime", names("dns:a.corp"), expr.Facts{}, failure.Unsupported, "the profile smime takes no names like dns:a.corp; it takes those of the types email"},
		{"addresses", nil, expr.Facts{}, failure.Malformed, "0 names"},
		{"team", names("dns:a.corp"), expr.Facts{}, failure.BadProfile, "for accounts whose grant names it"},
		{"team", names("dns:a.corp"), team, failure.BadProfile, "for accounts whose grant names it"},
		{"custom", names("dns:a.corp"), expr.Facts{Token: expr.Claims{"name": strings.Repeat("x", 5000), "uid": 1, "groups": []string{}}}, failure.Rejected, "at most 4096"},
	} {
		_, err := set[test.profile].ToBeSigned(newAuthority(t).input(t, test.names, test.facts))
		if err == nil || failure.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v (kind %d)\nwant kind %d: %s", test.profile, err, failure.KindOf(err), test.kind, test.says)
		}
	}
	in := newAuthority(t).input(t, names("dns:a.corp"), expr.Facts{})
	in.CSR = nil
	if _, err := set["signed"].ToBeSigned(in); failure.KindOf(err) != failure.BadCSR {
		t.Errorf("a CSR without common name: %v", err)
	}
}

func compileAll(t testing.TB, text string) map[string]*profile.Profile {
	t.Helper()
	c, err := config.Parse("profiles.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c.Compiled
}

func names(texts ...string) []identifier.Identifier {
	var ids []identifier.Identifier
	for _, text := range texts {
		typ, value, _ := strings.Cut(text, ":")
		ids = append(ids, identifier.Identifier{Type: identifier.Type(typ), Value: value})
	}
	return ids
}

// authority signs: root trusts, cert issues.
type authority struct {
	root, cert *x509.Certificate
	key        *ecdsa.PrivateKey
	issuer     *profile.Issuer
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := profile.NewIssuer(cert)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, cert, key, issuer}
}

// input asks with the authority's own key, so that what is issued can issue.
func (ca *authority) input(t testing.TB, ids []identifier.Identifier, facts expr.Facts) profile.Input {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(ca.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	number, err := serial.New(now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "from-csr.corp"}, ExtraExtensions: []pkix.Extension{{Id: []int{1, 2, 3}, Value: []byte{5, 0}}},
	}, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return profile.Input{
		Issuer: ca.issuer, Serial: number, Identifiers: ids, PublicKey: ca.key.Public(), SPKI: spki, Now: now,
		Door: "acme", Facts: facts, CSR: csr,
	}
}

func (ca *authority) issue(t testing.TB, p *profile.Profile, ids []identifier.Identifier, facts expr.Facts) *x509.Certificate {
	t.Helper()
	tbs, err := p.ToBeSigned(ca.input(t, ids, facts))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(tbs.DER)
	signature, err := ca.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(x509der.Assemble(tbs.DER, ca.issuer.Algorithm(), signature))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func writePEM(t testing.TB, dir, name string, cert *x509.Certificate) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openssl verifies cert, strictly, and wants that to succeed or not.
func (ca *authority) openssl(t *testing.T, verifies bool, cert *x509.Certificate) {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("openssl", "verify", "-x509_strict", "-ignore_critical", "-attime", "1795464184", "-CAfile", writePEM(t, dir, "root.pem", ca.root),
		"-untrusted", writePEM(t, dir, "issuer.pem", ca.cert), writePEM(t, dir, "cert.pem", cert)).CombinedOutput()
	if (err == nil) != verifies {
		t.Errorf("openssl verify of %v %v: %v\n%s; want success %v", cert.DNSNames, cert.IPAddresses, err, out, verifies)
	}
}

// shown is the subject and the extensions as OpenSSL shows them, on one line.
func shown(t *testing.T, cert *x509.Certificate) string {
	t.Helper()
	path := writePEM(t, t.TempDir(), "cert.pem", cert)
	subject, err := exec.Command("openssl", "x509", "-noout", "-subject", "-nameopt", "sep_comma_plus,esc_ctrl,utf8", "-in", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("openssl", "x509", "-noout", "-text", "-certopt", "no_sigdump", "-in", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, extensions, _ := strings.Cut(string(text), "X509v3 extensions:\n")
	extensions = regexp.MustCompile(`X509v3 (Subject|Authority) Key Identifier:.*\n.*\n`).ReplaceAllString(extensions, "")
	lines := []string{strings.TrimSpace(strings.TrimPrefix(string(subject), "subject="))}
	for line := range strings.Lines(extensions) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "X509v3 "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "|")
}

// What an expression adds to the cost of a certificate.
func BenchmarkExpression(b *testing.B) {
	ca, p := newAuthority(b), compileAll(b, profiles)["spiffe"]
	in := ca.input(b, nil, expr.Facts{Token: expr.Claims{"sub": "ns/web"}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.ToBeSigned(in); err != nil {
			b.Fatal(err)
		}
	}
}
