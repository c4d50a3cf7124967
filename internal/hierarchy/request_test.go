package hierarchy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chancery/internal/identifier"
	"chancery/internal/keys"
)

// An outside root, as openssl keeps it, answers the request.
func TestRequestAndAccept(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ca := path("ca")
	request, err := CreateRequest(Options{Dir: ca, Name: "Example"})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(ca, RequestFile)); err != nil || string(data) != string(request) {
		t.Errorf("the request's file: %v", err)
	}
	wantFiles(t, ca, RequestFile, KeyFile)
	if _, err := Load(ca); !errors.Is(err, ErrWaiting) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of what waits: %v, want ErrWaiting", err)
	}
	if _, err := CreateRequest(Options{Dir: ca}); !errors.Is(err, ErrExists) {
		t.Errorf("a second request: %v, want ErrExists", err)
	}
	text := mustOpenSSL(t, "req", "-in", filepath.Join(ca, RequestFile), "-noout", "-text", "-verify")
	for _, says := range []string{"CN = Example Intermediate CA", "CA:TRUE, pathlen:0", "Digital Signature, Certificate Sign, CRL Sign"} {
		if !strings.Contains(text, says) {
			t.Errorf("openssl does not print %q but\n%s", says, text)
		}
	}

	mustOpenSSL(t, "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", path("root.key"), "-out", path("root.pem"),
		"-subj", "/CN=Outside Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	mustOpenSSL(t, "x509", "-req", "-in", filepath.Join(ca, RequestFile), "-copy_extensions", "copy",
		"-CA", path("root.pem"), "-CAkey", path("root.key"), "-out", path("int.pem"))
	h, err := AcceptIntermediate(AcceptOptions{Dir: ca, IntermediateFile: path("int.pem"), RootFile: path("root.pem")})
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, ca, KeyFile, IntermediateFile, RootFile)
	cert := leaf(t, h, identifier.Identifier{Type: identifier.DNS, Value: "www.corp"})
	if err := verifyOpenSSL(t, ca, cert); err != nil {
		t.Error(err)
	}
	if _, err := AcceptIntermediate(AcceptOptions{Dir: ca, IntermediateFile: path("int.pem"), RootFile: path("root.pem")}); !errors.Is(err, ErrExists) {
		t.Errorf("a second answer: %v, want ErrExists", err)
	}
}

// waiting makes a request and an authority that answered it.
func waiting(t *testing.T) (dir string, root, issuing *authority) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "ca")
	if _, err := CreateRequest(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	key, err := keys.ReadFile(filepath.Join(dir, KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	root = newAuthority(t, "root", nil)
	return dir, root, newAuthorityFor(t, key, "issuing", root)
}

func TestAcceptFindsTheRoot(t *testing.T) {
	dir, root, issuing := waiting(t)
	answer := write(t, t.TempDir(), "chain.pem", encode(issuing.cert, root.cert))
	h, err := AcceptIntermediate(AcceptOptions{Dir: dir, IntermediateFile: answer})
	if err != nil || !h.Root.Equal(root.cert) || len(h.Intermediates) != 1 {
		t.Errorf("%v", err)
	}
}

func TestAcceptRefuses(t *testing.T) {
	dir, root, issuing := waiting(t)
	other := newAuthority(t, "other", root)
	files := t.TempDir()
	alone := write(t, files, "alone.pem", encode(issuing.cert))
	for _, test := range []struct {
		options AcceptOptions
		says    string
	}{
		{AcceptOptions{Dir: dir, IntermediateFile: alone}, "alone.pem holds no self-signed root; give it with --root FILE"},
		{AcceptOptions{Dir: dir, IntermediateFile: alone, RootFile: alone}, "is no root"},
		{AcceptOptions{Dir: dir, IntermediateFile: write(t, files, "other.pem", encode(other.cert, root.cert))}, "the key does not belong to"},
		{AcceptOptions{Dir: filepath.Join(files, "ca"), IntermediateFile: alone}, "no request waits"},
	} {
		if _, err := AcceptIntermediate(test.options); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v, want an error that says %q", err, test.says)
		}
		wantFiles(t, dir, RequestFile, KeyFile)
	}
	if exists(filepath.Join(files, "ca")) {
		t.Error("an answer without request made a directory")
	}
}

// A crash while the answer is put in place leaves the request waiting, or a CA.
func TestAcceptCrash(t *testing.T) {
	dir, root, issuing := waiting(t)
	answer := write(t, t.TempDir(), "chain.pem", encode(issuing.cert, root.cert))
	files := []file{{RootFile, encode(root.cert), certificatePerm}, {IntermediateFile, encode(issuing.cert), certificatePerm}}
	for _, step := range installSteps(dir, files)[:6] { // up to the decision
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(dir); !errors.Is(err, ErrWaiting) {
		t.Errorf("Load before the decision: %v, want ErrWaiting", err)
	}
	if _, err := AcceptIntermediate(AcceptOptions{Dir: dir, IntermediateFile: answer}); err != nil {
		t.Errorf("a second attempt: %v", err)
	}
}

func TestCreateRequestRefuses(t *testing.T) {
	for says, options := range map[string]Options{
		"for the outside root to set": {Permit: []string{"corp"}},
		"no key type":                 {KeyType: "x"},
		"cannot be printed":           {Name: "\x00"},
	} {
		options.Dir = filepath.Join(t.TempDir(), "ca")
		if _, err := CreateRequest(options); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want an error that says %q", err, says)
		}
	}
}
