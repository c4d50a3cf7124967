package provisioner

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	stdasn1 "encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/failure"
)

// awsSigner signs documents as the metadata service of one region does.
type awsSigner struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

func newAWSSigner(t testing.TB) *awsSigner {
	t.Helper()
	key, _ := newTestKey(t, "RS256").(*rsa.PrivateKey)
	return &awsSigner{key, newTestCertificate(t, key)}
}

func newTestCertificate(t testing.TB, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x7357), NotBefore: time.Unix(1_500_000_000, 0), NotAfter: time.Unix(7_000_000_000, 0),
		Subject: pkix.Name{Country: []string{"US"}, Province: []string{"Washington State"}, Locality: []string{"Seattle"}, Organization: []string{"Amazon Web Services LLC"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// pem is the certificate as configurations have it, for a region.
func (s *awsSigner) pem(region string) string { return regionalPEM(region, s.certificate.Raw) }

func regionalPEM(region string, der []byte) string {
	return "# " + region + "\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// awsParts are what a signed document is put together from.
type awsParts struct {
	content, signedContent []byte // signedContent: whose digest is signed; nil for content
	contentType            stdasn1.ObjectIdentifier
	digest, algorithm      []byte   // AlgorithmIdentifiers
	attributes             [][]byte // instead of the usual ones
	issuer                 []byte
	serial                 *big.Int
	signers                int
	key                    *rsa.PrivateKey
	octets                 func(content []byte) []byte // the content as it is wrapped
	unsigned               bool                        // without signed attributes
}

func (s *awsSigner) parts(content []byte) *awsParts {
	return &awsParts{
		content: content, contentType: oidData, digest: algorithm(oidSHA256), algorithm: algorithm(oidSHA256RSA),
		issuer: s.certificate.RawIssuer, serial: s.certificate.SerialNumber, signers: 1, key: s.key,
		octets: func(content []byte) []byte { return open(0x24, element(asn1.OCTET_STRING, content)) },
	}
}

// sign makes a document in the form that AWS has given it since 2026: BER with
// open lengths, and algorithms without parameters.
func (s *awsSigner) sign(t testing.TB, content []byte, changes ...func(*awsParts)) string {
	t.Helper()
	p := s.parts(content)
	for _, change := range changes {
		change(p)
	}
	return base64.StdEncoding.EncodeToString(p.assemble(t))
}

func (p *awsParts) assemble(t testing.TB) []byte {
	t.Helper()
	if p.signedContent == nil {
		p.signedContent = p.content
	}
	sum := sha256.Sum256(p.signedContent)
	if p.attributes == nil {
		p.attributes = [][]byte{contentType(oidData), attribute(stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}, element(asn1.UTCTime, []byte("260216003828Z"))), messageDigest(sum[:])}
	}
	joined := bytes.Join(p.attributes, nil)
	signed := sha256.Sum256(element(asn1.SET, joined))
	attributes := element(contextTag(0), joined)
	if p.unsigned {
		signed, attributes = sum, nil
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, signed[:])
	if err != nil {
		t.Fatal(err)
	}
	signer := element(asn1.SEQUENCE, integer(big.NewInt(1)), element(asn1.SEQUENCE, p.issuer, integer(p.serial)), p.digest, attributes, p.algorithm, element(asn1.OCTET_STRING, signature))
	return open(0x30, oid(oidSignedData), open(0xa0, open(0x30,
		integer(big.NewInt(1)), element(asn1.SET, p.digest),
		open(0x30, oid(p.contentType), open(0xa0, p.octets(p.content))),
		element(asn1.SET, bytes.Repeat(signer, p.signers)))))
}

func element(tag asn1.Tag, contents ...[]byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(contents, nil)) })
	return b.BytesOrPanic()
}

// open is an element whose length is not said.
func open(tag byte, contents ...[]byte) []byte {
	return append(append([]byte{tag, 0x80}, bytes.Join(contents, nil)...), 0, 0)
}

func oid(id stdasn1.ObjectIdentifier) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1ObjectIdentifier(id)
	return b.BytesOrPanic()
}

