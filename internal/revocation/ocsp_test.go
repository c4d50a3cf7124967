package revocation

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"chancery/internal/ca"
	"chancery/internal/keys"
	"chancery/internal/store"
)

// ask asks for a certificate by POST and has x/crypto check the answer.
func (a *authority) ask(leaf *x509.Certificate, hash crypto.Hash) *ocsp.Response {
	a.t.Helper()
	request, err := ocsp.CreateRequest(leaf, a.chain[0], &ocsp.RequestOptions{Hash: hash})
	if err != nil {
		a.t.Fatal(err)
	}
	recorder := get(a.t, a.responder.ServeHTTP, "POST", OCSPPath, bytes.NewReader(request))
	answer, err := ocsp.ParseResponseForCert(recorder.Body.Bytes(), leaf, a.chain[0])
	if err != nil {
		a.t.Fatalf("%v: %X", err, recorder.Body.Bytes())
	}
	return answer
}

func TestAnswersAgreeWithTheInventory(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, good := a.issue("tls-server")
	bad, revoked := a.issue("tls-server")
	unspecified, plain := a.issue("tls-server")
	a.revoke(bad, 4)
	a.revoke(unspecified, 0)
	never := &x509.Certificate{SerialNumber: big.NewInt(1234567), RawIssuer: good.RawIssuer}
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		if answer := a.ask(good, hash); answer.Status != ocsp.Good || answer.NextUpdate.Sub(answer.ThisUpdate) != time.Hour {
			t.Errorf("%v: %d, from %s to %s", hash, answer.Status, answer.ThisUpdate, answer.NextUpdate)
		}
		if answer := a.ask(revoked, hash); answer.Status != ocsp.Revoked || answer.RevocationReason != 4 || answer.RevokedAt.Unix() != a.now().Unix() {
			t.Errorf("%v: %d, %d, %s", hash, answer.Status, answer.RevocationReason, answer.RevokedAt)
		}
		if answer := a.ask(plain, hash); answer.Status != ocsp.Revoked || answer.RevocationReason != 0 {
			t.Errorf("%v: %d, %d", hash, answer.Status, answer.RevocationReason)
		}
		if answer := a.ask(never, hash); answer.Status != ocsp.Unknown {
			t.Errorf("%v: a serial that was never issued is %d", hash, answer.Status)
		}
	}
	a.clock.Store(good.NotAfter.Add(time.Hour).UnixNano())
	if answer := a.ask(good, crypto.SHA1); answer.Status != ocsp.Good {
		t.Errorf("an expired certificate is %d", answer.Status)
	}
}

func TestRevocationIsAnsweredAtOnce(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	issued, leaf := a.issue("tls-server")
	if answer := a.ask(leaf, crypto.SHA256); answer.Status != ocsp.Good {
		t.Fatal(answer.Status)
	}
	a.revoke(issued, 1)
	if answer := a.ask(leaf, crypto.SHA256); answer.Status != ocsp.Revoked {
		t.Errorf("right after its revocation it is %d", answer.Status)
	}
}

func TestAnswersAreForgotten(t *testing.T) {
	c := newAnswerCache()
	now := time.Unix(1000, 0)
	key := answerKey{"issuer", "id"}
	document := newDocument(ocspType, nil, now, now)
	c.put(key, [20]byte{1}, document, c.epochNow(), now)
	if c.get(key, now) == nil || c.get(key, now.Add(answerTime)) != nil {
		t.Error("an answer is held for another time than it should be")
	}
	epoch := c.epochNow()
	c.forget([]store.CertificateKey{{IssuerID: "issuer", Serial: [20]byte{1}}})
	if c.get(key, now) != nil {
		t.Error("an answer about what was revoked is still there")
	}
	c.put(key, [20]byte{1}, document, epoch, now)
	if c.get(key, now) != nil {
		t.Error("an answer from before the revocation came after it")
	}
	for i := range 10 * maxAnswers {
		c.put(answerKey{"issuer", string(rune(i))}, [20]byte{}, document, c.epochNow(), now)
	}
	if held := len(c.newer) + len(c.older); held > 2*maxAnswers {
		t.Errorf("%d answers are held", held)
	}
}

