// Package dnstest is a DNS server for tests. It answers from records and
// faults that a test sets while it runs, over UDP and TCP on one port of
// 127.0.0.1. It behaves like a recursive resolver that knows nothing but what
// it was told: no delegations, no DNSSEC, no caching.
package dnstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Fault is a way in which the server misbehaves for one name.
type Fault struct {
	Rcode    int           // answer with this code and no records, when not zero
	Delay    time.Duration // wait before answering
	Drop     bool          // never answer
	Truncate bool          // over UDP, set TC and leave the records out
	NoChase  bool          // answer with the CNAME alone, not with what it points to
	UDPOnly  bool          // with Drop or Rcode: misbehave over UDP only
}

// Server is a running DNS server. Its methods may be called at any time from
// any goroutine; names are taken in any case, with or without the final dot.
type Server struct {
	addr     string
	udp, tcp *dns.Server
	serving  sync.WaitGroup
	closed   chan struct{}

	mu      sync.Mutex // guards what follows
	records map[string][]dns.RR
	faults  map[string]Fault
	hook    func(dns.Question) *dns.Msg
	queries []string
}

// New starts a server on a free port of 127.0.0.1 and closes it when the test
// ends.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a server on addr; port 0 stands for any that is free for both
// UDP and TCP. The caller closes it.
func Start(addr string) (*Server, error) {
	listener, packets, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("couldn't start the DNS server: %w", err)
	}
	s := &Server{
		addr:    listener.Addr().String(),
		closed:  make(chan struct{}),
		records: map[string][]dns.RR{},
		faults:  map[string]Fault{},
	}
	var ready sync.WaitGroup
	ready.Add(2)
	handler := dns.HandlerFunc(s.serve)
	s.tcp = &dns.Server{Listener: listener, Handler: handler, NotifyStartedFunc: ready.Done}
	s.udp = &dns.Server{PacketConn: packets, Handler: handler, NotifyStartedFunc: ready.Done}
	s.serving.Go(func() { _ = s.tcp.ActivateAndServe() })
	s.serving.Go(func() { _ = s.udp.ActivateAndServe() })
	ready.Wait()
	return s, nil
}

// listen finds a port that is free for both protocols.
func listen(addr string) (net.Listener, net.PacketConn, error) {
	var failures error
	for range 20 {
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return listener, packets, nil
		}
		failures = errors.Join(failures, err, listener.Close())
	}
	return nil, nil, failures
}

// Close stops the server and waits until it has stopped.
func (s *Server) Close() {
	close(s.closed)
	_ = s.tcp.Shutdown()
	_ = s.udp.Shutdown()
	s.serving.Wait()
}

// Addr is the server's HOST:PORT, as validation.resolvers takes it.
func (s *Server) Addr() string { return s.addr }

// SetA makes addrs the only A and AAAA records of name. A name that begins
// with "*." stands for all names below it that have no records of their own.
func (s *Server) SetA(name string, addrs ...string) {
	var rrs []dns.RR
	for _, text := range addrs {
		if addr := netip.MustParseAddr(text); addr.Is4() {
			rrs = append(rrs, &dns.A{Hdr: header(name, dns.TypeA), A: addr.AsSlice()})
		} else {
			rrs = append(rrs, &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: addr.AsSlice()})
		}
	}
	s.replace(name, rrs, dns.TypeA, dns.TypeAAAA)
}

// SetTXT makes values the only TXT records of name, one record each. Values
// longer than 255 bytes become several strings of one record.
func (s *Server) SetTXT(name string, values ...string) {
	rrs := make([]dns.RR, len(values))
	for i, value := range values {
		rrs[i] = txt(name, value)
	}
	s.replace(name, rrs, dns.TypeTXT)
}

// AddTXT adds a TXT record to name.
func (s *Server) AddTXT(name, value string) { s.Add(txt(name, value)) }

// RemoveTXT removes one TXT record by its value.
func (s *Server) RemoveTXT(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, gone := dns.CanonicalName(name), txt(name, value)
	s.records[key] = slices.DeleteFunc(s.records[key], func(rr dns.RR) bool { return dns.IsDuplicate(rr, gone) })
}

// SetTXTStrings makes one TXT record of the given strings, as they are, the
// only one of name.
func (s *Server) SetTXTStrings(name string, strings ...string) {
	s.replace(name, []dns.RR{&dns.TXT{Hdr: header(name, dns.TypeTXT), Txt: strings}}, dns.TypeTXT)
}

// SetCNAME makes name an alias of target and nothing else.
func (s *Server) SetCNAME(name, target string) {
	s.Remove(name)
	s.Add(&dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: dns.Fqdn(target)})
}

// SetCAA makes records the only CAA records of name. Each is written as in a
// zone file without quotes: FLAGS TAG VALUE.
func (s *Server) SetCAA(name string, records ...string) {
	rrs := make([]dns.RR, len(records))
	for i, record := range records {
		parts := strings.SplitN(record, " ", 3)
		flags, err := strconv.ParseUint(parts[0], 10, 8)
		if err != nil || len(parts) != 3 {
			panic("dnstest: a CAA record is FLAGS TAG VALUE, not " + record)
		}
		rrs[i] = &dns.CAA{Hdr: header(name, dns.TypeCAA), Flag: uint8(flags), Tag: parts[1], Value: parts[2]}
	}
	s.replace(name, rrs, dns.TypeCAA)
}

// Add adds a record of any type.
func (s *Server) Add(rr dns.RR) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := dns.CanonicalName(rr.Header().Name)
	s.records[key] = append(s.records[key], rr)
}

// Remove forgets all records and the fault of name.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, dns.CanonicalName(name))
	delete(s.faults, dns.CanonicalName(name))
}

// SetFault makes the server misbehave for name; the zero Fault ends that. The
// name "." stands for all names without a fault of their own.
func (s *Server) SetFault(name string, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[dns.CanonicalName(name)] = fault
}

// SetHook lets hook answer: what it returns is sent after the id and the
// question have been filled in where they are missing. For nil the server
// answers as usual. The hook runs on many goroutines at once.
func (s *Server) SetHook(hook func(dns.Question) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// Queries lists what was asked since the start, in order, as "udp A www.corp.".
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

func (s *Server) replace(name string, rrs []dns.RR, types ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := dns.CanonicalName(name)
	var kept []dns.RR
	for _, rr := range s.records[key] {
		if !slices.Contains(types, rr.Header().Rrtype) {
			kept = append(kept, rr)
		}
	}
	s.records[key] = append(kept, rrs...)
}

func header(name string, typ uint16) dns.RR_Header {
	return dns.RR_Header{Name: dns.Fqdn(name), Rrtype: typ, Class: dns.ClassINET, Ttl: 1}
}

// txt is a TXT record whose value may hold any byte.
func txt(name, value string) dns.RR {
	var parts []string
	for chunk := range slices.Chunk([]byte(value), 255) {
		parts = append(parts, escape(chunk))
	}
	if parts == nil {
		parts = []string{""}
	}
	return &dns.TXT{Hdr: header(name, dns.TypeTXT), Txt: parts}
}

// escape writes bytes in the zone file form that the dns package keeps strings
// in.
func escape(raw []byte) string {
	var b strings.Builder
	for _, c := range raw {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
