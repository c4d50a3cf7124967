package cli_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"chancery/internal/validation/dnstest"
)

// Each script has a DNS server of its own, where every name below corp.example
// is 127.0.0.1 and the TXT records are the lines of the files in txt/. A CA
// validates on ports of its own.
func TestCertScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/cert",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupValidation,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":  ready,
			"signal": sendSignal,
			"code":   code,
			"occupy": occupy,
			"mode":   mode,
			"serial": serialOf,
		},
	})
}

func setupValidation(env *testscript.Env) error {
	leaveAtOnce(env)
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Defer(server.Close)
	server.SetA("*.corp.example", "127.0.0.1")
	records := filepath.Join(env.WorkDir, "txt")
	server.SetHook(func(q dns.Question) *dns.Msg { return txtOf(records, q) })
	for _, name := range []string{"HTTP", "TLS"} {
		port, err := freePort()
		if err != nil {
			return err
		}
		env.Setenv(name+"_PORT", port)
		env.Setenv("CHANCERY_VALIDATION_"+name+"_PORT", port)
	}
	env.Setenv("CHANCERY_LISTEN", "127.0.0.1:0")
	env.Setenv("CHANCERY_HTTP_LISTEN", "")
	env.Setenv("CHANCERY_VALIDATION_RESOLVERS", server.Addr())
	env.Setenv("CHANCERY_VALIDATION_ATTEMPTS", "1")
	env.Setenv("HOME", env.WorkDir)
	return nil
}

// freePort finds a port that nobody listens on, outside the range from which
// the system takes ports for connections.
func freePort() (string, error) {
	for {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		listener, err := net.Listen("tcp", ":"+port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return "", err
		}
		return port, listener.Close()
	}
}

func txtOf(dir string, q dns.Question) *dns.Msg {
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

// serial NAME sets $NAME to the serial number in the last output.
func serialOf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serial NAME")
	}
	_, after, found := strings.Cut(ts.ReadFile("stdout"), "serial")
	number := strings.FieldsFunc(after, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
	if !found || len(number) == 0 || len(number[0]) != 40 {
		ts.Fatalf("there is no serial number of 40 digits in the output")
	}
	ts.Setenv(args[0], number[0])
}
