package server

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/failure"
	"chancery/internal/observe"
)

// bundle is a SPIFFE trust bundle (SPIFFE Trust Domain and Bundle §4): a JWK
// set of the roots.
type bundle struct {
	Sequence    int64            `json:"spiffe_sequence"`
	RefreshHint int              `json:"spiffe_refresh_hint"` // seconds
	Keys        []map[string]any `json:"keys"`
}

// newBundle makes the bundle of roots. Its sequence grows whenever a root is
// added, for a new root begins later than those before it.
func newBundle(roots []*x509.Certificate, refresh time.Duration) (bundle, error) {
	b := bundle{RefreshHint: int(refresh.Seconds())}
	for _, root := range roots {
		key, err := bundleKey(root)
		if err != nil {
			return bundle{}, err
		}
		b.Keys = append(b.Keys, key)
		b.Sequence = max(b.Sequence, root.NotBefore.Unix())
	}
	return b, nil
}

// bundleKey is the JWK of a root: its use says what it is for, and it has no
// key identifier (X509-SVID §6.2).
func bundleKey(root *x509.Certificate) (map[string]any, error) {
	key := jose.JSONWebKey{Key: root.PublicKey, Use: "x509-svid", Certificates: []*x509.Certificate{root}}
	text, err := key.MarshalJSON()
	if err != nil {
		return nil, failure.Wrap("encode a root's key", err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, failure.Wrap("encode a root's key", err)
	}
	delete(members, "x5t#S256")
	return members, nil
}

// roots are the roots of all issuers that still sign or have signed, each once.
func (i *issuers) roots() []*x509.Certificate {
	var roots []*x509.Certificate
	seen := map[[32]byte]bool{}
	for _, known := range i.all {
		der := known.Chain[len(known.Chain)-1]
		if root, err := x509.ParseCertificate(der); err == nil && !seen[sha256.Sum256(der)] {
			seen[sha256.Sum256(der)] = true
			roots = append(roots, root)
		}
	}
	return roots
}

// serveBundle answers those who verify SPIFFE IDs.
func (s *Server) serveBundle(w http.ResponseWriter, r *http.Request) {
	settings := s.Config().SPIFFE
	if settings.TrustDomain == "" {
		writeText(w, http.StatusNotFound, "this CA has no SPIFFE trust domain; its setting is spiffe.trust_domain\n")
		return
	}
	made, err := newBundle(s.issuers.Load().roots(), settings.RefreshHint.Std())
	if err != nil {
		observe.Add(r.Context(), "error", err.Error())
		writeText(w, http.StatusInternalServerError, "the bundle could not be made\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age="+strconv.Itoa(made.RefreshHint))
	_ = json.NewEncoder(w).Encode(made) // the client is gone, then
}
