package validation

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/validation/dnstest"
)

// BenchmarkHTTP01 measures whole attempts over loopback. The web server (and
// the DNS server) run in the same process: cpu-µs/op counts their work too.
func BenchmarkHTTP01(b *testing.B) {
	server := dnstest.New(b)
	server.SetA("www.corp", "127.0.0.1")
	l := listen(b, "127.0.0.1:0")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 87\r\nConnection: close\r\n\r\n" + keyAuth)
	serveRaw(b, l, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1024))
		_, _ = conn.Write(answer)
	})
	v, err := New(Config{
		HTTPPort: portOf(l.Addr()), Resolvers: []string{server.Addr()},
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, id := range []identifier.Identifier{ip("127.0.0.1"), dnsName("www.corp")} {
		b.Run(string(id.Type), func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				if result := v.Validate(context.Background(), request(HTTP01, id)); result.Err != nil {
					b.Fatal(result.Err)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
