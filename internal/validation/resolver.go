package validation

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"chancery/internal/failure"
)

const (
	maxCNAMEs  = 10                      // followed for one name
	maxTry     = 1500 * time.Millisecond // one question to one server
	tries      = 2                       // rounds over all servers
	ednsBuffer = 1232                    // fits one packet on any path
)

// resolver asks recursive DNS servers, fresh each time. When no servers are
// configured it does as the host would: it reads /etc/resolv.conf (without
// its search list: names are absolute here) and, for addresses, /etc/hosts.
type resolver struct {
	servers []string
	zones   map[string][]string // by canonical name
	system  *systemFiles        // nil when servers are configured
}

func newResolver(servers []string, zones map[string][]string) (*resolver, error) {
	r := &resolver{zones: map[string][]string{}}
	var err error
	if r.servers, err = withPorts(servers); err != nil {
		return nil, err
	}
	if len(r.servers) == 0 {
		r.system = newSystemFiles("/etc/resolv.conf", "/etc/hosts")
	}
	for zone, servers := range zones {
		if _, ok := dns.IsDomainName(zone); !ok || len(servers) == 0 {
			return nil, fmt.Errorf("the resolvers for zone %.80q need a domain name and at least one server", zone)
		}
		if r.zones[dns.CanonicalName(zone)], err = withPorts(servers); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// withPorts adds port 53 where there is none.
func withPorts(servers []string) ([]string, error) {
	var full []string
	for _, server := range servers {
		if addr, err := netip.ParseAddr(strings.Trim(server, "[]")); err == nil {
			server = netip.AddrPortFrom(addr, 53).String()
		} else if !strings.Contains(server, ":") {
			server += ":53"
		}
		host, port, err := net.SplitHostPort(server)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || host == "" || n == 0 {
			return nil, fmt.Errorf("%.80q is no DNS server; write HOST or HOST:PORT", server)
		}
		full = append(full, server)
	}
	return full, nil
}

// serversFor returns the servers to ask about name: those of the longest zone
// it is in, or else the general ones.
func (r *resolver) serversFor(name string) []string {
	if len(r.zones) > 0 {
		canonical := dns.CanonicalName(name)
		for off, end := 0, false; !end; off, end = dns.NextLabel(canonical, off) {
			if servers, ok := r.zones[canonical[off:]]; ok {
				return servers
			}
		}
		if servers, ok := r.zones["."]; ok {
			return servers
		}
	}
	if r.system != nil {
		return r.system.nameservers()
	}
	return r.servers
}

// lookup returns the records of one type that name has, itself or through
// CNAMEs, which it follows on where the server didn't. No records of that type
// is no error, a name that doesn't exist is: its failure wraps errNoName.
func (r *resolver) lookup(ctx context.Context, l *log, name string, typ uint16) ([]dns.RR, *failure.Error) {
	qname := dns.Fqdn(name)
	if _, ok := dns.IsDomainName(qname); !ok || len(qname) > 254 {
		return nil, failure.New(failure.Malformed, "%.300q is too long to be looked up in DNS", name)
	}
	for links := 0; links <= maxCNAMEs; {
		reply, server, err := r.ask(ctx, l, qname, typ)
		if err != nil {
			return nil, err
		}
		records, end, followed := r.follow(reply, qname, typ)
		if reply.Rcode == dns.RcodeNameError && r.sameServers(qname, end) {
			return nil, noName(qname, end, typ, server)
		}
		if len(records) > 0 || followed == 0 {
			return records, nil
		}
		links += followed
		qname = end
	}
	return nil, failure.New(failure.DNS, "%s is an alias (CNAME) of an alias and so on, more than %d times", name, maxCNAMEs)
}

// errNoName is wrapped by the failure of looking up a name that doesn't exist.
var errNoName = errors.New("NXDOMAIN")

func noName(asked, end string, typ uint16, server string) *failure.Error {
	text := fmt.Sprintf("the name %s does not exist according to resolver %s (NXDOMAIN)", bare(end), server)
	if asked != end {
		text += fmt.Sprintf("; %s is an alias of it", bare(asked))
	}
	return failure.New(failure.DNS, "%s. Add the %s record, or point validation.resolvers at servers that know it.",
		text, dns.TypeToString[typ]).Because(errNoName)
}

// follow walks from name along the CNAMEs in reply. It returns the records of
// the type asked for at the end of the walk, the end, and the steps taken. The
// walk ends before a name that other servers are configured for.
func (r *resolver) follow(reply *dns.Msg, name string, typ uint16) (records []dns.RR, end string, steps int) {
	for ; steps <= maxCNAMEs; steps++ {
		next := ""
		for _, rr := range reply.Answer {
			if !sameName(rr.Header().Name, name) || rr.Header().Class != dns.ClassINET {
				continue
			}
			if rr.Header().Rrtype == typ {
				records = append(records, rr)
			} else if alias, ok := rr.(*dns.CNAME); ok {
				next = alias.Target
			}
		}
		if len(records) > 0 || next == "" {
			return records, name, steps
		}
		if !r.sameServers(name, next) {
			return nil, next, steps + 1
		}
		name = next
	}
	return nil, name, steps
}

func (r *resolver) sameServers(a, b string) bool {
	return len(r.zones) == 0 || slices.Equal(r.serversFor(a), r.serversFor(b))
}

// ask puts one question to the servers for the name, in order, twice, until
// one gives an answer: NOERROR or NXDOMAIN. Each try gets at most a third of
// the time left, so that a dead server leaves time for another and for what
// follows the lookup.
func (r *resolver) ask(ctx context.Context, l *log, qname string, typ uint16) (*dns.Msg, string, *failure.Error) {
	question := dns.TypeToString[typ] + " " + bare(qname)
	servers := r.serversFor(qname)
	if len(servers) == 0 {
		return nil, "", failure.New(failure.DNS, "no DNS server is known to ask for %s; set validation.resolvers", question)
	}
	var why []string
	for try := range tries * len(servers) {
		server := servers[try%len(servers)]
		reply, err := exchange(ctx, server, qname, typ)
		l.add(lookupStep(qname, typ, server, reply, err))
		if err == nil && (reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError) {
			return reply, server, nil
		}
		if reason := server + " " + problem(reply, err); !slices.Contains(why, reason) && len(why) < 4 {
			why = append(why, reason)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, "", failure.New(failure.DNS, "no answer for %s: resolver %s. Check that the resolver works for this name.",
		question, strings.Join(why, ", "))
}

// problem says what is wrong with an exchange that gave no usable answer.
func problem(reply *dns.Msg, err error) string {
	if err == nil {
		return "answers " + rcode(reply)
	}
	return "gives no usable answer (" + reason(err) + ")"
}

func lookupStep(qname string, typ uint16, server string, reply *dns.Msg, err error) Step {
	step := Step{Action: "lookup", Name: bare(qname), Type: dns.TypeToString[typ], Server: server}
	if err != nil {
		step.Outcome = reason(err)
		return step
	}
	step.Outcome = rcode(reply)
	for _, rr := range reply.Answer {
		if len(step.Answers) == maxAnswers+1 {
			break
		}
		step.Answers = append(step.Answers, recordText(rr))
	}
	return step
}

func rcode(reply *dns.Msg) string {
	return cmp.Or(dns.RcodeToString[reply.Rcode], "RCODE "+strconv.Itoa(reply.Rcode))
}

func recordText(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.A:
		return rr.A.String()
	case *dns.AAAA:
		return rr.AAAA.String()
	case *dns.CNAME:
		return "CNAME " + bare(rr.Target)
	case *dns.TXT:
		return strconv.Quote(txtValue(rr))
	case *dns.CAA:
		return fmt.Sprintf("%d %s %q", rr.Flag, rr.Tag, rr.Value)
	default:
		return dns.TypeToString[rr.Header().Rrtype]
	}
}

// exchange asks one server: over UDP, again without EDNS when it doesn't know
// that, and over TCP when the answer was too long.
func exchange(ctx context.Context, server, qname string, typ uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, share(ctx))
	defer cancel()
	query := new(dns.Msg).SetQuestion(qname, typ)
	query.SetEdns0(ednsBuffer, false)
	reply, err := roundTrip(ctx, "udp", server, query)
	if err == nil && reply.Rcode == dns.RcodeFormatError {
		query.Extra = nil
		reply, err = roundTrip(ctx, "udp", server, query)
	}
	if err == nil && reply.Truncated {
		reply, err = roundTrip(ctx, "tcp", server, query)
	}
	return reply, err
}

// share is the time one try may take.
func share(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return maxTry
	}
	return min(maxTry, time.Until(deadline)/3)
}

// roundTrip sends query and waits for its answer. What arrives by UDP and is
// not that answer is passed over, for it may be forged.
func roundTrip(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer closeWith(ctx, conn)()
	packed, err := query.Pack()
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		packed = append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)
	}
	if _, err := conn.Write(packed); err != nil {
		return nil, err
	}
	if network == "tcp" {
		return readStream(conn, query)
	}
	return readPackets(conn, query)
}

