package validation

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"chancery/internal/failure"
)

// maxPerFamily bounds the addresses of one name that an attempt tries.
const maxPerFamily = 2

// addresses returns where name may be reached, IPv6 first; an address is its
// own. Both families are asked for at once; one family's failure counts only
// when the other has no address.
func (r *resolver) addresses(ctx context.Context, l *log, name string) ([]netip.Addr, *failure.Error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{addr}, nil
	}
	if r.system != nil {
		if found := r.system.addresses(name); len(found) > 0 {
			l.add(Step{Action: "lookup", Name: name, Server: r.system.hosts.path, Answers: texts(found), Outcome: "NOERROR"})
			return firstOfEach(found), nil
		}
	}
	var six, four []dns.RR
	var sixErr, fourErr *failure.Error
	var group sync.WaitGroup
	fork := l.fork()
	group.Go(func() { six, sixErr = r.lookup(ctx, fork, name, dns.TypeAAAA) })
	four, fourErr = r.lookup(ctx, l, name, dns.TypeA)
	group.Wait()
	l.join(fork)

	found := firstOfEach(recordAddresses(append(six, four...)))
	switch {
	case len(found) > 0:
		return found, nil
	case isLocalhost(name):
		return localhost(), nil // resolvers need not know it (RFC 6761 §6.3)
	case fourErr != nil:
		return nil, fourErr
	case sixErr != nil:
		return nil, sixErr
	}
	return nil, failure.New(failure.DNS, "%s has neither an A nor an AAAA record according to resolver %s. Add one.",
		name, strings.Join(r.serversFor(name), ", "))
}

func recordAddresses(records []dns.RR) []netip.Addr {
	var found []netip.Addr
	for _, rr := range records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A.To4()
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			found = append(found, addr)
		}
	}
	return found
}

// firstOfEach keeps the first addresses of each family, IPv6 before IPv4.
func firstOfEach(all []netip.Addr) []netip.Addr {
	var six, four []netip.Addr
	for _, addr := range all {
		if addr.Is4() && len(four) < maxPerFamily {
			four = append(four, addr)
		} else if !addr.Is4() && len(six) < maxPerFamily {
			six = append(six, addr)
		}
	}
	return append(six, four...)
}

func texts(addrs []netip.Addr) []string {
	var list []string
	for _, addr := range addrs {
		list = append(list, addr.String())
	}
	return list
}

// systemFiles are the host's own resolver settings, read again when they
// change.
type systemFiles struct {
	mu       sync.Mutex // guards what follows
	resolv   watchedFile
	hosts    watchedFile
	servers  []string
	hostAddr map[string][]netip.Addr
}

func newSystemFiles(resolv, hosts string) *systemFiles {
	return &systemFiles{resolv: watchedFile{path: resolv}, hosts: watchedFile{path: hosts}}
}

// nameservers is resolv.conf's list, and the local host when there is none
// (resolv.conf(5)).
func (s *systemFiles) nameservers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text, changed := s.resolv.read(); changed {
		s.servers = parseResolvConf(text)
	}
	return s.servers
}

// addresses looks name up in the hosts file. The names under localhost are
// the loopback's without any file (RFC 6761 §6.3).
func (s *systemFiles) addresses(name string) []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text, changed := s.hosts.read(); changed {
		s.hostAddr = parseHosts(text)
	}
	name = strings.ToLower(bare(name))
	if found := s.hostAddr[name]; len(found) > 0 {
		return found
	}
	if isLocalhost(name) {
		return localhost()
	}
	return nil
}

func isLocalhost(name string) bool {
	name = strings.ToLower(bare(name))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

func localhost() []netip.Addr {
	return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
}

func parseResolvConf(text string) []string {
	config, err := dns.ClientConfigFromReader(strings.NewReader(text))
	if err != nil || len(config.Servers) == 0 {
		return []string{"127.0.0.1:53"}
	}
	var servers []string
	for _, server := range config.Servers {
		servers = append(servers, net.JoinHostPort(server, config.Port))
	}
	return servers
}

func parseHosts(text string) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(bare(name))
			hosts[name] = append(hosts[name], addr.Unmap())
		}
	}
	return hosts
}

// watchedFile is a small file that is read again when its time or size
// changes.
type watchedFile struct {
	path string
	time time.Time
	size int64
	seen bool
}

// read returns the text and true when the file may have changed since the
// last call. A file that can't be read is empty.
func (f *watchedFile) read() (string, bool) {
	info, err := os.Stat(f.path)
	if err != nil {
		changed := !f.seen || f.size >= 0
		f.seen, f.size = true, -1
		return "", changed
	}
	if f.seen && info.ModTime().Equal(f.time) && info.Size() == f.size {
		return "", false
	}
	f.seen, f.time, f.size = true, info.ModTime(), info.Size()
	text, err := os.ReadFile(f.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.seen = false
	}
	return string(text), true
}
