package acmeclient

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"chancery/internal/folder"
	"chancery/internal/keys"
)

// openssl runs it and fails the test when it fails.
func openssl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return string(output)
}

// checkFolder checks that a folder's files belong together.
func checkFolder(t *testing.T, dir, root string) *x509.Certificate {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, name) }
	leaf := must[[]*x509.Certificate](t)(ReadCertificates(path(folder.CertFile)))
	full := must[[]*x509.Certificate](t)(ReadCertificates(path(folder.FullchainFile)))
	chain := must[[]*x509.Certificate](t)(ReadCertificates(path(folder.ChainFile)))
	if len(leaf) != 1 || !slices.EqualFunc(full, append(leaf, chain...), (*x509.Certificate).Equal) {
		t.Errorf("%s has %d certificates, %s %d, %s %d", folder.CertFile, len(leaf), folder.ChainFile, len(chain), folder.FullchainFile, len(full))
	}
	key, err := keys.ReadFile(path(folder.KeyFile)) // refuses one that others can read
	if err != nil {
		t.Fatal(err)
	}
	if !keys.Equal(key.Public(), leaf[0].PublicKey) {
		t.Error("the key is not the certificate's")
	}
	openssl(t, "verify", "-CAfile", root, "-untrusted", path(folder.ChainFile), path(folder.CertFile))
	return leaf[0]
}

func TestIssuesByEachMethod(t *testing.T) {
	a := startAuthority(t)
	a.tlsAddr = ":" + port(t, a.tlsAddr) // on 127.0.0.2 too
	records := t.TempDir()
	command := filepath.Join(records, "set txt")
	script := `#!/bin/sh
case $1 in
present) echo "$3" >> "` + records + `/$2" ;;
cleanup) rm -f "` + records + `/$2" ;;
esac
`
	if err := os.WriteFile(command, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	a.dns.SetHook(func(q dns.Question) *dns.Msg { return txtFrom(records, q) })

	for _, test := range []struct {
		name   string
		method Method
		names  []string
	}{
		{"http-01", Method{HTTP: a.httpAddr}, []string{"www.corp.example", "127.0.0.1", "München.corp.example"}},
		{"tls-alpn-01", Method{TLS: a.tlsAddr}, []string{"tls.corp.example", "127.0.0.2"}},
		{"dns-01", Method{DNSExec: "'" + command + "'"}, []string{"corp.example", "*.corp.example"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := a.record(test.names...)
			a.dns.SetA("xn--mnchen-3ya.corp.example", "127.0.0.1")
			r.Method = test.method
			dir := filepath.Join(t.TempDir(), "new", "folder")
			result := must[*Result](t)(a.keeper(0).Issue(t.Context(), dir, r, Agreement{}))
			leaf := checkFolder(t, dir, r.Root)
			if got := len(leaf.DNSNames) + len(leaf.IPAddresses); got != len(test.names) {
				t.Errorf("the certificate is for %v %v", leaf.DNSNames, leaf.IPAddresses)
			}
			if len(result.Files) != 5 || !result.Renewed || !result.Chain[0].Equal(leaf) {
				t.Errorf("the result is %+v", result)
			}
			for _, event := range a.happened() {
				if event.State != Validating && event.State != Valid || event.Method != test.name {
					t.Errorf("reported %+v", event)
				}
			}
		})
	}
	if left, _ := filepath.Glob(records + "/_acme*"); len(left) > 0 {
		t.Errorf("the records %v were not removed", left)
	}
}

// txtFrom answers from files whose names are those of TXT records.
func txtFrom(dir string, q dns.Question) *dns.Msg {
	text, err := os.ReadFile(filepath.Join(dir, strings.ToLower(strings.TrimSuffix(q.Name, "."))))
	if q.Qtype != dns.TypeTXT || err != nil {
		return nil
	}
	answer := &dns.Msg{}
	for value := range strings.Lines(string(text)) {
		answer.Answer = append(answer.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET},
			Txt: []string{strings.TrimSpace(value)},
		})
	}
	return answer
}

