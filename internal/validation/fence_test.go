package validation

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"chancery/internal/failure"
)

// fenceCase is a target and what its denial says; "" when it may be reached.
type fenceCase struct{ target, says string }

func checkFence(t *testing.T, f fence, cases []fenceCase) {
	t.Helper()
	for _, c := range cases {
		got := f.check(netip.MustParseAddrPort(c.target))
		if (c.says == "") != (got == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", c.target, got, c.says)
		}
	}
}

func TestFenceBuiltIn(t *testing.T) {
	checkFence(t, newFence(nil, nil, nil, nil), []fenceCase{
		{"10.0.0.1:80", ""},
		{"192.168.1.1:80", ""},
		{"[fd00::1]:80", ""},
		{"[2001:db8::1]:443", ""},
		{"127.0.0.1:80", "built-in rule for loopback"},
		{"127.255.255.254:80", "loopback"},
		{"[::1]:80", "loopback"},
		{"169.254.169.254:80", "built-in rule for cloud metadata services; if it may be reached, add it to validation.allow"},
		{"168.63.129.16:80", "metadata"},
		{"100.100.100.200:80", "metadata"},
		{"[fd00:ec2::254]:80", "metadata"},
		{"169.254.1.1:80", "link-local"},
		{"[fe80::1]:80", "link-local"},
		{"[fe80::1%eth0]:80", "link-local"},
		{"224.0.0.1:80", "multicast"},
		{"[ff02::1]:80", "multicast"},
		{"0.0.0.0:80", "unspecified"},
		{"0.1.2.3:80", "unspecified"},
		{"[::]:80", "unspecified"},
		{"255.255.255.255:80", "broadcast"},
	})
}

// IPv6 addresses that carry a denied IPv4 address.
func TestFenceForms(t *testing.T) {
	checkFence(t, newFence(nil, nil, nil, nil), []fenceCase{
		{"[::ffff:169.254.169.254]:80", "metadata"},
		{"[::ffff:10.0.0.1]:80", ""},
		{"[64:ff9b::169.254.169.254]:80", "stands for 169.254.169.254"},
		{"[64:ff9b::10.0.0.1]:80", ""},
		{"[64:ff9b:1::127.0.0.1]:80", "stands for 127.0.0.1"},
		{"[64:ff9b:1:a9fe:a9:fe00::]:80", "stands for 169.254.169.254"}, // /48
		{"[64:ff9b:1:a9:fe:a9fe::]:80", "stands for 169.254.169.254"},   // /56
		{"[64:ff9b:1:7:a9:fea9:fe00:0]:80", "stands for 169.254.169.254"},
		{"[64:ff9b:1::10.0.0.1]:80", ""},
		{"[2002:a9fe:a9fe::1]:80", "stands for 169.254.169.254"},
		{"[2002:a00:1::1]:80", ""},
		{"[2001:0:7f00:1::]:80", "stands for 127.0.0.1"},
		{"[2001:0:a00:1::5601:5601]:80", "stands for 169.254.169.254"},
		{"[::169.254.169.254]:80", "stands for 169.254.169.254"},
		{"[::ffff:0:127.0.0.1]:80", "stands for 127.0.0.1"},
	})
}

func TestFenceRules(t *testing.T) {
	allow := prefixes("127.0.0.0/8", "::1/128", "10.1.2.0/24", "::ffff:169.254.1.0/120")
	checkFence(t, newFence(allow, prefixes("10.1.0.0/16", "2001:db8::/32"), nil, nil), []fenceCase{
		{"127.0.0.1:80", ""},
		{"[::1]:80", ""},
		{"10.1.1.1:80", "denied by 10.1.0.0/16 in validation.deny"},
		{"[64:ff9b::10.1.1.1]:80", "10.1.0.0/16 in validation.deny"},
		{"10.1.2.3:80", ""},
		{"169.254.1.7:80", ""},
		{"169.254.2.7:80", "link-local"},
		{"[2001:db8::1]:80", "2001:db8::/32 in validation.deny"},
	})
	only := prefixes("10.0.0.0/8", "169.254.0.0/16", "64:ff9b::/96")
	checkFence(t, newFence(prefixes("127.0.0.0/8"), prefixes("10.2.0.0/16"), only, nil), []fenceCase{
		{"10.0.0.1:80", ""},
		{"11.0.0.1:80", "outside validation.only"},
		{"127.0.0.1:80", "outside validation.only"},
		{"169.254.169.254:80", "metadata"},
		{"10.2.0.1:80", "validation.deny"},
		{"[64:ff9b::11.0.0.1]:80", ""},
		{"[2002:a00:1::1]:80", "outside validation.only"},
	})
}

