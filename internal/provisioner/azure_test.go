package provisioner

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/expr"
	"chancery/internal/failure"
)

const (
	azureTenant       = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	azureSubscription = "12345678-1234-1234-1234-123456789abc"
	azureResources    = "/subscriptions/" + azureSubscription + "/resourcegroups/My-Group/providers/"
	azureMachine      = azureResources + "Microsoft.Compute/virtualMachines/Web-01"
	azureShared       = azureResources + "Microsoft.ManagedIdentity/userAssignedIdentities/web"
)

// azureClaims are those of a token of version 1.0 for the identity that a
// machine itself has. Its "iat" is some minutes before it was asked for.
func azureClaims(clock *testTime) map[string]any {
	now := clock.Now().Unix()
	return map[string]any{
		"aud": "api://chancery", "iss": "https://sts.windows.net/" + azureTenant + "/",
		"iat": now - 300, "nbf": now - 300, "exp": now + 86400, "aio": "42VgYPj6bO2r6V7p",
		"appid": "eed2b9ab-79c8-4ad3-9d2e-5d9ba1e7a1c4", "appidacr": "2", "idp": "https://sts.windows.net/" + azureTenant + "/",
		"idtyp": "app", "oid": "9d1d1f0e-7a8f-4ac3-a3a2-9d9f4e1c77aa", "sub": "9d1d1f0e-7a8f-4ac3-a3a2-9d9f4e1c77aa",
		"rh": "0.AAAA", "tid": azureTenant, "uti": "u1x0xQ", "ver": "1.0", "xms_mirid": azureMachine,
	}
}

func payloadOf(token string) []byte {
	payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	return payload
}

func (i *testIssuer) azureSpec() Spec {
	return Spec{Type: "azure", Tenants: []string{azureTenant}, Audience: []string{"api://chancery"}, JWKSURL: i.jwksURI, Root: i.root()}
}

func TestAzureIdentifiesMachines(t *testing.T) {
	for _, test := range []struct {
		name   string
		spec   func(i *testIssuer, s *Spec)
		claims map[string]any
		names  string
	}{
		{name: "own identity"},
		{name: "version 2.0", claims: map[string]any{"iss": "https://login.microsoftonline.com/" + azureTenant + "/v2.0", "ver": "2.0"}},
		{name: "assigned identity", claims: map[string]any{"xms_mirid": azureShared, "xms_az_rid": azureMachine}},
		{name: "other case", claims: map[string]any{"xms_mirid": strings.ToUpper(azureMachine)}},
		{name: "other cloud", spec: func(_ *testIssuer, s *Spec) { s.Issuer = "https://login.microsoftonline.us/" + azureTenant + "/v2.0" },
			claims: map[string]any{"iss": "https://login.microsoftonline.us/" + azureTenant + "/v2.0"}},
		{name: "keys in the spec", spec: func(i *testIssuer, s *Spec) {
			s.Certificates, s.JWKSURL, s.Root = []string{i.publicSet(t)}, "", ""
		}},
		{name: "subscription", spec: func(_ *testIssuer, s *Spec) { s.Subscriptions = []string{strings.ToUpper(azureSubscription)} }},
		{name: "names", spec: func(_ *testIssuer, s *Spec) {
			s.Names = []expr.Value[string]{expr.CEL[string](`token.vm.name.replace("_", "-") + "." + token.vm.resource_group + ".corp"`)}
		}, claims: map[string]any{"xms_mirid": azureResources + "Microsoft.Compute/virtualMachines/Web_01"}, names: "[dns:web-01.my-group.corp]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock, issuer := newTestTime(), newGoogle(t)
			spec := issuer.azureSpec()
			if test.spec != nil {
				test.spec(issuer, &spec)
			}
			identity, err := compile(t, spec, testDeps(t, clock)).Verify(t.Context(), issuer.sign(t, with(azureClaims(clock), test.claims)))
			if err != nil {
				t.Fatal(err)
			}
			if test.names == "" {
				test.names = "[dns:web-01]"
			}
			if got := fmt.Sprint(identity.Names); got != test.names || !strings.HasPrefix(identity.Subject, azureSubscription+"/my-group/web") {
				t.Errorf("%s of %s; want %s", got, identity.Subject, test.names)
			}
			if identity.Spend == "" || !identity.SpendUntil.IsZero() {
				t.Errorf("the machine can ask again: %q until %s", identity.Spend, identity.SpendUntil)
			}
		})
	}
}