func TestFailuresSayWhatToDo(t *testing.T) {
	a := startAuthority(t)
	binding := startAuthority(t, "acme.eab_required=true")
	terms := startAuthority(t, "acme.terms_of_service=https://corp.example/terms")
	taken := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	ok := a.record("www.corp.example")
	for name, test := range map[string]struct {
		change func(*Record)
		says   string
		hint   string
	}{
		"unknown root":     {func(r *Record) { r.Root = "" }, "certificate signed by unknown authority", "--root FILE"},
		"nobody listens":   {func(r *Record) { r.Server = "https://" + freeAddress(t) }, "connection refused", "is the server running"},
		"not a directory":  {func(r *Record) { r.Server += "/nowhere" }, "malformed", ""},
		"profile":          {func(r *Record) { r.Profile = "tls-sever" }, "no such profile", "tls-server"},
		"port is taken":    {func(r *Record) { r.Method.HTTP = taken.Addr().String() }, "address already in use", "another server has that port"},
		"nothing answers":  {func(r *Record) { r.Method.HTTP = freeAddress(t) }, "couldn't validate www.corp.example by http-01", "DNS"},
		"name unknown":     {func(r *Record) { r.Names = []string{"none.corp.example"} }, "couldn't validate none.corp.example by http-01", "resolvers"},
		"wildcard":         {func(r *Record) { r.Names = []string{"*.corp.example"} }, "--dns-exec", ""},
		"address by DNS":   {func(r *Record) { r.Names, r.Method = []string{"127.0.0.1"}, Method{DNSExec: "true"} }, "--http or --tls", ""},
		"command fails":    {func(r *Record) { r.Method = Method{DNSExec: "echo no zone; false"} }, "exit status 1: no zone", ""},
		"no name":          {func(r *Record) { r.Names = []string{"a b"} }, `"a b" is no name`, ""},
		"EAB":              {func(r *Record) { *r = binding.record("www.corp.example") }, "externalAccountRequired", "--eab-kid"},
		"terms of service": {func(r *Record) { *r = terms.record("www.corp.example") }, "https://corp.example/terms", "--accept-terms"},
		"no key":           {func(r *Record) { r.Key = "/nowhere/key.pem" }, "no such file", "without --key"},
		"weak key type":    {func(r *Record) { r.KeyType = "RSA-1024" }, "RSA-1024", ""},
		"owner":            {func(r *Record) { r.Owner = "nobody-of-that-name:x" }, "nobody-of-that-name", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := ok
			test.change(&r)
			dir := t.TempDir()
			_, err := a.keeper(0).Issue(t.Context(), dir, r, Agreement{})
			hint := ""
			var hinted interface{ Hint() string }
			if errors.As(err, &hinted) {
				hint = hinted.Hint()
			}
			if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(hint, test.hint) {
				t.Errorf("error %v, hint %q; want %q and %q", err, hint, test.says, test.hint)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}

// One answer tells of every name that failed, and all is taken down.
func TestTellsEveryNameThatFailed(t *testing.T) {
	a := startAuthority(t)
	r := a.record("a.corp.example", "b.corp.example", "c.corp.example")
	a.dns.SetA("b.corp.example", "127.0.0.2")
	a.dns.Remove("c.corp.example")
	_, err := a.keeper(0).Issue(t.Context(), t.TempDir(), r, Agreement{})
	if err == nil || !strings.Contains(err.Error(), "b.corp.example") || !strings.Contains(err.Error(), "c.corp.example") ||
		strings.Contains(err.Error(), "validate a.corp.example") {
		t.Errorf("error %v", err)
	}
	listener, err := net.Listen("tcp", a.httpAddr)
	if err != nil {
		t.Fatalf("the solver still listens: %v", err)
	}
	_ = listener.Close()
}

// An interruption ends the wait at once, and the record is removed all the same.
func TestInterruptionCleansUp(t *testing.T) {
	a := startAuthority(t)
	r := a.record("www.corp.example")
	dir := t.TempDir()
	r.Method = Method{DNSExec: "echo >> " + dir + "/ran"}
	a.dns.SetFault(".", dnsSilence)
	ctx, cancel := context.WithCancel(t.Context())
	keeper := a.keeper(0)
	keeper.Report = func(event Event) {
		if event.State == Validating {
			cancel()
		}
	}
	_, err := keeper.Issue(ctx, filepath.Join(dir, "out"), r, Agreement{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if ran, _ := os.ReadFile(filepath.Join(dir, "ran")); len(strings.Fields(string(ran))) != 6 {
		t.Errorf("the command was run with %q, want present and cleanup", ran)
	}
}
