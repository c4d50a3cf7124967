package acme_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"net"
	"net/url"

	"chancery/internal/acme/acmetest"
)

// badStates are good requests at the wrong time, or about others' things.
func badStates() []bad {
	finalizing := func(order func(*scene) *acmetest.Order) func(*scene) *acmetest.Response {
		return func(s *scene) *acmetest.Response {
			made := order(s)
			return post(s.t, s.client, made.Finalize, request(s.t, newKey(s.t), made.Identifiers))
		}
	}
	byOther := func(url func(*scene) string, value any) func(*scene) *acmetest.Response {
		return func(s *scene) *acmetest.Response { return post(s.t, s.other, url(s), value) }
	}
	missing := func(url func(*scene) string) func(*scene) *acmetest.Response {
		return func(s *scene) *acmetest.Response { return post(s.t, s.client, withOtherID(url(s)), nil) }
	}
	toCertificate := func(s *scene) string { return s.valid.Certificate }
	const m = "malformed"
	return []bad{
		{"finalize of a pending order", finalizing(func(s *scene) *acmetest.Order { return s.pending }), 403, "orderNotReady", "pending"},
		{"finalize of a valid order", finalizing(func(s *scene) *acmetest.Order { return s.valid }), 403, "orderNotReady", "valid"},
		{"finalize of an invalid order", finalizing(func(s *scene) *acmetest.Order { return s.invalid }), 403, "orderNotReady", "invalid"},
		{"finalize by another account", byOther(toFinalize, members{"csr": "AAAA"}), 404, m, "another account"},
		{"an order of another account", byOther(toOrder, nil), 404, m, "another account"},
		{"an authorization of another account", byOther(toAuthz, nil), 404, m, "another account"},
		{"deactivation by another account", byOther(toAuthz, members{"status": "deactivated"}), 404, m, "another account"},
		{"a challenge of another account", byOther(toChallenge, members{}), 404, m, "another account"},
		{"a certificate of another account", byOther(toCertificate, nil), 404, m, "another account"},
		{"another account", byOther(toAccount, nil), 403, "unauthorized", "another account"},
		{"update of another account", byOther(toAccount, members{"contact": []string{}}), 403, "unauthorized", "another account"},
		{"orders of another account", byOther(toOrdersList, nil), 403, "unauthorized", "another account"},
		{"no such order", missing(toOrder), 404, m, "no such"},
		{"no such authorization", missing(toAuthz), 404, m, "no such"},
		{"no such challenge", missing(toChallenge), 404, m, "no such"},
		{"no such certificate", missing(toCertificate), 404, m, "no such"},
		{"a serial that is none", func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.ca.BaseURL+"/acme/cert/x/zz", nil)
		}, 404, m, "no such"},
		{"a challenge not offered", func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.authorizing+"/x", nil)
		}, 404, m, "directory"},
		{"a challenge of a type there is none of", func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.ca.BaseURL+"/acme/challenge/"+idOf(s.authorizing)+"/email-reply-00", members{})
		}, 404, m, "email-reply-00"},
		{"an authorization set to valid", payload(toAuthz, members{"status": "valid"}), 400, m, "deactivated"},
		{"an authorization set to nothing", payload(toAuthz, members{}), 400, m, "deactivated"},
		{"an authorization deactivated twice", func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.deactivated, members{"status": "deactivated"})
		}, 400, m, "ended"},
		{"a chain there is none of", func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.valid.Certificate+"/7", nil)
		}, 404, m, "chain"},
	}
}

