package validation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/internal/failure"
)

func fuzzAttempt(t testing.TB, method Method) *attempt {
	t.Helper()
	v, err := New(Config{
		Resolvers: []string{"127.0.0.1:1"}, CAA: true, CAAIdentities: []string{"ca.example"},
		PersistIssuers: []string{"ca.example"}, PersistHashPrefix: hashPrefix,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v.newAttempt(request(method, dnsName("www.corp")))
}

// Whatever a web server sends, it is judged, never quoted, and passes only
// when the key authorization was in it.
func FuzzHTTP01(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\n\r\n" + keyAuth,
		"HTTP/1.1 200 OK\r\nContent-Length: 87\r\n\r\n" + keyAuth,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n57\r\n" + keyAuth + "\r\n0\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://a@[::1%25x]:99999/\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: -1\r\n\r\nffffffffffffffff\r\n",
		"HTTP/1.0 200\r\nA\r\n", "HTTP/9.9 -1 \r\n\r\n", "",
	} {
		f.Add([]byte(seed))
	}
	target := &url.URL{Scheme: "http", Host: "www.corp", Path: "/x"}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a := fuzzAttempt(t, HTTP01)
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer server.Close()
			_, _ = server.Read(make([]byte, 4096))
			_, _ = server.Write(raw)
		}()
		_ = client.SetDeadline(time.Now().Add(10 * time.Second))
		next, err := a.exchangeHTTP(client, target, "www.corp", "there")
		_ = client.Close()
		<-done
		a.log.finish(err)
		checkTranscript(t, a.log.transcript)
		if err == nil && next == nil && !bytes.Contains(raw, []byte(keyAuth[:10])) {
			t.Fatalf("proven by %q", raw)
		}
		if next != nil && (err != nil || !isHost(next.Hostname()) || strings.ContainsAny(requestText(next, next.Host), "\x00\t") ||
			strings.Count(requestText(next, next.Host), "\r\n") != 6) {
			t.Fatalf("redirect to %q: %q", next, requestText(next, next.Host))
		}
		if err != nil && err.Kind != failure.Connection && err.Kind != failure.IncorrectResponse && err.Kind != failure.Unauthorized {
			t.Fatalf("kind %d: %v", err.Kind, err)
		}
	})
}

// Whatever a resolver sends is parsed and walked within bounds.
func FuzzDNSAnswer(f *testing.F) {
	for _, seed := range []string{
		"www.corp. 1 IN TXT a b", "www.corp. 1 IN CNAME www.corp.", "www.corp. 1 IN A 10.0.0.1", `www.corp. 1 IN CAA 128 issue "x"`,
		"www.corp. 1 IN AAAA ::ffff:10.0.0.1", "www.corp. 1 IN CNAME b.\nb. 1 IN TXT x",
	} {
		message := &dns.Msg{Question: []dns.Question{{Name: "www.corp.", Qtype: dns.TypeTXT, Qclass: 1}}, Compress: true}
		for line := range strings.SplitSeq(seed, "\n") {
			rr, err := dns.NewRR(line)
			if err != nil {
				f.Fatal(err)
			}
			message.Answer = append(message.Answer, rr)
		}
		packed, err := message.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		a := fuzzAttempt(t, DNS01)
		for _, typ := range []uint16{dns.TypeTXT, dns.TypeA, dns.TypeAAAA, dns.TypeCAA} {
			query := new(dns.Msg).SetQuestion("www.corp.", typ)
			if len(message) >= 3 { // get past the first check
				query.Id = uint16(message[0])<<8 | uint16(message[1])
				message[2] |= 0x80
			}
			reply, err := parseReply(message, query)
			if err != nil {
				continue
			}
			a.log.add(lookupStep("www.corp.", typ, "resolver", reply, nil))
			records, _, steps := a.resolver.follow(reply, "www.corp.", typ)
			if steps > maxCNAMEs+1 {
				t.Fatalf("%d CNAMEs followed", steps)
			}
			_ = firstOfEach(recordAddresses(records))
			var caa []*dns.CAA
			for _, rr := range records {
				if record, ok := rr.(*dns.CAA); ok {
					caa = append(caa, record)
				}
				if record, ok := rr.(*dns.TXT); ok {
					_ = txtValue(record)
				}
			}
			_ = a.judgeCAA(caa)
		}
		a.log.finish(nil)
		checkTranscript(t, a.log.transcript)
	})
}

