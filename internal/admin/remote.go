package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/store"
)

// Client certificates and the roles of their names.
type (
	// Named is a name whose certificates have a role.
	Named struct {
		Name identifier.Identifier
		Role Role
	}

	// Callers says who may call from elsewhere, besides those with a token.
	Callers struct {
		// Certificate returns the record of the certificate with which the
		// connection has proven itself: one that this CA has issued and that is
		// good now. When there is none, the error is a failure.Unauthorized.
		Certificate func(r *http.Request) (store.Certificate, error)
		// Clients are the names that have a role.
		Clients func() []Named
	}
)

// Remote returns the API for those who must say who they are: on the HTTPS
// listener.
func Remote(deps Deps, callers Callers) http.Handler {
	return &remote{api: newAPI(deps), callers: callers, failures: failures{counts: map[netip.Addr]int{}}}
}

type remote struct {
	*api
	callers  Callers
	failures failures
}

func (m *remote) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if crossSite(r) {
		writeError(w, r, refused(http.StatusForbidden, "this is a request of another site's page, which is not answered", ""))
		return
	}
	asking, err := m.identify(r)
	if err != nil {
		m.refuse(w, r, err)
		return
	}
	m.serve(w, r.WithContext(withCaller(r.Context(), asking)))
}

// crossSite reports whether a browser sends the request for a page that does
// not come from here. Reads are treated like writes: nothing else's pages have
// any business here.
func crossSite(r *http.Request) bool {
	asWrite := r.WithContext(r.Context())
	asWrite.Method = http.MethodPost
	return http.NewCrossOriginProtection().Check(asWrite) != nil
}

// errNobody is for requests that do not say who they come from.
var errNobody = errors.New("this needs a token, as in \"Authorization: Bearer TOKEN\", or a client certificate of this CA whose name has a role")

// identify finds out who asks. Errors that wrap errNobody or errToken are the
// caller's.
func (m *remote) identify(r *http.Request) (caller, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return caller{}, errNobody
		}
		return m.bearer(r.Context(), strings.TrimSpace(token))
	}
	certificate, err := m.callers.Certificate(r)
	if failure.KindOf(err) == failure.Unauthorized {
		return caller{}, fmt.Errorf("%w (%s)", errNobody, failure.ReportOf(err).Text)
	}
	if err != nil {
		return caller{}, failure.Wrap("look up client certificate", err)
	}
	asking := caller{name: "operator:certificate=" + certificate.Serial.String() + " (" + strings.Join(names(certificate.Identifiers), " ") + ")"}
	for _, client := range m.callers.Clients() {
		for _, name := range certificate.Identifiers {
			if name == client.Name && !asking.role.Allows(client.Role) {
				asking.role = client.Role
			}
		}
	}
	return asking, nil
}

// refuse answers those who have not said who they are. Who tries often is told
// to wait and does not fill the audit trail. A good token is let in all the
// same: its secret can't be guessed, and somebody else behind the same address
// must not lock operators out.
func (m *remote) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, errNobody) && !errors.Is(err, errToken) {
		writeError(w, r, err)
		return
	}
	from, _, splitErr := net.SplitHostPort(r.RemoteAddr)
	if splitErr != nil {
		from = r.RemoteAddr
	}
	if m.failures.tooMany(from, m.Now()) {
		w.Header().Set("Retry-After", "60")
		writeError(w, r, refused(http.StatusTooManyRequests, "too many requests from "+from+" without a good token; wait a minute", ""))
		return
	}
	m.Auditor.Audit(r.Context(), "admin.unauthenticated", slog.String("remote", from),
		slog.String("operation", r.Method+" "+strings.TrimPrefix(r.URL.Path, Prefix)), slog.String("error", err.Error()))
	w.Header().Set("WWW-Authenticate", `Bearer realm="chancery"`)
	writeError(w, r, refused(http.StatusUnauthorized, err.Error(), "\"chancery admin token create\" makes tokens, on the server's machine"))
}

const (
	failuresAllowed = 10 // from one address in failuresSpan
	failuresSpan    = time.Minute
	failuresKept    = 10_000 // addresses
)

// failures counts requests that were refused, by address.
type failures struct {
	mu     sync.Mutex
	since  time.Time          // guarded by mu; when counting began
	counts map[netip.Addr]int // guarded by mu
}

// tooMany counts one more from an address.
func (f *failures) tooMany(from string, now time.Time) bool {
	address, _ := netip.ParseAddr(from) // what is none shares one count
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.since) >= failuresSpan || len(f.counts) >= failuresKept {
		f.since = now
		clear(f.counts)
	}
	f.counts[address]++
	return f.counts[address] > failuresAllowed
}