func TestAzureGivesAMachineOneCertificate(t *testing.T) {
	clock, issuer := newTestTime(), newGoogle(t)
	spent := func(spec Spec, changes map[string]any) string {
		identity, err := compile(t, spec, testDeps(t, clock)).Verify(t.Context(), issuer.sign(t, with(azureClaims(clock), changes)))
		if err != nil {
			t.Fatal(err)
		}
		return identity.Spend
	}
	spec := issuer.azureSpec()
	first := spent(spec, nil)
	if first != spent(spec, map[string]any{"xms_mirid": azureShared, "xms_az_rid": strings.ToLower(azureMachine), "oid": "x"}) ||
		first == spent(spec, map[string]any{"xms_mirid": azureMachine + "2"}) {
		t.Error("what is spent is not the machine")
	}
	spec.Reuse = true
	if spent(spec, nil) != "" {
		t.Error("reuse spends the machine")
	}
}

func TestAzureRefusesOtherTokens(t *testing.T) {
	clock, issuer, other := newTestTime(), newGoogle(t), newGoogle(t)
	spec := issuer.azureSpec()
	spec.Subscriptions = []string{azureSubscription}
	p := compile(t, spec, testDeps(t, clock))
	now := clock.Now().Unix()
	const elsewhere = "87654321-1234-1234-1234-123456789abc"
	for _, test := range []struct {
		name   string
		claims map[string]any
		kind   failure.Kind
		says   string
	}{
		{"tenant", map[string]any{"tid": elsewhere, "iss": "https://sts.windows.net/" + elsewhere + "/"}, failure.Unauthorized, `of the tenant "87654321-1234-1234-1234-123456789abc"; this provisioner serves 72f988bf`},
		{"no tenant", map[string]any{"tid": nil}, failure.Malformed, `no claim "tid"`},
		{"issuer of another tenant", map[string]any{"iss": "https://sts.windows.net/" + elsewhere + "/"}, failure.Unauthorized, "expected is https://sts.windows.net/72f988bf"},
		{"other issuer", map[string]any{"iss": "https://login.example/"}, failure.Unauthorized, "the token is from"},
		{"audience", map[string]any{"aud": "https://management.azure.com/"}, failure.Unauthorized, "expected is api://chancery"},
		{"no audience", map[string]any{"aud": nil}, failure.Malformed, `no claim "aud"`},
		{"expired", map[string]any{"exp": now - 61}, failure.Unauthorized, "the token expired at"},
		{"not yet valid", map[string]any{"nbf": now + 120, "iat": nil}, failure.Unauthorized, "the token is good from"},
		{"too long", map[string]any{"exp": now + 100_000}, failure.Unauthorized, "takes 25h0m0s at most"},
		{"subscription", map[string]any{"xms_mirid": strings.Replace(azureMachine, azureSubscription, elsewhere, 1)}, failure.Unauthorized, "of the subscription"},
		{"an application", map[string]any{"xms_mirid": nil}, failure.Unauthorized, `no claim "xms_mirid"`},
		{"identity of no machine", map[string]any{"xms_mirid": azureShared}, failure.Unauthorized, "which is no virtual machine"},
		{"used by something else", map[string]any{"xms_mirid": azureShared, "xms_az_rid": azureResources + "Microsoft.Web/sites/web"}, failure.Unauthorized, "which is no virtual machine"},
		{"a scale set", map[string]any{"xms_mirid": azureResources + "Microsoft.Compute/virtualMachineScaleSets/web"}, failure.Unauthorized, "which is no virtual machine"},
		{"deeper", map[string]any{"xms_mirid": azureMachine + "/extensions/x"}, failure.Unauthorized, "which is no virtual machine"},
		{"no name", map[string]any{"xms_mirid": strings.TrimSuffix(azureMachine, "Web-01")}, failure.Unauthorized, "which is no virtual machine"},
		{"name is no label", map[string]any{"xms_mirid": azureMachine + ".corp"}, failure.Unauthorized, "no DNS name of one label; set names"},
		{"name is no name", map[string]any{"xms_mirid": azureMachine + "_1"}, failure.Unauthorized, "no DNS name of one label; set names"},
		{"resource as list", map[string]any{"xms_mirid": []string{azureMachine}}, failure.Malformed, "must be a text"},
		{"carrier as list", map[string]any{"xms_az_rid": []string{azureMachine}}, failure.Malformed, "must be a text"},
	} {
		t.Run(test.name, func(t *testing.T) {
			mustRefuse(t, p, issuer.sign(t, with(azureClaims(clock), test.claims)), test.kind, test.says)
		})
	}
	good := azureClaims(clock)
	mustRefuse(t, p, other.sign(t, good), failure.Unauthorized, "the token's signature")
	refuseForgeries(t, p, issuer, good)
}

