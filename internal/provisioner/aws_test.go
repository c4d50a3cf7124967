package provisioner

import (
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/duration"
	"chancery/internal/expr"
	"chancery/internal/failure"
)

// awsDocument is the example of the EC2 user guide.
const awsDocument = `{
    "devpayProductCodes" : null,
    "marketplaceProductCodes" : [ "1abc2defghijklm3nopqrs4tu" ],
    "availabilityZone" : "us-west-2b",
    "privateIp" : "10.158.112.84",
    "version" : "2017-09-30",
    "instanceId" : "i-1234567890abcdef0",
    "billingProducts" : null,
    "instanceType" : "t2.micro",
    "accountId" : "123456789012",
    "imageId" : "ami-5fb8c835",
    "pendingTime" : "2016-11-19T16:32:11Z",
    "architecture" : "x86_64",
    "kernelId" : null,
    "ramdiskId" : null,
    "region" : "us-west-2"
}`

// awsSigned2017 and awsSigned2026 are documents of real instances, which have
// been published: in the form that AWS gave them at first, and in that of 2026.
const (
	awsSigned2017 = `MIAGCSqGSIb3DQEHAqCAMIACAQExDzANBglghkgBZQMEAgEFADCABgkqhkiG9w0BBwGggCSABIIB
1HsKICAiYXZhaWxhYmlsaXR5Wm9uZSIgOiAidXMtZWFzdC0xZSIsCiAgImRldnBheVByb2R1Y3RD
b2RlcyIgOiBudWxsLAogICJtYXJrZXRwbGFjZVByb2R1Y3RDb2RlcyIgOiBudWxsLAogICJ2ZXJz
aW9uIiA6ICIyMDE3LTA5LTMwIiwKICAiaW5zdGFuY2VJZCIgOiAiaS0wNTU5NTBiOWNmYmNlMGNl
MyIsCiAgImJpbGxpbmdQcm9kdWN0cyIgOiBudWxsLAogICJpbnN0YW5jZVR5cGUiIDogIm00Lmxh
cmdlIiwKICAicGVuZGluZ1RpbWUiIDogIjIwMTctMTItMjlUMDU6MzQ6MDdaIiwKICAicHJpdmF0
ZUlwIiA6ICIxMDAuNjYuMzkuMTU0IiwKICAiYWNjb3VudElkIiA6ICIxNzk3MjcxMDExOTQiLAog
ICJhcmNoaXRlY3R1cmUiIDogIng4Nl82NCIsCiAgImtlcm5lbElkIiA6IG51bGwsCiAgInJhbWRp
c2tJZCIgOiBudWxsLAogICJpbWFnZUlkIiA6ICJhbWktZWExNjU5OTAiLAogICJyZWdpb24iIDog
InVzLWVhc3QtMSIKfQAAAAAAADGCAf8wggH7AgEBMGkwXDELMAkGA1UEBhMCVVMxGTAXBgNVBAgT
EFdhc2hpbmd0b24gU3RhdGUxEDAOBgNVBAcTB1NlYXR0bGUxIDAeBgNVBAoTF0FtYXpvbiBXZWIg
U2VydmljZXMgTExDAgkAsWnMQBVZpBkwDQYJYIZIAWUDBAIBBQCgaTAYBgkqhkiG9w0BCQMxCwYJ
KoZIhvcNAQcBMBwGCSqGSIb3DQEJBTEPFw0xNzEyMjkwNTM0MTJaMC8GCSqGSIb3DQEJBDEiBCAn
Rmg+lfohgYY+mmmARsuY+eDhZnxkqSnq3QFOzB0N2jANBgkqhkiG9w0BAQEFAASCAQB8huDo5kOL
VGKjGeT3EfK43by0SqS3FThw2VIL4dnFf1OV3c53DT2YjIq4nf9IXFCuE51ch7TLsY9TWTGbLr+U
1UF9Y6sahEAfJpp3Vk4KyMwuiELm0/glExksUMgy51tOOAqOMXwoHPBKtnWx9ZVSmv/KUrU3R3ar
mHBrUrcOdZxF2OMPIanWyTJ3aO1uPX4LZOTS/vnM792ED1YlZ1bKl8iu1U0WXEKqc4arkmeqvDhv
Is2cg4EKr4QE103dAGCSZzRd+IKd6ZiKivcZP4ul1006IJSrAP0VK4N+PS0bw9xzacMOPPdeP/Ji
GYlCiiT2tSXwNWB/nKeeSDyPoa4YAAAAAAAA`

	awsSigned2026 = `MIAGCSqGSIb3DQEHAqCAMIACAQExDTALBglghkgBZQMEAgEwgAYJKoZIhvcNAQcBoIAkgASCAeR7
CiAgImFjY291bnRJZCIgOiAiMTg5MjkyNzkxMzYwIiwKICAiYXJjaGl0ZWN0dXJlIiA6ICJhcm02
NCIsCiAgImF2YWlsYWJpbGl0eVpvbmUiIDogImFwLXNvdXRoZWFzdC0yYSIsCiAgImJpbGxpbmdQ
cm9kdWN0cyIgOiBudWxsLAogICJkZXZwYXlQcm9kdWN0Q29kZXMiIDogbnVsbCwKICAibWFya2V0
cGxhY2VQcm9kdWN0Q29kZXMiIDogbnVsbCwKICAiaW1hZ2VJZCIgOiAiYW1pLTBjYmRlNzQ0NjIz
Yjc1MDZiIiwKICAiaW5zdGFuY2VJZCIgOiAiaS0wYzU1NDE5MzZjYWY3OGMxMiIsCiAgImluc3Rh
bmNlVHlwZSIgOiAidDRnLnNtYWxsIiwKICAia2VybmVsSWQiIDogbnVsbCwKICAicGVuZGluZ1Rp
bWUiIDogIjIwMjYtMDItMTZUMDA6Mzg6MjdaIiwKICAicHJpdmF0ZUlwIiA6ICIxMC4wLjEuMjQy
IiwKICAicmFtZGlza0lkIiA6IG51bGwsCiAgInJlZ2lvbiIgOiAiYXAtc291dGhlYXN0LTIiLAog
ICJ2ZXJzaW9uIiA6ICIyMDE3LTA5LTMwIgp9AAAAAAAAMYICKzCCAicCAQEwaTBcMQswCQYDVQQG
EwJVUzEZMBcGA1UECBMQV2FzaGluZ3RvbiBTdGF0ZTEQMA4GA1UEBxMHU2VhdHRsZTEgMB4GA1UE
ChMXQW1hem9uIFdlYiBTZXJ2aWNlcyBMTEMCCQC9mzoG/navazALBglghkgBZQMEAgGggZYwGAYJ
KoZIhvcNAQkDMQsGCSqGSIb3DQEHATAcBgkqhkiG9w0BCQUxDxcNMjYwMjE2MDAzODI4WjArBgkq
hkiG9w0BCTQxHjAcMAsGCWCGSAFlAwQCAaENBgkqhkiG9w0BAQsFADAvBgkqhkiG9w0BCQQxIgQg
JuBakWdgxV8tjlul+DIT6i+w6b8/C55oWPvN4ZjsikQwDQYJKoZIhvcNAQELBQAEggEAKb9EHZze
cWagTKFctn6wj09JvLDpRx9nxBqT62WIh8lXYERWxCuL9Q6PcTnyaVgydldyZ+R2LSdb6+J7341l
LmKJpwwQCX/YuSlYWEKaQkliG6LSEFBg3sTmQeM4LhZAAiAlZ3U2OekfVqvCuzNRFcqfKbTPzUJU
q07M76Si2G8JcJW8OBYmzNsJYbeDVnhp3L6uet6zHWzlSA1U0Q3MNs8gmt9HWGzW9sDOaj5ZOkK7
WzMXqkdbCuFkesa6EaV2nRtD+Xm2LipxGbOwlmBPumg0WGcgDuPUc62A5DewgctliURC6qzhTLnS
AKOTPvMq3Nro7tmuvFahEjsAdcWoBQAAAAAAAA==`
)

