package revocation

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"testing"

	"golang.org/x/crypto/ocsp"
)

// seeds are requests as clients send them.
func seeds(f *testing.F) (*authority, [][]byte) {
	a := newAuthority(f, defaultSettings(), nil)
	_, leaf := a.issue("tls-server")
	good := must(ocsp.CreateRequest(leaf, a.chain[0], nil))
	return a, [][]byte{good, {0x30, 0}, {0x30, 4, 0x30, 2, 0x30, 0}, good[:20], append([]byte{0x30, 0x82, 0, byte(len(good))}, good...)}
}

// FuzzRequest checks that every request is answered, and that what is answered
// with a signature is what x/crypto can read as a request too.
func FuzzRequest(f *testing.F) {
	a, examples := seeds(f)
	for _, example := range examples {
		f.Add(example)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		answer := a.responder.respond(t.Context(), der)
		status := statusOf(answer.DER)
		if status == 0xff {
			t.Fatalf("%X is answered with %X", der, answer.DER)
		}
		request, err := parseRequest(der)
		if (err != nil) != (status == ocspMalformed) {
			t.Fatalf("%X is answered with status %d", der, status)
		}
		if err == nil && (len(request.asked) == 0 || len(request.asked) > maxAsked) {
			t.Fatalf("%X asks for %d certificates", der, len(request.asked))
		}
	})
}

// FuzzPath checks that whatever stands in a path of GET is decoded or refused,
// and that what is encoded as it should be comes out.
func FuzzPath(f *testing.F) {
	_, examples := seeds(f)
	for _, example := range examples {
		f.Add("/ocsp/"+url.PathEscape(base64.StdEncoding.EncodeToString(example)), example)
	}
	f.Add("/ocsp//%2F%%", []byte{0xfb, 0xff})
	f.Fuzz(func(t *testing.T, path string, der []byte) {
		_ = decodePath(path)
		if len(der) == 0 || der[0] != 0x30 || len(der) > maxRequest {
			return
		}
		encoded := base64.StdEncoding.EncodeToString(der)
		for _, form := range []string{encoded, url.PathEscape(encoded), url.QueryEscape(encoded), "/" + encoded} {
			if got := decodePath(OCSPPath + "/" + form); !bytes.Equal(got, der) {
				t.Fatalf("%s is read as %X, want %X", form, got, der)
			}
		}
	})
}
