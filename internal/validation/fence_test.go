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

func TestFence(t *testing.T) {
	own := func() []netip.AddrPort {
		return []netip.AddrPort{
			netip.MustParseAddrPort("10.9.9.9:9443"),
			netip.MustParseAddrPort("0.0.0.0:9480"),
		}
	}
	plain := newFence(nil, nil, nil, own)
	ruled := newFence(
		prefixes("127.0.0.0/8", "::1/128", "10.1.2.0/24", "::ffff:169.254.1.0/120"),
		prefixes("10.1.0.0/16", "2001:db8::/32"), nil, own)
	only := newFence(prefixes("127.0.0.0/8"), prefixes("10.2.0.0/16"), prefixes("10.0.0.0/8", "169.254.0.0/16", "64:ff9b::/96"), own)
	open := newFence(prefixes("0.0.0.0/0", "::/0"), nil, nil, own)

	for _, test := range []struct {
		fence  fence
		target string
		says   string // "": may be reached
	}{
		{plain, "10.0.0.1:80", ""},
		{plain, "192.168.1.1:80", ""},
		{plain, "[fd00::1]:80", ""},
		{plain, "[2001:db8::1]:443", ""},
		{plain, "127.0.0.1:80", "built-in rule for loopback"},
		{plain, "127.255.255.254:80", "loopback"},
		{plain, "[::1]:80", "loopback"},
		{plain, "169.254.169.254:80", "built-in rule for cloud metadata services; if it may be reached, add it to validation.allow"},
		{plain, "168.63.129.16:80", "metadata"},
		{plain, "100.100.100.200:80", "metadata"},
		{plain, "[fd00:ec2::254]:80", "metadata"},
		{plain, "169.254.1.1:80", "link-local"},
		{plain, "[fe80::1]:80", "link-local"},
		{plain, "[fe80::1%eth0]:80", "link-local"},
		{plain, "224.0.0.1:80", "multicast"},
		{plain, "[ff02::1]:80", "multicast"},
		{plain, "0.0.0.0:80", "unspecified"},
		{plain, "0.1.2.3:80", "unspecified"},
		{plain, "[::]:80", "unspecified"},
		{plain, "255.255.255.255:80", "broadcast"},

		{plain, "[::ffff:169.254.169.254]:80", "metadata"},
		{plain, "[::ffff:10.0.0.1]:80", ""},
		{plain, "[64:ff9b::169.254.169.254]:80", "stands for 169.254.169.254"},
		{plain, "[64:ff9b::10.0.0.1]:80", ""},
		{plain, "[64:ff9b:1::127.0.0.1]:80", "stands for 127.0.0.1"},
		{plain, "[64:ff9b:1:a9fe:a9:fe00::]:80", "stands for 169.254.169.254"}, // /48
		{plain, "[64:ff9b:1:a9:fe:a9fe::]:80", "stands for 169.254.169.254"},   // /56
		{plain, "[64:ff9b:1:7:a9:fea9:fe00:0]:80", "stands for 169.254.169.254"},
		{plain, "[64:ff9b:1::10.0.0.1]:80", ""},
		{plain, "[2002:a9fe:a9fe::1]:80", "stands for 169.254.169.254"},
		{plain, "[2002:a00:1::1]:80", ""},
		{plain, "[2001:0:7f00:1::]:80", "stands for 127.0.0.1"},
		{plain, "[2001:0:a00:1::5601:5601]:80", "stands for 169.254.169.254"},
		{plain, "[::169.254.169.254]:80", "stands for 169.254.169.254"},
		{plain, "[::ffff:0:127.0.0.1]:80", "stands for 127.0.0.1"},

		{ruled, "127.0.0.1:80", ""},
		{ruled, "[::1]:80", ""},
		{ruled, "10.1.1.1:80", "denied by 10.1.0.0/16 in validation.deny"},
		{ruled, "[64:ff9b::10.1.1.1]:80", "10.1.0.0/16 in validation.deny"},
		{ruled, "10.1.2.3:80", ""},
		{ruled, "169.254.1.7:80", ""},
		{ruled, "169.254.2.7:80", "link-local"},
		{ruled, "[2001:db8::1]:80", "2001:db8::/32 in validation.deny"},

		{only, "10.0.0.1:80", ""},
		{only, "11.0.0.1:80", "outside validation.only"},
		{only, "127.0.0.1:80", "outside validation.only"},
		{only, "169.254.169.254:80", "metadata"},
		{only, "10.2.0.1:80", "validation.deny"},
		{only, "[64:ff9b::11.0.0.1]:80", ""},
		{only, "[2002:a00:1::1]:80", "outside validation.only"},

		{plain, "10.9.9.9:9443", "a listener of this CA itself"},
		{open, "10.9.9.9:9443", "a listener of this CA itself"},
		{open, "[::ffff:10.9.9.9]:9443", "a listener of this CA itself"},
		{open, "[64:ff9b::10.9.9.9]:9443", "a listener of this CA itself"},
		{open, "10.9.9.9:443", ""},
		{open, "127.7.7.7:9480", "a listener of this CA itself"},
		{open, "[::1]:9480", "a listener of this CA itself"},
		{open, "0.0.0.0:9443", "a listener of this CA itself"},
		{open, "[::]:9480", "a listener of this CA itself"},
		{open, "203.0.113.1:9480", ""},
		{open, "169.254.169.254:80", ""},
	} {
		got := test.fence.check(netip.MustParseAddrPort(test.target))
		if (test.says == "") != (got == "") || !strings.Contains(got, test.says) {
			t.Errorf("%s: %q, want %q", test.target, got, test.says)
		}
	}
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
