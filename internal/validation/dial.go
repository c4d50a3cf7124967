package validation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"chancery/internal/failure"
)

// useFunc makes use of a connection to place and says how that failed. The
// connection is closed after it.
type useFunc func(ctx context.Context, conn *net.TCPConn, place string) *failure.Error

// overAddresses tries use on a connection to each address of host in turn,
// until one gives another outcome than a failed connection. The time left is
// shared out evenly, so that an address which swallows packets leaves some for
// the next. Addresses that the fence denies are passed over; when that leaves
// none, the attempt has failed for good.
func (a *attempt) overAddresses(ctx context.Context, host string, port int, use useFunc) *failure.Error {
	addrs, err := a.resolver.addresses(ctx, a.log, host)
	if err != nil {
		return err
	}
	var targets []netip.AddrPort
	var denial string
	for _, addr := range addrs {
		target := netip.AddrPortFrom(addr, uint16(port))
		if reason := a.fence.check(target); reason != "" {
			denial = reason
			a.log.add(Step{Action: "connect", Name: host, Server: target.String(), Outcome: reason})
			continue
		}
		targets = append(targets, target)
	}
	if len(targets) == 0 {
		return a.finally(failure.New(failure.Connection, "%s may not be connected to: %s.", host, denial))
	}
	var failed *failure.Error
	for i, target := range targets {
		failed = a.overAddress(ctx, host, target, len(targets)-i, use)
		if failed == nil || failed.Kind != failure.Connection || ctx.Err() != nil {
			return failed
		}
	}
	return failed
}

// overAddress connects to target, which has passed the fence, and takes at
// most 1/parts of the time left.
func (a *attempt) overAddress(ctx context.Context, host string, target netip.AddrPort, parts int, use useFunc) *failure.Error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(parts))
		defer cancel()
	}
	place := describe(host, target)
	dialer := net.Dialer{KeepAlive: -1}
	conn, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, target)
	if err != nil {
		a.log.add(Step{Action: "connect", Name: host, Server: target.String(), Outcome: reason(err)})
		return failure.New(failure.Connection,
			"no connection to %s: %s. Check that the server runs, listens on this port and can be reached from the CA.", place, reason(err)).Because(err)
	}
	defer conn.Close()
	a.log.add(Step{Action: "connect", Name: host, Server: target.String(), Outcome: "ok"})
	defer closeWith(ctx, conn)()
	return use(ctx, conn, place)
}

// describe names a target by its host, address and port.
func describe(host string, target netip.AddrPort) string {
	if host == target.Addr().String() {
		return target.String()
	}
	return fmt.Sprintf("%s at %s", host, target)
}

// reason is what went wrong on the network, in words that don't depend on the
// platform and don't repeat the address.
func reason(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		return "the attempt was cancelled"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to the host"
	case errors.Is(err, syscall.ENETUNREACH):
		return "network unreachable"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return clip(strings.TrimPrefix(err.Error(), "tls: "), maxText)
}

// broken reports whether err is the network's rather than the content's.
func broken(err error) bool {
	_, isOp := errors.AsType[*net.OpError](err)
	return isOp || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
