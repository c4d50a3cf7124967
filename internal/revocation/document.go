package revocation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// Document is something signed that is good for a time, as it is served over
// HTTP. Nobody changes it.
type Document struct {
	DER        []byte
	ThisUpdate time.Time
	NextUpdate time.Time

	contentType string
	etag        string
}

func newDocument(contentType string, der []byte, thisUpdate, nextUpdate time.Time) *Document {
	// The hash, and not a number or the time, for after the restoration of a
	// backup these could come again with another content.
	sum := sha256.Sum256(der)
	return &Document{
		DER: der, ThisUpdate: thisUpdate, NextUpdate: nextUpdate,
		contentType: contentType, etag: `"` + hex.EncodeToString(sum[:16]) + `"`,
	}
}

// NewList is a revocation list to be served.
func NewList(der []byte, thisUpdate, nextUpdate time.Time) *Document {
	return newDocument("application/pkix-crl", der, thisUpdate, nextUpdate)
}

// Serve answers a GET or HEAD, also a conditional one (RFC 9110 §13). Caches
// keep the answer for a minute at most, and never beyond nextUpdate.
func (d *Document) Serve(w http.ResponseWriter, r *http.Request, now time.Time) {
	header := w.Header()
	header.Set("Content-Type", d.contentType)
	header.Set("ETag", d.etag)
	fresh := max(0, min(maxAge, d.NextUpdate.Sub(now))).Truncate(time.Second)
	header.Set("Cache-Control", fmt.Sprintf("max-age=%d, public, no-transform, must-revalidate", int(fresh.Seconds())))
	if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil && since.After(now) {
		r.Header.Del("If-Modified-Since") // from when the clock was ahead: what is there now is newer
	}
	header.Set("Expires", now.Add(fresh).UTC().Format(http.TimeFormat)) // for caches of HTTP/1.0 (RFC 5019 §6.2)
	http.ServeContent(w, r, "", d.ThisUpdate, bytes.NewReader(d.DER))
}
