package docs

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// inside tells the test's own program that it is the first process of a machine.
const inside = "CHANCERY_DOCS_MACHINE"

// The network of a machine: the CA and the machine of the page's reader.
const (
	caAddress  = "10.0.0.1"
	appAddress = "10.0.0.7"
)

// changed are the directories that a machine has a copy of for itself: what is
// written there is gone with it. All others can't be written to.
var changed = []string{"/etc", "/var", "/root", "/srv", "/opt", "/usr/local"}

// beMachine is the first process of a machine, in namespaces of its own. It makes
// the machine's file system and network, answers for its names, and ends, and
// everything on the machine with it, when standard input is closed.
func beMachine(scratch string) error {
	if err := mounts(scratch); err != nil {
		return fmt.Errorf("couldn't make the file system: %w", err)
	}
	if err := network(); err != nil {
		return fmt.Errorf("couldn't make the network: %w", err)
	}
	if err := serveNames(); err != nil {
		return err
	}
	go reap()
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// mounts puts fresh layers over what a machine may change, and what it needs of
// the outside into them.
func mounts(scratch string) error {
	steps := []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mount("tmpfs", scratch, "tmpfs", 0, "") },
	}
	for _, dir := range changed {
		steps = append(steps, func() error { return overlay(scratch, dir) })
	}
	steps = append(steps,
		func() error { return bring(os.Getenv("CHANCERY_DOCS_PROGRAM"), "/usr/local/bin/chancery") },
		func() error { return bring(os.Getenv("CHANCERY_DOCS_SYSTEMCTL"), "/usr/local/bin/systemctl") },
		func() error { return unix.Mount("proc", "/proc", "proc", 0, "") },
		func() error { return unix.Mount("", "/", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "") },
		func() error { return unix.Mount("tmpfs", "/run", "tmpfs", 0, "") },
		func() error { return unix.Mount("tmpfs", "/dev/shm", "tmpfs", 0, "") },
		func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
		func() error { return os.MkdirAll("/run/lock", 0o755) },
	)
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func overlay(scratch, dir string) error {
	upper, work := filepath.Join(scratch, dir, "upper"), filepath.Join(scratch, dir, "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	return unix.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work)
}

// bring has a program of the outside be a program of the machine.
func bring(from, to string) error {
	if err := os.WriteFile(to, nil, 0o755); err != nil {
		return err
	}
	return unix.Mount(from, to, "", unix.MS_BIND, "")
}

// network gives the machine its name and addresses.
func network() error {
	for name, content := range map[string]string{
		"/etc/resolv.conf": "nameserver 127.0.0.1\n",
		"/etc/hosts":       "127.0.0.1 localhost\n",
		"/etc/hostname":    "app\n",
		"/etc/mailname":    "mail.corp.example\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte("app")); err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	return errors.Join(address(socket, "lo", "127.0.0.1"), address(socket, "lo:1", caAddress), address(socket, "lo:2", appAddress))
}

// address gives an interface an address and starts it.
func address(socket int, name, ip string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := request.SetInet4Addr(net.ParseIP(ip).To4()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFADDR, request); err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// serveNames answers for all names below corp.example. TXT records are what was
// sent as an update (RFC 2136).
func serveNames() error {
	packets, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	n := &names{txt: map[string][]string{}}
	for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
		s.Handler = dns.HandlerFunc(n.answer)
		s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		s.TsigSecret = map[string]string{"acme.": "c2VjcmV0LWZvci1hY21lLXVwZGF0ZXM="}
		go func() { _ = s.ActivateAndServe() }() // until the machine ends
	}
	return nil
}

type names struct {
	mu  sync.Mutex
	txt map[string][]string // by name; guarded by mu
}

func (n *names) answer(w dns.ResponseWriter, request *dns.Msg) {
	reply := new(dns.Msg).SetReply(request)
	reply.Authoritative = true
	name := strings.ToLower(request.Question[0].Name)
	switch {
	case request.Opcode == dns.OpcodeUpdate:
		n.update(request, w.TsigStatus() == nil && request.IsTsig() != nil, reply)
		reply.SetTsig("acme.", dns.HmacSHA256, 300, int64(request.IsTsig().TimeSigned))
	case !dns.IsSubDomain("corp.example.", name):
		reply.Rcode = dns.RcodeNameError
	default:
		n.look(name, request.Question[0].Qtype, reply)
	}
	_ = w.WriteMsg(reply) // the asker is gone: nothing to do
}

func (n *names) look(name string, kind uint16, reply *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	header := dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 1}
	soa := &dns.SOA{Hdr: dns.RR_Header{Name: "corp.example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 1}, Ns: "ns.corp.example.", Mbox: "dns.corp.example.", Minttl: 1}
	switch {
	case kind == dns.TypeA && name == "ca.corp.example.":
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.ParseIP(caAddress)})
	case kind == dns.TypeA && name != "ns.corp.example.":
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.ParseIP(appAddress)})
	case kind == dns.TypeA:
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
	case kind == dns.TypeTXT && len(n.txt[name]) > 0:
		for _, value := range n.txt[name] {
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
		}
	case kind == dns.TypeSOA && name == "corp.example.":
		reply.Answer = append(reply.Answer, soa)
	case kind == dns.TypeNS && name == "corp.example.":
		reply.Answer = append(reply.Answer, &dns.NS{Hdr: header, Ns: soa.Ns})
	default:
		reply.Ns = append(reply.Ns, soa)
	}
}

// update adds TXT records and removes them.
func (n *names) update(request *dns.Msg, signed bool, reply *dns.Msg) {
	if !signed {
		reply.Rcode = dns.RcodeNotAuth
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, record := range request.Ns {
		name := strings.ToLower(record.Header().Name)
		if txt, ok := record.(*dns.TXT); ok && record.Header().Class == dns.ClassINET {
			n.txt[name] = append(n.txt[name], strings.Join(txt.Txt, ""))
		} else {
			delete(n.txt, name)
		}
	}
}

// reap waits for processes whose parents have ended.
func reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for range children {
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
