package revocation

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const ocspType = "application/ocsp-response"

// ServeHTTP answers OCSP requests by GET and POST (RFC 6960 appendix A,
// RFC 5019 §5) below OCSPPath. It wants the path as it was received: a router
// that tidies up slashes would tear requests apart.
func (r *Responder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var der []byte
	switch request.Method {
	case http.MethodGet, http.MethodHead:
		der = decodePath(request.URL.EscapedPath())
	case http.MethodPost:
		body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxRequest))
		if err != nil {
			body = nil // which is no request either
		}
		der = body
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "OCSP is asked by GET or POST", http.StatusMethodNotAllowed)
		return
	}
	answer := r.respond(request.Context(), der)
	if answer.cacheable && request.Method != http.MethodPost {
		answer.Serve(w, request, r.deps.Now())
		return
	}
	w.Header().Set("Content-Type", ocspType)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(answer.DER) // the client is gone, then
}

// decodePath reads the request out of a path: base64 that is escaped for URLs,
// or should be. Clients add slashes in front, or leave out the padding. It
// returns nil when there is none.
func decodePath(escaped string) []byte {
	text, err := url.PathUnescape(strings.TrimLeft(strings.TrimPrefix(escaped, OCSPPath), "/"))
	if err != nil || len(text) > base64.StdEncoding.EncodedLen(maxRequest) {
		return nil
	}
	der, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil
	}
	return der
}