func TestResponderCertificate(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	first := a.ask(leaf, crypto.SHA1).Certificate
	if first == nil || len(first.ExtKeyUsage) != 1 || first.ExtKeyUsage[0] != x509.ExtKeyUsageOCSPSigning || first.IsCA ||
		first.NotAfter.Sub(a.now()) > 8*24*time.Hour || first.CRLDistributionPoints != nil || first.OCSPServer != nil {
		t.Fatalf("%+v", first)
	}
	noCheck := false
	for _, extension := range first.Extensions {
		noCheck = noCheck || extension.Id.String() == "1.3.6.1.5.5.7.48.1.5" && bytes.Equal(extension.Value, []byte{5, 0})
	}
	if !noCheck {
		t.Error("without id-pkix-ocsp-nocheck relying parties ask whether the responder is revoked")
	}
	a.pass(4 * 24 * time.Hour)
	if !a.ask(leaf, crypto.SHA1).Certificate.Equal(first) {
		t.Error("replaced before its time")
	}
	a.pass(24 * time.Hour)
	if a.ask(leaf, crypto.SHA1).Certificate.Equal(first) {
		t.Error("not replaced when two thirds of its life were over")
	}
}

// failing is an authority that can't issue.
type failing struct{}

func (failing) Issue(context.Context, ca.Request) (store.Certificate, error) {
	return store.Certificate{}, errors.New("no")
}

// lost is an inventory that does not answer.
type lost struct{}

func (lost) Certificate(context.Context, store.CertificateKey) (store.Certificate, error) {
	return store.Certificate{}, store.ErrUnavailable
}

func TestFailuresAreTryLater(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	request, err := ocsp.CreateRequest(leaf, a.chain[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ResponderDeps){
		"no inventory":             func(d *ResponderDeps) { d.Inventory = lost{} },
		"no responder certificate": func(d *ResponderDeps) { d.Authority = failing{} },
	} {
		deps := a.responder.deps
		change(&deps)
		r, err := NewResponder(deps)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			recorder := get(t, r.ServeHTTP, "POST", OCSPPath, bytes.NewReader(request))
			if !bytes.Equal(recorder.Body.Bytes(), ocspTryLater.refusal()) || recorder.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %X, %v", name, recorder.Body.Bytes(), recorder.Header())
			}
		}
	}
}

// One with extended key usages can't hand down OCSPSigning, so it signs itself.
func TestIssuerWithoutDelegates(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	issuer := a.lists.deps.Issuers[0]
	signer, err := direct(issuer)
	if err != nil {
		t.Fatal(err)
	}
	(*a.responder.issuers.Load())[issuerKey(sum(crypto.SHA1, issuer.Certificate().RawSubject), sum(crypto.SHA1, must(keyBits(issuer.Certificate().RawSubjectPublicKeyInfo))))].current.Store(signer)
	if answer := a.ask(leaf, crypto.SHA1); answer.Status != ocsp.Good || answer.Certificate != nil {
		t.Errorf("%d, signed by %v", answer.Status, answer.Certificate)
	}
	for _, test := range []struct {
		certificate x509.Certificate
		want        bool
	}{
		{x509.Certificate{}, true},
		{x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, false},
		{x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageOCSPSigning}}, true},
		{x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}, true},
	} {
		if got := canDelegate(&test.certificate); got != test.want {
			t.Errorf("%v: %v", test.certificate.ExtKeyUsage, got)
		}
	}
}

// Who verifies RSA signatures may verify no others.
func TestResponderKeyFollowsTheIssuer(t *testing.T) {
	for keyType, want := range map[string]string{"RSA-2048": "RSA-2048", "P-384": "P-256", "Ed25519": "P-256"} {
		key := must(keys.Generate(rand.Reader, keyType))
		if got := responderKey(&x509.Certificate{PublicKey: key.Public()}); got != want {
			t.Errorf("for %s it is %s, want %s", keyType, got, want)
		}
	}
}

// with adds extensions to a request, each an OID's content and a value.
func with(t *testing.T, request []byte, critical bool, extensions ...[2][]byte) []byte {
	t.Helper()
	input := cryptobyte.String(request)
	var tbs cryptobyte.String
	if !input.ReadASN1(&input, casn1.SEQUENCE) || !input.ReadASN1(&tbs, casn1.SEQUENCE) {
		t.Fatal("no request")
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			b.AddASN1(explicit(2), func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					for _, extension := range extensions {
						b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(extension[0]) })
							if critical {
								b.AddASN1Boolean(true)
							}
							b.AddASN1OctetString(extension[1])
						})
					}
				})
			})
		})
	})
	return b.BytesOrPanic()
}