func TestAWSTakesRealDocuments(t *testing.T) {
	p := compile(t, Spec{Type: "aws", Accounts: []string{"179727101194", "189292791360"}}, testDeps(t, newTestTime()))
	for _, test := range []struct{ token, subject, names string }{
		{awsSigned2017, "179727101194/i-055950b9cfbce0ce3", "[ip:100.66.39.154]"},
		{awsSigned2026, "189292791360/i-0c5541936caf78c12", "[ip:10.0.1.242]"},
	} {
		for form, token := range map[string]string{
			"lines": test.token, "one line": strings.ReplaceAll(test.token, "\n", ""), "CRLF": strings.ReplaceAll(test.token, "\n", "\r\n"),
			"PKCS7": "-----BEGIN PKCS7-----\n" + test.token + "\n-----END PKCS7-----\n",
		} {
			identity, err := p.Verify(t.Context(), token)
			if err != nil || identity.Subject != test.subject || fmt.Sprint(identity.Names) != test.names {
				t.Errorf("%s: %s %s, %v; want %s %s", form, identity.Subject, identity.Names, err, test.subject, test.names)
			}
		}
		mustRefuse(t, p, strings.Replace(test.token, "Yml0Q", "Yml0R", 1)[:len(test.token)-8]+"AAAAAAA=", failure.Malformed, "no ")
	}
}