func readPackets(conn net.Conn, query *dns.Msg) (*dns.Msg, error) {
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if reply, err := parseReply(buffer[:n], query); err == nil {
			return reply, nil
		} else if !errors.Is(err, errNotOurs) {
			return nil, err
		}
	}
}

func readStream(conn net.Conn, query *dns.Msg) (*dns.Msg, error) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return nil, err
	}
	return parseReply(message, query)
}

// errNotOurs marks a message that is no answer to the query.
var errNotOurs = errors.New("the message is not the answer to the question")

// parseReply parses an answer to query (RFC 5452 §9.1: same id and question).
// A truncated one may be cut anywhere; its header is enough.
func parseReply(message []byte, query *dns.Msg) (*dns.Msg, error) {
	reply := new(dns.Msg)
	err := reply.Unpack(message)
	if reply.Id != query.Id || !reply.Response {
		return nil, errNotOurs
	}
	if len(reply.Question) == 1 {
		asked, answered := query.Question[0], reply.Question[0]
		if asked.Qtype != answered.Qtype || asked.Qclass != answered.Qclass || !sameName(asked.Name, answered.Name) {
			return nil, errNotOurs
		}
	} else if err == nil && reply.Rcode == dns.RcodeSuccess {
		return nil, errNotOurs
	}
	if err != nil && !reply.Truncated {
		return nil, fmt.Errorf("the answer is no DNS message: %w", err)
	}
	return reply, nil
}

// closeWith makes reads and writes on conn fail when ctx ends. The caller
// calls the function it returns to let go.
func closeWith(ctx context.Context, conn net.Conn) func() bool {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// bare is a name without its final dot.
func bare(name string) string { return strings.TrimSuffix(name, ".") }