func nonceOf(length int) [2][]byte {
	var b cryptobyte.Builder
	b.AddASN1OctetString(bytes.Repeat([]byte{7}, length))
	return [2][]byte{oidNonce(), b.BytesOrPanic()}
}

func TestNonces(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	plain := must(ocsp.CreateRequest(leaf, a.chain[0], nil))
	for length, accepted := range map[int]bool{0: false, 1: true, 15: true, 16: true, 32: true, 33: true, 128: true, 129: false} {
		nonce := nonceOf(length)
		recorder := get(t, a.responder.ServeHTTP, "POST", OCSPPath, bytes.NewReader(with(t, plain, false, nonce)))
		body := recorder.Body.Bytes()
		if !accepted {
			if !bytes.Equal(body, ocspMalformed.refusal()) {
				t.Errorf("a nonce of %d octets: %X", length, body)
			}
			continue
		}
		if _, err := ocsp.ParseResponseForCert(body, leaf, a.chain[0]); err != nil || !bytes.Contains(body, append(oidNonce(), nonceExtension(nonce[1])...)) {
			t.Errorf("a nonce of %d octets is not repeated: %v, %X", length, err, body)
		}
		if recorder.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("caches may keep an answer with a nonce: %v", recorder.Header())
		}
	}
	if body := get(t, a.responder.ServeHTTP, "POST", OCSPPath, bytes.NewReader(plain)).Body.Bytes(); bytes.Contains(body, oidNonce()) {
		t.Error("an answer with a nonce was kept for those who sent none")
	}
}

// nonceExtension is the extnValue with its tag.
func nonceExtension(value []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1OctetString(value)
	return b.BytesOrPanic()
}

func TestSeveralInOneRequest(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, good := a.issue("tls-server")
	bad, revoked := a.issue("tls-server")
	a.revoke(bad, 1)
	both := join(t, must(ocsp.CreateRequest(good, a.chain[0], nil)), must(ocsp.CreateRequest(revoked, a.chain[0], nil)))
	body := get(t, a.responder.ServeHTTP, "POST", OCSPPath, bytes.NewReader(both)).Body.Bytes()
	for leaf, want := range map[*x509.Certificate]int{good: ocsp.Good, revoked: ocsp.Revoked} {
		answer, err := ocsp.ParseResponseForCert(body, leaf, a.chain[0])
		if err != nil || answer.Status != want {
			t.Errorf("%v, %v; want status %d", answer, err, want)
		}
	}
}

// join makes one request of several.
func join(t *testing.T, requests ...[]byte) []byte {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, request := range requests {
					input := cryptobyte.String(request)
					for range 3 { // OCSPRequest, TBSRequest, requestList
						if !input.ReadASN1(&input, casn1.SEQUENCE) {
							t.Fatal("no request")
						}
					}
					b.AddBytes(input)
				}
			})
		})
	})
	return b.BytesOrPanic()
}

