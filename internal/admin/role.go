package admin

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/observe"
)

// Role is what somebody may do with the API. Each may do all that those before
// it may.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // see everything but secrets
	Operator Role = "operator" // also revoke, handle incidents, accounts and keys for external account binding
	Admin    Role = "admin"    // also give access, reload, and take backups, which hold the CA's keys
)

// Roles lists the roles, the least first.
func Roles() []Role { return []Role{Viewer, Operator, Admin} }

// Allows reports whether who has the role may do what needs another. What is
// no role allows nothing.
func (r Role) Allows(needed Role) bool {
	has, needs := slices.Index(Roles(), r), slices.Index(Roles(), needed)
	return needs >= 0 && has >= needs
}

// parseRole refuses what is no role.
func parseRole(text string) (Role, error) {
	if !slices.Contains(Roles(), Role(text)) {
		return "", failure.New(failure.Malformed, "there is no role %.40q; use viewer, operator or admin", text)
	}
	return Role(text), nil
}

// caller is who a request comes from.
type caller struct {
	name string // for the audit trail and for messages
	role Role
}

type callerKey struct{}

func withCaller(ctx context.Context, who caller) context.Context {
	return context.WithValue(ctx, callerKey{}, who)
}

// callerOf is the zero caller, who may do nothing, when nobody has said who it is.
func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

// Requester names the operator in the audit trail.
func Requester(ctx context.Context) slog.Attr {
	return slog.String("requester", cmp.Or(callerOf(ctx).name, "operator"))
}

func who(r *http.Request) slog.Attr { return Requester(r.Context()) }

// guard lets those in whose role is enough for the route.
func (a *api) guard(one route) http.Handler {
	needed := Role(one.Role)
	path := strings.TrimPrefix(one.Path, Prefix)
	resource := "admin" + path
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observe.SetResource(r.Context(), resource)
		if asking := callerOf(r.Context()); !asking.role.Allows(needed) {
			a.Auditor.Audit(r.Context(), "admin.refused", who(r), slog.String("remote", r.RemoteAddr),
				slog.String("operation", one.Method+" "+path), slog.String("role", string(asking.role)), slog.String("needs", one.Role))
			writeError(w, r, refused(http.StatusForbidden,
				fmt.Sprintf("this needs the role %s; %s has the role %s", needed, asking.name, cmp.Or(asking.role, "none")),
				"an admin can make a token: chancery admin token create --role "+one.Role))
			return
		}
		if one.Method != http.MethodGet {
			// A change that has begun is made and audited, also when the client has gone.
			r = r.WithContext(context.WithoutCancel(r.Context()))
		}
		one.serve.ServeHTTP(w, r)
	})
}

// refused is an error with a status of HTTP of its own.
func refused(status int, text, hint string) error {
	return &Error{Text: text, Hint: hint, Status: status}
}