// badCSRs are sent to finalize the ready order.
func badCSRs() []bad {
	with := func(key func(*scene) crypto.Signer, template x509.CertificateRequest) func(*scene) *acmetest.Response {
		return func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.ready.Finalize, csr(s.t, key(s), template))
		}
	}
	good := func(s *scene) crypto.Signer { return newKey(s.t) }
	name := "scene.example.test"
	named := x509.CertificateRequest{DNSNames: []string{name}}
	spoil := func(change func(der []byte) string) func(*scene) *acmetest.Response {
		return func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.ready.Finalize, members{"csr": change(unpadded(s.t, newKey(s.t), s.names))})
		}
	}
	const b = "badCSR"
	return []bad{
		{"no csr", payload(toFinalize, members{}), 400, b, "csr"},
		{"an empty csr", payload(toFinalize, members{"csr": ""}), 400, b, "csr"},
		{"a csr that is not base64url", payload(toFinalize, members{"csr": "????"}), 400, b, "base64url"},
		{"a csr that is no DER", payload(toFinalize, members{"csr": "AAAA"}), 400, b, "read"},
		{"a csr in PEM", spoil(func(der []byte) string {
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		}), 400, b, "PEM"},
		{"a csr in standard base64", spoil(func(der []byte) string { return base64.StdEncoding.EncodeToString(append(der, 0xff, 0xff, 0xff)) }), 400, b, "base64url"},
		{"a csr with a line break", spoil(func(der []byte) string { t := acmetest.Encode(der); return t[:64] + "\n" + t[64:] }), 400, b, "line breaks"},
		{"a csr cut off", spoil(func(der []byte) string { return acmetest.Encode(der[:len(der)-1]) }), 400, b, "read"},
		{"a csr with something behind", spoil(func(der []byte) string { return acmetest.Encode(append(der, 0)) }), 400, b, "read"},
		{"a csr whose signature is wrong", spoil(func(der []byte) string { der[len(der)-1] ^= 1; return acmetest.Encode(der) }), 400, b, "signed"},
		{"a certificate as csr", func(s *scene) *acmetest.Response {
			return post(s.t, s.client, s.ready.Finalize, members{"csr": acmetest.Encode(s.got.leaf.Raw)})
		}, 400, b, "read"},
		{"a csr without names", with(good, x509.CertificateRequest{}), 400, b, "names"},
		{"a csr with another name", with(good, x509.CertificateRequest{DNSNames: []string{"other.example.test"}}), 400, b, "other.example.test"},
		{"a csr with a name too many", with(good, x509.CertificateRequest{DNSNames: []string{name, "more.example.test"}}), 400, b, "more.example.test"},
		{"a csr with a wildcard too many", with(good, x509.CertificateRequest{DNSNames: []string{name, "*." + name}}), 400, b, "*.scene"},
		{"a csr with an address too many", with(good, x509.CertificateRequest{DNSNames: []string{name}, IPAddresses: []net.IP{{192, 0, 2, 1}}}), 400, b, "192.0.2.1"},
		{"a csr with another CN", with(good, x509.CertificateRequest{Subject: common("other.example.test"), DNSNames: []string{name}}), 400, b, "other.example.test"},
		{"a csr with a CN that is no name", with(good, x509.CertificateRequest{Subject: common("My Server"), DNSNames: []string{name}}), 400, b, "My Server"},
		{"a csr with a bad name", with(good, x509.CertificateRequest{DNSNames: []string{name, "a_b.example.test"}}), 400, b, "a_b.example.test"},
		{"a csr with a final dot", with(good, x509.CertificateRequest{DNSNames: []string{name + "."}}), 400, b, "dot"},
		{"a csr with an e-mail address", with(good, x509.CertificateRequest{DNSNames: []string{name}, EmailAddresses: []string{"a@example.test"}}), 400, b, "neither"},
		{"a csr with a URI", with(good, x509.CertificateRequest{DNSNames: []string{name}, URIs: []*url.URL{{Scheme: "spiffe", Host: "x"}}}), 400, b, "neither"},
		{"a csr with another kind of name", with(good, x509.CertificateRequest{ExtraExtensions: []pkix.Extension{otherName()}}), 400, b, "neither"},
		{"a csr with the account's key", with(func(s *scene) crypto.Signer { return s.client.Key }, named), 400, b, "account"},
		{"a csr with RSA of 1024 bits", with(func(s *scene) crypto.Signer { return weakRSA(s.t) }, named), 400, b, "1024"},
		{"a csr with a key on P-224", with(func(s *scene) crypto.Signer { return curveKey(s, elliptic.P224()) }, named), 400, b, "P-224"},
	}
}

// otherName is an extension of names with one that is an otherName.
func otherName() pkix.Extension {
	value, err := asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("scene.example.test")},
		{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{6, 3, 42, 3, 4, 0xa0, 3, 12, 1, 'x'}},
	})
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
}

func badRevocations() []bad {
	revoking := func(value func(*scene) members) func(*scene) *acmetest.Response {
		return func(s *scene) *acmetest.Response { return post(s.t, s.client, s.client.Directory.RevokeCert, value(s)) }
	}
	changed := func(der []byte) members {
		der = append([]byte(nil), der...)
		der[len(der)-1] ^= 1
		return members{"certificate": acmetest.Encode(der)}
	}
	return []bad{
		{"no certificate to revoke", payload(toRevoke, members{}), 400, "malformed", "certificate"},
		{"a certificate not in base64url", payload(toRevoke, members{"certificate": "????"}), 400, "malformed", "base64url"},
		{"a certificate in padded base64url", revoking(func(s *scene) members {
			return members{"certificate": acmetest.Encode(s.got.leaf.Raw) + "="}
		}), 400, "malformed", "base64url"},
		{"a certificate that is no DER", payload(toRevoke, members{"certificate": "AAAA"}), 400, "malformed", "DER"},
		{"the root", revoking(func(s *scene) members { return members{"certificate": acmetest.Encode(s.ca.Root.Raw)} }), 404, "malformed", "did not issue"},
		{"a certificate that was changed", revoking(func(s *scene) members { return changed(s.got.leaf.Raw) }), 404, "malformed", "did not issue"},
		{"a certificate of another CA", revoking(func(s *scene) members { return members{"certificate": acmetest.Encode(foreign(s))} }), 404, "malformed", "did not issue"},
		{"a certificate revoked already", revoking(func(s *scene) members { return s.revoked.revocation(nil) }), 400, "alreadyRevoked", "already"},
		{"a reason for CAs", revoking(func(s *scene) members { return s.got.revocation(2) }), 400, "badRevocationReason", "[0 1"},
		{"a reason nobody uses", revoking(func(s *scene) members { return s.got.revocation(7) }), 400, "badRevocationReason", "[0 1"},
		{"a reason of deltas", revoking(func(s *scene) members { return s.got.revocation(8) }), 400, "badRevocationReason", "[0 1"},
		{"a negative reason", revoking(func(s *scene) members { return s.got.revocation(-1) }), 400, "badRevocationReason", "[0 1"},
		{"revocation by another account", func(s *scene) *acmetest.Response {
			return post(s.t, s.other, s.other.Directory.RevokeCert, s.got.revocation(nil))
		}, 403, "unauthorized", "another account"},
		{"revocation by another key", func(s *scene) *acmetest.Response {
			return post(s.t, s.ca.NewClient(), s.client.Directory.RevokeCert, s.got.revocation(nil))
		}, 403, "unauthorized", "key"},
	}
}

// foreign is a certificate that this CA did not issue, although it says so.
func foreign(s *scene) []byte {
	key := newKey(s.t)
	template := &x509.Certificate{
		SerialNumber: s.got.leaf.SerialNumber, AuthorityKeyId: s.got.leaf.AuthorityKeyId,
		Subject: s.got.leaf.Subject, Issuer: s.got.leaf.Issuer, DNSNames: s.got.leaf.DNSNames,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(s.t, err)
	return der
}