func TestBadRequests(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	other := openAuthority(t, anotherIssuer(), defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	_, foreign := other.issue("tls-server")
	good := must(ocsp.CreateRequest(leaf, a.chain[0], nil))
	elsewhere := must(ocsp.CreateRequest(foreign, other.chain[0], nil))
	sha384 := must(ocsp.CreateRequest(leaf, a.chain[0], &ocsp.RequestOptions{Hash: crypto.SHA384}))
	change := func(from, to string) []byte { return bytes.Replace(good, []byte(from), []byte(to), 1) }
	var many [][]byte
	for range maxAsked + 1 {
		many = append(many, good)
	}
	unknown := [2][]byte{{0x2a, 3}, {4, 0}}
	for name, test := range map[string]struct {
		request []byte
		want    ocspStatus
	}{
		"nothing":                       {nil, ocspMalformed},
		"no DER":                        {[]byte("hello"), ocspMalformed},
		"empty sequence":                {[]byte{0x30, 0}, ocspMalformed},
		"no requests":                   {[]byte{0x30, 4, 0x30, 2, 0x30, 0}, ocspMalformed},
		"cut short":                     {good[:len(good)-1], ocspMalformed},
		"more behind it":                {append(bytes.Clone(good), 0), ocspMalformed},
		"too long":                      {append(bytes.Clone(good), make([]byte, maxRequest)...), ocspMalformed},
		"too many":                      {join(t, many...), ocspMalformed},
		"another issuer":                {elsewhere, ocspUnauthorized},
		"two issuers":                   {join(t, good, elsewhere), ocspUnauthorized},
		"a hash that is not served":     {sha384, ocspUnauthorized},
		"hashes of a wrong length":      {change("\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14", "\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x13"), ocspMalformed},
		"parameters of the hash":        {change("\x02\x1a\x05\x00", "\x02\x1a\x04\x00"), ocspMalformed},
		"negative serial":               {change(string(leaf.SerialNumber.Bytes()), "\xff"+string(leaf.SerialNumber.Bytes()[1:])), ocspMalformed},
		"unknown critical extension":    {with(t, good, true, unknown), ocspMalformed},
		"two nonces":                    {with(t, good, false, nonceOf(16), nonceOf(16)), ocspMalformed},
		"a nonce that is no string":     {with(t, good, false, [2][]byte{oidNonce(), bytes.Repeat([]byte{7}, 16)}), ocspMalformed},
		"no extensions where they are":  {with(t, good, false), ocspMalformed},
		"unknown extension":             {with(t, good, false, unknown), ocspSuccessful},
		"critical nonce":                {with(t, good, true, nonceOf(16)), ocspSuccessful},
		"as it should be":               {good, ocspSuccessful},
		"the same certificate 32 times": {join(t, many[:maxAsked]...), ocspSuccessful},
	} {
		recorder := get(t, a.responder.ServeHTTP, "POST", OCSPPath, bytes.NewReader(test.request))
		body := recorder.Body.Bytes()
		if recorder.Code != 200 || recorder.Header().Get("Content-Type") != "application/ocsp-response" {
			t.Errorf("%s: %d %v", name, recorder.Code, recorder.Header())
		}
		if status := statusOf(body); status != test.want || test.want != ocspSuccessful && len(body) != 5 {
			t.Errorf("%s: status %d, want %d", name, status, test.want)
		}
	}
}

// statusOf is the OCSPResponseStatus of an answer.
func statusOf(der cryptobyte.String) ocspStatus {
	var status int
	if !der.ReadASN1(&der, casn1.SEQUENCE) || !der.ReadASN1Enum(&status) {
		return 0xff
	}
	return ocspStatus(status)
}

func TestGet(t *testing.T) {
	a := newAuthority(t, defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	request := must(ocsp.CreateRequest(leaf, a.chain[0], nil))
	encoded := base64.StdEncoding.EncodeToString(request)
	for name, path := range map[string]string{
		"escaped":         "/ocsp/" + url.QueryEscape(encoded),
		"unescaped":       "/ocsp/" + encoded,
		"double slash":    "/ocsp//" + url.PathEscape(encoded),
		"without padding": "/ocsp/" + strings.TrimRight(encoded, "="),
	} {
		recorder := get(t, a.responder.ServeHTTP, "GET", path, nil)
		answer, err := ocsp.ParseResponseForCert(recorder.Body.Bytes(), leaf, a.chain[0])
		if err != nil || answer.Status != ocsp.Good {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
		header := recorder.Header()
		if header.Get("ETag") == "" || header.Get("Last-Modified") == "" || header.Get("Expires") == "" ||
			header.Get("Cache-Control") != "max-age=60, public, no-transform, must-revalidate" {
			t.Errorf("%s: %v", name, header)
		}
		if again := get(t, a.responder.ServeHTTP, "GET", path, nil, "If-None-Match", header.Get("ETag")); again.Code != 304 {
			t.Errorf("%s: asked again: %d", name, again.Code)
		}
	}
	for name, path := range map[string]string{
		"nothing": "/ocsp", "nothing at all": "/ocsp/", "no base64": "/ocsp/!!", "no DER": "/ocsp/aGVsbG8=", "too long": "/ocsp/" + strings.Repeat("A", 2*maxRequest),
	} {
		if body := get(t, a.responder.ServeHTTP, "GET", path, nil).Body.Bytes(); !bytes.Equal(body, ocspMalformed.refusal()) {
			t.Errorf("%s: %X", name, body)
		}
	}
	if recorder := get(t, a.responder.ServeHTTP, "PUT", "/ocsp", nil); recorder.Code != http.StatusMethodNotAllowed || recorder.Header().Get("Allow") == "" {
		t.Errorf("PUT: %d", recorder.Code)
	}
}
