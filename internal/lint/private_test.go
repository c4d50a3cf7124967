package lint

import (
	"strings"
	"testing"

	"chancery/internal/config"
	"chancery/internal/profile"
)

// privateProfiles are what private networks legitimately want, which the
// public CAs' rules forbid. None of them may be refused, or warned of.
func privateProfiles() map[string]string {
	return map[string]string{
		"constraints of one label":  `{basic_constraints: {ca: true}, subject: {common_name: Mesh}, name_constraints: {permitted: {dns: [corp, lan], emails: [corp, .corp], uris: [corp, .corp, cluster]}, excluded: {uris: [prod]}}}`,
		"constraints of addresses":  `{basic_constraints: {ca: true, path_length: 1}, subject: {common_name: Mesh}, name_constraints: {permitted: {ips: [10.0.0.0/8, "fd00::/8"]}}}`,
		"names of one label":        `{san: {dns: [printer, localhost]}}`,
		"names of home networks":    `{san: {dns: [nas.local, router.lan, box.internal, a.home.arpa, svc.cluster.local]}}`,
		"wildcards above":           `{san: {dns: ["*.corp", "*.internal"]}}`,
		"reserved addresses":        `{san: {types: [ip], ips: [127.0.0.1, 192.168.1.1, 169.254.1.1, 100.64.0.1, "::1", "fe80::1"]}}`,
		"onions":                    `{san: {dns: [duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion]}}`,
		"arpa":                      `{san: {dns: [1.0.0.10.in-addr.arpa]}}`,
		"every type of name":        `{san: {types: [dns, ip, email, uri]}}`,
		"SPIFFE":                    `{trust_domain: corp}`,
		"SPIFFE of one label":       `{san: {omit_identifiers: true, uris: ["spiffe://corp/web"]}, extended_key_usages: [serverAuth, clientAuth]}`,
		"URIs with addresses":       `{san: {uris: ["https://10.0.0.1/", "urn:uuid:1", "spiffe://cluster.local/ns/a/sa/b"]}}`,
		"clients":                   `{extended_key_usages: [clientAuth]}`,
		"mail":                      `{extended_key_usages: [emailProtection, clientAuth], san: {types: [email]}, subject: {common_name: Ann}}`,
		"code":                      `{extended_key_usages: [codeSigning], subject: {organization: Corp, common_name: Release}}`,
		"time stamps":               `{extended_key_usages: [timeStamping], subject: {common_name: Clock}}`,
		"domain controllers":        `{extended_key_usages: [serverAuth, clientAuth, 1.3.6.1.5.2.3.5, 1.3.6.1.4.1.311.20.2.2]}`,
		"any usage":                 `{extended_key_usages: [serverAuth, 1.3.6.1.5.5.7.3.17, 1.3.6.1.5.5.7.3.14]}`,
		"own policies":              `{policies: [{oid: 1.3.6.1.4.1.55555.1, cps: "http://ca.corp/cps"}]}`,
		"ten years":                 `{validity: {default: 3650d}}`,
		"an hour":                   `{validity: {default: 1h}, no_revocation: true}`,
		"must staple":               `{must_staple: true, urls: {ocsp: "http://ocsp.corp"}}`,
		"URLs on private hosts":     `{urls: {issuer: "http://ca/ca.der", crl: "http://10.0.0.1/ca.crl", ocsp: "http://ocsp.lan:8080"}}`,
		"whole subjects":            `{subject: {country: DE, province: Berlin, locality: Berlin, postal_code: "10115", street_address: "Weg 1", organization: Corp, organizational_unit: [Ops, Web], serial_number: "7", common_name: a.corp}}`,
		"units without company":     `{subject: {organizational_unit: Ops, common_name: printer}}`,
		"common names of addresses": `{subject: {common_name: 10.0.0.1}}`,
		"given names":               `{subject: {extra: [{oid: 2.5.4.42, value: Ann}, {oid: 2.5.4.4, value: Lee}]}, extended_key_usages: [clientAuth]}`,
		"domain components":         `{subject: {extra: [{oid: 0.9.2342.19200300.100.1.25, value: corp}, {oid: 0.9.2342.19200300.100.1.1, value: ann}], common_name: Ann}, extended_key_usages: [clientAuth]}`,
		"usages of all keys":        `{key_usages: [digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment, keyAgreement]}`,
		"usages of Kubernetes":      `{extended_key_usages: [clientAuth], key_usages: [digitalSignature, keyEncipherment]}`,
		"usages of clients":         `{extended_key_usages: [clientAuth], key_usages: [digitalSignature, keyAgreement]}`,
		"one key type":              `{key_types: [P-521, Ed25519, RSA-8192]}`,
		"own extensions":            `{extensions: [{oid: 1.3.6.1.4.1.55555.2, critical: true, value: {utf8: x}}, {oid: 1.3.6.1.4.1.311.20.2, value: {utf8: Machine}}]}`,
		"a mesh":                    `{basic_constraints: {ca: true}, extended_key_usages: [serverAuth, clientAuth], subject: {common_name: Mesh}, name_constraints: {permitted: {dns: [mesh.corp], uris: [mesh.corp]}}}`,
	}
}

func TestPrivateProfilesPass(t *testing.T) {
	linter := New()
	for _, issuer := range []*profile.Issuer{newIssuer(t, false), newIssuer(t, true)} {
		for name, text := range privateProfiles() {
			c, err := config.Parse(config.FileName, []byte("profiles:\n  p: "+text+"\n"))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			warnings, err := linter.Profile(c.Compiled["p"], issuer, now)
			if err != nil || len(warnings) > 0 {
				t.Errorf("%s: %v\n%s", name, err, strings.Join(warnings, "\n"))
			}
		}
	}
}
