package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/miekg/dns"
)

// recordTTL is short, in seconds: names are asked for once.
const recordTTL = 1

// zone answers for every name there is, with authority: an address record with
// where validations are answered, the TXT records that are expected, and for
// all other types, CAA among them, that there is none.
type zone struct {
	known   *answers
	address netip.Addr
}

// startDNS serves DNS over UDP and TCP.
func (a *answering) startDNS(ctx context.Context, c *Config, known *answers) error {
	address, err := answerAddress(ctx, c)
	if err != nil {
		return fmt.Errorf("couldn't find out at which address validations are answered: %w", err)
	}
	packets, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", c.DNS)
	if err != nil {
		return fmt.Errorf("couldn't listen for DNS: %w", err)
	}
	z := zone{known, address}
	a.serveDNS(&dns.Server{PacketConn: packets, Handler: z})
	streams, err := (&net.ListenConfig{}).Listen(ctx, "tcp", packets.LocalAddr().String())
	if err != nil {
		return fmt.Errorf("couldn't listen for DNS: %w", err)
	}
	a.serveDNS(&dns.Server{Listener: streams, Handler: z})
	return nil
}

// serveDNS begins to serve, and waits until it does: a server that is to be
// closed before has no effect.
func (a *answering) serveDNS(server *dns.Server) {
	serves := make(chan struct{})
	server.NotifyStartedFunc = func() { close(serves) }
	a.stops = append(a.stops, server.Shutdown)
	a.serving.Go(func() { _ = server.ActivateAndServe() }) // ends with Shutdown
	<-serves
}

// answerAddress is that of the listener or, when that is every address, the
// one from which this machine reaches the server.
func answerAddress(ctx context.Context, c *Config) (netip.Addr, error) {
	listen := map[string]string{HTTP01: c.HTTP, TLSALPN01: c.TLS}[c.Challenge]
	if host, _, err := net.SplitHostPort(listen); err == nil {
		if addr, err := netip.ParseAddr(host); err == nil && !addr.IsUnspecified() {
			return addr, nil
		}
	}
	server, err := url.Parse(c.Server)
	if err != nil {
		return netip.Addr{}, err
	}
	port := server.Port()
	if port == "" {
		port = "443"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(server.Hostname(), port)) // sends nothing
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return local.Addr().Unmap(), err
}

// ServeDNS implements dns.Handler.
func (z zone) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	if len(request.Question) != 1 {
		_ = w.WriteMsg(new(dns.Msg).SetRcodeFormatError(request))
		return
	}
	reply := new(dns.Msg).SetReply(request)
	reply.Authoritative, reply.RecursionAvailable = true, true
	question := request.Question[0]
	if record := z.record(question); record != nil {
		reply.Answer = []dns.RR{record}
	} else { // RFC 2308 §2.2: so that the answer may be believed
		reply.Ns = []dns.RR{&dns.SOA{
			Hdr: header(question.Name, dns.TypeSOA), Ns: "ns.invalid.", Mbox: "nobody.invalid.",
			Serial: 1, Refresh: recordTTL, Retry: recordTTL, Expire: recordTTL, Minttl: recordTTL,
		}}
	}
	if asked := request.IsEdns0(); asked != nil {
		reply.SetEdns0(asked.UDPSize(), asked.Do())
	}
	_ = w.WriteMsg(reply)
}

// record is the answer to a question; nil when there is none.
func (z zone) record(q dns.Question) dns.RR {
	switch {
	case q.Qtype == dns.TypeA && z.address.Is4():
		return &dns.A{Hdr: header(q.Name, q.Qtype), A: z.address.AsSlice()}
	case q.Qtype == dns.TypeAAAA && z.address.Is6():
		return &dns.AAAA{Hdr: header(q.Name, q.Qtype), AAAA: z.address.AsSlice()}
	case q.Qtype == dns.TypeTXT:
		// Resolvers vary the case of letters to tell forged answers.
		if text, ok := z.known.text(strings.ToLower(strings.TrimSuffix(q.Name, "."))); ok {
			return &dns.TXT{Hdr: header(q.Name, q.Qtype), Txt: []string{text}}
		}
	}
	return nil
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: recordTTL}
}