// A CAA value or dns-persist-01 record counts only when it names the issuer,
// and reading it back gives the same.
func FuzzIssueValue(f *testing.F) {
	for _, seed := range []string{
		"ca.example", "ca.example; accounturi=" + accountURL + "; policy=wildcard; persistUntil=1", ";", "", " ; a=b",
		"ca.example;;", "ca.example; a==b;c=", "-x", "ca.example; validationmethods=dns-01", "a\x00b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := fuzzAttempt(t, DNSPersist01)
		named := strings.Contains(strings.ToLower(text), "ca.example")
		if err := a.authorizes(text); err == nil && !named {
			t.Fatalf("CAA value %q authorizes", text)
		}
		if _, err := a.judgePersist("www.corp", text); err == nil && (!named || !strings.Contains(text, "=https://ca.example/acct")) {
			t.Fatalf("record %q proves", text)
		}
		parsed, err := parseIssueValue(text)
		if err != nil {
			if strings.Contains(err.Error(), text) && len(text) > 10 {
				t.Fatalf("quoted: %v", err)
			}
			return
		}
		var parts []string
		for _, p := range parsed.parameters {
			parts = append(parts, p.tag+"="+p.value)
		}
		again, err := parseIssueValue(parsed.domain + ";" + strings.Join(parts, ";"))
		if err != nil || again.domain != parsed.domain || len(again.parameters) != len(parsed.parameters) {
			t.Fatalf("%q reads as %v, and that as %v, %v", text, parsed, again, err)
		}
	})
}

// Only one encoding of the names and one of the digest passes.
func FuzzTLSALPN01(f *testing.F) {
	digest := sha256.Sum256([]byte(keyAuth))
	right := digestValue(keyAuth)
	names := append([]byte{0x30, 10, 0x82, 8}, "www.corp"...)
	f.Add(names, right)
	f.Add([]byte{0x30, 0x80, 0x82, 0, 0, 0}, []byte{4, 0x81, 32})
	f.Add([]byte{0x30, 6, 0x87, 4, 10, 0, 0, 1}, right[2:])
	f.Fuzz(func(t *testing.T, san, extension []byte) {
		extensions := []pkix.Extension{{Id: oidSubjectAltName, Value: san}, {Id: oidACMEIdentifier, Critical: true, Value: extension}}
		if judgeNames(extensions, dnsName("www.corp")) == "" && !bytes.EqualFold(san, names) {
			t.Fatalf("names %x pass", san)
		}
		if judgeNames(extensions, ip("10.0.0.1")) == "" && !bytes.Equal(san, []byte{0x30, 6, 0x87, 4, 10, 0, 0, 1}) {
			t.Fatalf("names %x pass", san)
		}
		if judgeDigest(extensions, digest) == "" && !bytes.Equal(extension, right) {
			t.Fatalf("extension %x passes", extension)
		}
		extensions[1].Id = asn1.ObjectIdentifier{1, 2, 3}
		if judgeDigest(extensions, digest) == "" {
			t.Fatal("passes without the extension")
		}
	})
}

// Whatever host comes, the attempt ends in time.
func TestDeadlineHolds(t *testing.T) {
	w := newWorld(t)
	l := listen(t, "127.0.0.1:0")
	serveRaw(t, l, silence)
	w.config.HTTPPort, w.config.TLSPort, w.config.Timeout = portOf(l.Addr()), portOf(l.Addr()), 200*time.Millisecond
	w.config.Resolvers = []string{l.Addr().String()} // silent over TCP, nothing over UDP
	for _, method := range Methods() {
		for _, id := range []string{"www.corp", "127.0.0.1"} {
			req := request(method, dnsName(id))
			if id == "127.0.0.1" {
				req.Identifier = ip(id)
			}
			began := time.Now()
			result := w.validator().Validate(context.Background(), req)
			if took := time.Since(began); result.Err == nil || took > w.config.Timeout+2*time.Second {
				t.Errorf("%s %s: %v after %v", method, id, result.Err, took)
			}
		}
	}
}