func integer(n *big.Int) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1BigInt(n)
	return b.BytesOrPanic()
}

func algorithm(id stdasn1.ObjectIdentifier) []byte { return element(asn1.SEQUENCE, oid(id)) }

func attribute(id stdasn1.ObjectIdentifier, values ...[]byte) []byte {
	return element(asn1.SEQUENCE, oid(id), element(asn1.SET, values...))
}

func contentType(id stdasn1.ObjectIdentifier) []byte { return attribute(oidContentType, oid(id)) }

func messageDigest(sum []byte) []byte {
	return attribute(oidMessageDigest, element(asn1.OCTET_STRING, sum))
}

func TestAWSRefusesOtherSignatures(t *testing.T) {
	signer, other := newAWSSigner(t), newAWSSigner(t)
	clock := newTestTime()
	p := compile(t, Spec{Type: "aws", Accounts: []string{"123456789012"}, Certificates: []string{signer.pem("us-west-2")}}, testDeps(t, clock))
	document := []byte(awsDocument)
	sum := sha256.Sum256(document)
	null := []byte{5, 0}
	sha1 := stdasn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	for _, test := range []struct {
		name   string
		change func(p *awsParts)
		kind   failure.Kind
		says   string // "" when it is good
	}{
		{name: "as it is", change: func(*awsParts) {}},
		{name: "with NULL as parameters", change: func(p *awsParts) {
			p.digest, p.algorithm = element(asn1.SEQUENCE, oid(oidSHA256), null), element(asn1.SEQUENCE, oid(oidRSA), null)
		}},
		{name: "in DER", change: func(p *awsParts) { p.octets = func(c []byte) []byte { return element(asn1.OCTET_STRING, c) } }},
		{name: "in pieces", change: func(p *awsParts) {
			p.octets = func(c []byte) []byte {
				return open(0x24, element(asn1.OCTET_STRING, c[:7]), open(0x24, element(asn1.OCTET_STRING, c[7:]), element(asn1.OCTET_STRING)))
			}
		}},

		{"changed document", func(p *awsParts) {
			p.signedContent, p.content = document, bytes.Replace(document, []byte("10.158"), []byte("10.159"), 1)
		}, failure.Unauthorized, "the document is not the one that was signed"},
		{"other key under the certificate's name", func(p *awsParts) { p.key = other.key }, failure.Unauthorized, "not by the certificate of the region us-west-2"},
		{"other certificate", func(p *awsParts) { p.serial = big.NewInt(0xabc) }, failure.Unauthorized, "signed by the certificate abc; that of the region us-west-2 is 7357"},
		{"other issuer", func(p *awsParts) { p.issuer = element(asn1.SEQUENCE) }, failure.Unauthorized, "signed by the certificate"},
		{"no signed attributes", func(p *awsParts) { p.unsigned = true }, failure.Malformed, "its signer is not described"},
		{"SHA-1", func(p *awsParts) { p.digest = algorithm(sha1) }, failure.Malformed, "another algorithm"},
		{"DSA", func(p *awsParts) { p.algorithm = algorithm(stdasn1.ObjectIdentifier{1, 2, 840, 10040, 4, 3}) }, failure.Malformed, "another algorithm"},
		{"parameters", func(p *awsParts) { p.algorithm = element(asn1.SEQUENCE, oid(oidRSA), oid(oidData)) }, failure.Malformed, "another algorithm"},
		{"no document inside", func(p *awsParts) { p.octets = func([]byte) []byte { return nil } }, failure.Malformed, "no CMS SignedData"},
		{"other content", func(p *awsParts) { p.contentType = oidSignedData }, failure.Malformed, "no CMS SignedData"},
		{"two signers", func(p *awsParts) { p.signers = 2 }, failure.Malformed, "no CMS SignedData"},
		{"no signer", func(p *awsParts) { p.signers = 0 }, failure.Malformed, "no CMS SignedData"},
		{"no attributes", func(p *awsParts) { p.attributes = [][]byte{{}} }, failure.Malformed, "signed attributes"},
		{"no type", func(p *awsParts) { p.attributes = [][]byte{messageDigest(sum[:])} }, failure.Malformed, "signed attributes"},
		{"no digest", func(p *awsParts) { p.attributes = [][]byte{contentType(oidData)} }, failure.Malformed, "signed attributes"},
		{"two digests", func(p *awsParts) {
			p.attributes = [][]byte{contentType(oidData), messageDigest(sum[:]), messageDigest(sum[:])}
		}, failure.Malformed, "signed attributes"},
		{"other type", func(p *awsParts) {
			p.attributes = [][]byte{contentType(oidSignedData), messageDigest(sum[:])}
		}, failure.Malformed, "signed attributes"},
		{"two values", func(p *awsParts) {
			p.attributes = [][]byte{contentType(oidData), attribute(oidMessageDigest, element(asn1.OCTET_STRING, sum[:]), element(asn1.OCTET_STRING))}
		}, failure.Malformed, "signed attributes"},
		{"mangled attribute", func(p *awsParts) { p.attributes = [][]byte{element(asn1.SEQUENCE)} }, failure.Malformed, "signed attributes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := signer.sign(t, document, test.change)
			if test.says != "" {
				mustRefuse(t, p, token, test.kind, test.says)
			} else if _, err := p.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAWSRefusesWhatIsNoDocument(t *testing.T) {
	signer := newAWSSigner(t)
	p := compile(t, Spec{Type: "aws", Accounts: []string{"123456789012"}, Certificates: []string{signer.pem("us-west-2")}}, testDeps(t, newTestTime()))
	good := signer.parts([]byte(awsDocument)).assemble(t)
	encoded := base64.StdEncoding.EncodeToString
	for name, test := range map[string]struct{ token, says string }{
		"nothing":            {"", "send what the metadata service has"},
		"only lines":         {"-----BEGIN PKCS7-----\n-----END PKCS7-----\n", "no BER"},
		"the document alone": {awsDocument, "no base64"},
		"a JWT":              {"eyJhbGciOiJub25lIn0.e30.", "no base64"},
		"no padding":         {"YQ", "no base64"},
		"more after it":      {encoded(append(bytes.Clone(good), good...)), "no BER"},
		"cut off":            {encoded(good[:len(good)-3]), "no BER"},
		"deep":               {encoded(bytes.Repeat([]byte{0x30, 0x80}, 1000)), "no BER"},
		"long length":        {encoded([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}), "no BER"},
		"open and primitive": {encoded([]byte{0x04, 0x80, 0, 0}), "no BER"},
		"long tag":           {encoded([]byte{0x3f, 0x81, 0x01, 0}), "no BER"},
		"pieces of another":  {encoded(open(0x24, integer(big.NewInt(1)))), "no BER"},
		"empty sequence":     {encoded([]byte{0x30, 0}), "no CMS SignedData"},
		"1 MB":               {strings.Repeat("A", 1<<20), "at most 65536"},
	} {
		t.Run(name, func(t *testing.T) { mustRefuse(t, p, test.token, failure.Malformed, test.says) })
	}
}

// FuzzAWSDocument reads anything, and takes nothing that is not signed.
func FuzzAWSDocument(f *testing.F) {
	signer := newAWSSigner(f)
	p := compile(f, Spec{Type: "aws", Accounts: []string{"123456789012"}}, testDeps(f, newTestTime()))
	f.Add(signer.parts([]byte(awsDocument)).assemble(f))
	f.Add([]byte{0x24, 0x80, 0x04, 0x01, 0x00, 0, 0})
	for _, text := range []string{awsSigned2017, awsSigned2026} {
		data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		der, rest, err := readBER(data, deepestBER)
		if err == nil {
			again, after, err := readBER(der, deepestBER)
			if err != nil || len(after) > 0 || !bytes.Equal(again, der) {
				t.Errorf("%x became %x, and that %x, %x, %v", data, der, again, after, err)
			}
			if len(rest) >= len(data) {
				t.Errorf("%d octets remain of %d", len(rest), len(data))
			}
		}
		identity, err := p.Verify(t.Context(), base64.StdEncoding.EncodeToString(data))
		if err == nil {
			t.Errorf("%x is taken for %s", data, identity.Subject)
		}
	})
}