func TestAzureTakesMicrosoftsKeysOnly(t *testing.T) {
	clock, microsoft, other := newTestTime(), newGoogle(t), newGoogle(t)
	deps := testDeps(t, clock)
	const address = "https://login.microsoftonline.com/" + azureTenant + "/discovery/keys"
	deps.Client = func(*x509.CertPool) *http.Client {
		return &http.Client{Transport: onlyAt{t, address, microsoft.publicSet(t)}}
	}
	p := compile(t, Spec{Type: "azure", Tenants: []string{azureTenant}, Audience: []string{"api://chancery"}}, deps)
	if _, err := p.Verify(t.Context(), microsoft.sign(t, azureClaims(clock))); err != nil {
		t.Error(err)
	}
	mustRefuse(t, p, other.sign(t, azureClaims(clock)), failure.Unauthorized, address)
}

func TestAzureSpec(t *testing.T) {
	good := Spec{Tenants: []string{azureTenant}, Audience: []string{"api://chancery"}}
	for says, change := range map[string]func(*Spec){
		"audience: name the application":          func(s *Spec) { s.Audience = nil },
		"tenants: name the tenants":               func(s *Spec) { s.Tenants = nil },
		`tenants[0]: "corp" is no ID`:             func(s *Spec) { s.Tenants = []string{"corp"} },
		`subscriptions[0]: "corp" is no ID`:       func(s *Spec) { s.Subscriptions = []string{"corp"} },
		"certificates[0]: the file can't be read": func(s *Spec) { s.Certificates = []string{"none"} },
		"jwks_url: \"ftp://x\" is no https URL":   func(s *Spec) { s.JWKSURL = "ftp://x" },
		"regions: this belongs to provisioners":   func(s *Spec) { s.Regions = []string{"us-west-2"} },
	} {
		spec := good
		spec.Type = "azure"
		change(&spec)
		if _, err := Compile("test", spec, testDeps(t, newTestTime())); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want %s", err, says)
		}
	}
}

// TestCloudsRecognizeTheirTokens finds the provisioner of a token that names
// none.
func TestCloudsRecognizeTheirTokens(t *testing.T) {
	clock, issuer := newTestTime(), newGoogle(t)
	deps := testDeps(t, clock)
	var list []*Provisioner
	for name, spec := range map[string]Spec{"google": issuer.gcpSpec(), "microsoft": issuer.azureSpec()} {
		p, err := Compile(name, spec, deps)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	set := NewSet(list, nil)
	for want, claims := range map[string]map[string]any{
		"google": gcpClaims(clock), "microsoft": azureClaims(clock),
		"": with(gcpClaims(clock), map[string]any{"google": nil}),
	} {
		found, err := set.Find("", issuer.sign(t, claims))
		if (want == "") != (err != nil) || found != nil && found.Name != want {
			t.Errorf("%v, %v; want %q", found, err, want)
		}
	}
}

// FuzzAzureClaims takes nothing that doesn't name a machine.
func FuzzAzureClaims(f *testing.F) {
	clock := newTestTime()
	key := jose.JSONWebKey{Key: newTestKey(f, jose.ES256), KeyID: "k", Algorithm: string(jose.ES256)}
	microsoft := &testIssuer{keys: []jose.JSONWebKey{key}}
	spec := Spec{Type: "azure", Tenants: []string{azureTenant}, Audience: []string{"api://chancery"}, Certificates: []string{microsoft.publicSet(f)}}
	p := compile(f, spec, testDeps(f, clock))
	for _, changes := range []map[string]any{nil, {"xms_mirid": azureShared, "xms_az_rid": azureMachine}, {"xms_mirid": "/subscriptions//"}} {
		f.Add(payloadOf(signWith(f, key, "JWT", with(azureClaims(clock), changes))))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		identity, err := p.Verify(t.Context(), signPayload(t, key, "JWT", payload))
		if err == nil && (len(identity.Names) != 1 || strings.Contains(identity.Names[0].Value, ".") || identity.Spend == "" || !bytes.Contains(payload, []byte("tid"))) {
			t.Errorf("%s is taken for %+v", payload, identity)
		}
	})
}