// The CA's own listeners are no target even where everything is allowed.
func TestFenceOwnListeners(t *testing.T) {
	own := func() []netip.AddrPort {
		return []netip.AddrPort{
			netip.MustParseAddrPort("10.9.9.9:9443"),
			netip.MustParseAddrPort("0.0.0.0:9480"),
		}
	}
	checkFence(t, newFence(prefixes("0.0.0.0/0", "::/0"), nil, nil, own), []fenceCase{
		{"10.9.9.9:9443", "a listener of this CA itself"},
		{"[::ffff:10.9.9.9]:9443", "a listener of this CA itself"},
		{"[64:ff9b::10.9.9.9]:9443", "a listener of this CA itself"},
		{"10.9.9.9:443", ""},
		{"127.7.7.7:9480", "a listener of this CA itself"},
		{"[::1]:9480", "a listener of this CA itself"},
		{"0.0.0.0:9443", "a listener of this CA itself"},
		{"[::]:9480", "a listener of this CA itself"},
		{"203.0.113.1:9480", ""},
		{"169.254.169.254:80", ""},
	})
	checkFence(t, newFence(nil, nil, nil, own), []fenceCase{{"10.9.9.9:9443", "a listener of this CA itself"}})
}

// A listener on the unspecified address is also reached at the addresses of
// the host's interfaces.
func TestFenceInterfaces(t *testing.T) {
	f := newFence(prefixes("0.0.0.0/0", "::/0"), nil, nil,
		func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("[::]:443")} })
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range addrs {
		local := netip.MustParsePrefix(addr.String()).Addr()
		if f.check(netip.AddrPortFrom(local, 443)) == "" || f.check(netip.AddrPortFrom(local, 444)) != "" {
			t.Errorf("%s: port 443 may be reached, or port 444 may not", local)
		}
	}
}

func TestFenceHolds(t *testing.T) {
	w := newWorld(t)
	w.dns.SetA("meta.corp", "169.254.169.254")
	w.dns.SetA("mapped.corp", "::ffff:169.254.169.254")
	w.dns.SetA("nat64.corp", "64:ff9b::a9fe:a9fe")
	w.dns.SetA("self.corp", "127.0.0.1")
	w.dns.SetA("mixed.corp", "::1", "127.0.0.1")
	server := serveHTTP(t, "127.0.0.1:0", text(keyAuth))
	w.config.HTTPPort = portOf(server)

	for _, method := range []Method{HTTP01, TLSALPN01} {
		for name, says := range map[string]string{
			"meta.corp":   "meta.corp may not be connected to: 169.254.169.254 is denied by the built-in rule for cloud metadata",
			"mapped.corp": "cloud metadata",
			"nat64.corp":  "stands for 169.254.169.254",
		} {
			result := w.validate(method, dnsName(name))
			refused(t, result, failure.Connection, says)
			if !result.Final {
				t.Errorf("%s %s: a retry would not help", method, name)
			}
		}
	}
	refused(t, w.validate(HTTP01, ip("169.254.169.254")), failure.Connection, "cloud metadata")

	w.config.OwnListeners = func() []netip.AddrPort { return []netip.AddrPort{server.(*net.TCPAddr).AddrPort()} }
	refused(t, w.validate(HTTP01, dnsName("self.corp")), failure.Connection, "listener of this CA itself")

	w.config.OwnListeners = nil
	w.config.Deny, w.config.Allow = prefixes("::1/128"), prefixes("127.0.0.0/8")
	proven(t, w.validate(HTTP01, dnsName("mixed.corp"))) // the address that is denied is passed over
}

// A name is resolved once for each connection, and what was checked is what is
// dialed; a redirect to the same name is checked anew.
func TestFenceRebinding(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int32
	w.dns.SetHook(func(q dns.Question) *dns.Msg {
		if q.Qtype != dns.TypeA {
			return nil
		}
		addr := "169.254.169.254"
		if asked.Add(1) == 1 {
			addr = "127.0.0.1"
		}
		rr, _ := dns.NewRR(fmt.Sprintf("%s 0 A %s", q.Name, addr))
		return &dns.Msg{Answer: []dns.RR{rr}}
	})
	w.config.HTTPPort = portOf(serveHTTP(t, "127.0.0.1:0", text(keyAuth)))
	proven(t, w.validate(HTTP01, dnsName("rebind.corp")))
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for one connection", n)
	}
	refused(t, w.validate(HTTP01, dnsName("rebind.corp")), failure.Connection, "cloud metadata")

	asked.Store(0)
	w.config.HTTPPort = portOf(serveHTTP(t, "127.0.0.1:0", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "/again", http.StatusFound)
	}))
	result := w.validate(HTTP01, dnsName("rebind.corp"))
	refused(t, result, failure.Connection, "cloud metadata")
	if !result.Final {
		t.Error("a retry would not help")
	}
}
