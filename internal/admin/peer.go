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

// Requester names the operator in the audit trail: who is at the other end of
// the socket, if that is known.
func Requester(ctx context.Context) slog.Attr {
	peer, ok := ctx.Value(peerKey{}).(string)
	if !ok {
		peer = "operator"
	}
	return slog.String("requester", peer)
}

func who(r *http.Request) slog.Attr { return Requester(r.Context()) }
