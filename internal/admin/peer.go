package admin

import (
	"context"
	"net"
)

type peerKey struct{}

// ConnContext remembers who is at the other end of a Unix socket, for the
// audit trail; it is meant for http.Server's field of that name.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if unix, ok := c.(*net.UnixConn); ok {
		if peer := peerOf(unix); peer != "" {
			return context.WithValue(ctx, peerKey{}, peer)
		}
	}
	return ctx
}

// peer is who is at the other end of the socket, if that is known.
func peer(ctx context.Context) string {
	if known, ok := ctx.Value(peerKey{}).(string); ok {
		return known
	}
	return "operator"
}