func TestAWSIdentifiesInstances(t *testing.T) {
	signer, clock := newAWSSigner(t), newTestTime()
	deps := testDeps(t, clock)
	if err := os.WriteFile(filepath.Join(deps.Dir, "aws.pem"), []byte(signer.pem("us-west-2")), 0o600); err != nil {
		t.Fatal(err)
	}
	unnamed := signer.pem("us-west-2")[len("# us-west-2\n"):]
	for name, change := range map[string]func(*Spec){
		"file":               func(s *Spec) { s.Certificates = []string{"aws.pem"} },
		"text":               func(*Spec) {},
		"region of the spec": func(s *Spec) { s.Certificates, s.Regions = []string{unnamed}, []string{"us-west-2"} },
		"regions":            func(s *Spec) { s.Regions = []string{"us-east-1", "us-west-2"} },
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Type: "aws", Accounts: []string{"210987654321", "123456789012"}, Certificates: []string{signer.pem("us-west-2")}}
			change(&spec)
			identity, err := compile(t, spec, deps).Verify(t.Context(), signer.sign(t, []byte(awsDocument)))
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%s %s %s", identity.Subject, identity.Names, identity.Claims["imageId"]); got != "123456789012/i-1234567890abcdef0 [ip:10.158.112.84] ami-5fb8c835" {
				t.Error(got)
			}
			if identity.Spend == "" || !identity.SpendUntil.IsZero() {
				t.Errorf("the instance can ask again: %q until %s", identity.Spend, identity.SpendUntil)
			}
		})
	}
}

func TestAWSGivesAnInstanceOneCertificate(t *testing.T) {
	signer, clock := newAWSSigner(t), newTestTime()
	spec := Spec{
		Type: "aws", Accounts: []string{"123456789012"}, Certificates: []string{signer.pem("us-west-2")},
		Names: []expr.Value[string]{expr.CEL[string](`token.instanceId + "." + token.region + ".corp"`)},
	}
	spent := func(spec Spec, document string) string {
		identity, err := compile(t, spec, testDeps(t, clock)).Verify(t.Context(), signer.sign(t, []byte(document)))
		if err != nil || fmt.Sprint(identity.Names) == "[ip:10.158.112.84]" {
			t.Fatal(identity.Names, err)
		}
		return identity.Spend
	}
	again := strings.Replace(awsDocument, "2016-11-19", "2017-11-19", 1)
	other := strings.Replace(awsDocument, "abcdef0", "abcdef1", 1)
	if first := spent(spec, awsDocument); first != spent(spec, again) || first == spent(spec, other) {
		t.Error("what is spent is not the instance")
	}
	spec.Reuse = true
	if spent(spec, awsDocument) != "" {
		t.Error("reuse spends the instance")
	}
}

func TestAWSRefusesOtherInstances(t *testing.T) {
	signer, clock := newAWSSigner(t), newTestTime()
	now := clock.Now().UTC()
	p := compile(t, Spec{
		Type: "aws", Accounts: []string{"123456789012"}, Regions: []string{"us-west-2"}, Lifetime: duration.Duration(time.Hour),
		Certificates: []string{signer.pem("us-west-2"), signer.pem("us-east-1"), signer.pem("xx-test-1")},
	}, testDeps(t, clock))
	fresh := strings.Replace(awsDocument, "2016-11-19T16:32:11Z", now.Format(time.RFC3339), 1)
	if _, err := p.Verify(t.Context(), signer.sign(t, []byte(fresh))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, from, to string
		kind           failure.Kind
		says           string
	}{
		{"account", "123456789012", "999999999999", failure.Unauthorized, `of the account "999999999999"; this provisioner serves 123456789012`},
		{"region", `"us-west-2"`, `"us-east-1"`, failure.Unauthorized, `in the region "us-east-1"; this provisioner serves us-west-2`},
		{"region with another certificate", `"us-west-2"`, `"eu-west-1"`, failure.Unauthorized, "that of the region eu-west-1 is"},
		{"unknown region", `"us-west-2"`, `"mars-1"`, failure.Unauthorized, "add it to certificates"},
		{"too old", now.Format(time.RFC3339), now.Add(-62 * time.Minute).Format(time.RFC3339), failure.Unauthorized, "takes 1h0m0s at most"},
		{"of the future", now.Format(time.RFC3339), now.Add(2 * time.Minute).Format(time.RFC3339), failure.Unauthorized, "set the clocks right"},
		{"no time", now.Format(time.RFC3339), "yesterday", failure.Malformed, "is no time"},
		{"no address", "10.158.112.84", "web", failure.Malformed, "is no address"},
		{"twice", `"kernelId"`, `"accountId"`, failure.Malformed, "one is there twice"},
		{"no region", `"region"`, `"area"`, failure.Malformed, `no claim "region"`},
		{"no account", `"accountId"`, `"account"`, failure.Malformed, `no claim "accountId"`},
		{"no instance", `"instanceId"`, `"instance"`, failure.Malformed, `no claim "instanceId"`},
		{"no private address", `"privateIp"`, `"publicIp"`, failure.Malformed, `no claim "privateIp"`},
		{"no launch", `"pendingTime"`, `"time"`, failure.Malformed, `no claim "pendingTime"`},
		{"account as number", `"123456789012"`, `123456789012`, failure.Malformed, "must be a text"},
		{"no object", fresh, `["us-west-2"]`, failure.Malformed, "no JSON object"},
		{"more after it", "\n}", "\n} {}", failure.Malformed, "no JSON object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			document := strings.Replace(fresh, test.from, test.to, 1)
			if document == fresh {
				t.Fatal("nothing is changed")
			}
			mustRefuse(t, p, signer.sign(t, []byte(document)), test.kind, test.says)
		})
	}
}

