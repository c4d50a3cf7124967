package admin

import (
	"context"
	"log/slog"
	"net"
	"net/http"
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

// who names the operator in the audit trail.
func who(r *http.Request) slog.Attr {
	peer, ok := r.Context().Value(peerKey{}).(string)
	if !ok {
		peer = "operator"
	}
	return slog.String("requester", peer)
}