func TestAWSTrustsNoOtherSigner(t *testing.T) {
	signer := newAWSSigner(t)
	p := compile(t, Spec{Type: "aws", Accounts: []string{"123456789012"}}, testDeps(t, newTestTime()))
	document := []byte(awsDocument)
	mustRefuse(t, p, signer.sign(t, document), failure.Unauthorized, "that of the region us-west-2 is b64bde5ad00924cc")
	pinned, err := parseRegional(awsPEM, "")
	if err != nil {
		t.Fatal(err)
	}
	forged := signer.sign(t, document, func(p *awsParts) { p.serial = pinned["us-west-2"].SerialNumber })
	mustRefuse(t, p, forged, failure.Unauthorized, "not by the certificate of the region us-west-2")
	elsewhere := strings.Replace(awsDocument, `"us-west-2"`, `"us-east-1"`, 1)
	forged = signer.sign(t, []byte(elsewhere), func(p *awsParts) { p.serial = pinned["us-west-2"].SerialNumber })
	mustRefuse(t, p, forged, failure.Unauthorized, "that of the region us-east-1 is b169cc401559a419")
}

func TestAWSSpec(t *testing.T) {
	signer := newAWSSigner(t)
	good := signer.pem("us-west-2")
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))
	for name, test := range map[string]struct {
		spec Spec
		says string
	}{
		"no account":      {Spec{}, "accounts: name the accounts"},
		"short account":   {Spec{Accounts: []string{"1234"}}, `accounts[0]: "1234" is no account`},
		"unknown region":  {Spec{Accounts: []string{"123456789012"}, Regions: []string{"us-west-2", "mars-1"}}, "regions[1]: the certificate of \"mars-1\" is not built in"},
		"no file":         {Spec{Accounts: []string{"123456789012"}, Certificates: []string{"none.pem"}}, "certificates[0]: the file can't be read"},
		"no region":       {Spec{Accounts: []string{"123456789012"}, Certificates: []string{good[len("# us-west-2\n"):]}}, "certificates[0]: this can't be used: it doesn't say which region"},
		"twice":           {Spec{Accounts: []string{"123456789012"}, Certificates: []string{good + good}}, "two certificates of the region"},
		"no certificate":  {Spec{Accounts: []string{"123456789012"}, Certificates: []string{"# us-west-2\n" + private}}, "holds a PRIVATE KEY"},
		"no PEM":          {Spec{Accounts: []string{"123456789012"}, Certificates: []string{"-----BEGIN nothing"}}, "there is no certificate in it"},
		"mangled":         {Spec{Accounts: []string{"123456789012"}, Certificates: []string{regionalPEM("x", []byte{1})}}, "can't be used"},
		"other key":       {Spec{Accounts: []string{"123456789012"}, Certificates: []string{regionalPEM("x", newTestCertificate(t, newTestKey(t, jose.ES256)).Raw)}}, "is no RSA key"},
		"of another type": {Spec{Accounts: []string{"123456789012"}, Projects: []string{"x"}}, "projects: this belongs to"},
	} {
		t.Run(name, func(t *testing.T) {
			test.spec.Type = "aws"
			_, err := Compile("test", test.spec, testDeps(t, newTestTime()))
			var mistaken *FieldError
			if err == nil || !errors.As(err, &mistaken) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v; want %s", err, test.says)
			}
		})
	}
}
