// Package renewal decides when a certificate is renewed, and keeps at it: it
// reads the windows that servers suggest (RFC 9773), picks a moment inside
// them, so that those who were issued together do not come back together, and
// tries again with growing pauses when a renewal fails. It promises to renew
// neither before the window nor, while the server answers, after it. It gets no
// certificates and keeps no files itself.
package renewal

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// MaxInfo is the size in octets that no renewal information exceeds.
const MaxInfo = 64 << 10

// Window is when a server wants a certificate to be renewed.
type Window struct {
	Start, End  time.Time
	RetryAfter  time.Duration // when to ask again; 0 when the server does not say
	Explanation string        // the URL of a page for people, or ""
}

// Default is the window of a certificate about which the server says nothing:
// one percent of its lifetime to either side of two thirds of it.
func Default(c *x509.Certificate) Window {
	lifetime := c.NotAfter.Sub(c.NotBefore)
	middle, half := c.NotBefore.Add(lifetime*2/3), lifetime/100
	return Window{Start: middle.Add(-half), End: middle.Add(half)}
}

// Parse reads renewal information (RFC 9773 §4.2) and the Retry-After that came
// with it.
func Parse(header http.Header, body io.Reader, now time.Time) (Window, error) {
	var info struct {
		Window struct {
			Start time.Time `json:"start"`
			End   time.Time `json:"end"`
		} `json:"suggestedWindow"`
		Explanation string `json:"explanationURL"`
	}
	if err := json.NewDecoder(io.LimitReader(body, MaxInfo)).Decode(&info); err != nil {
		return Window{}, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	window := Window{info.Window.Start, info.Window.End, RetryAfter(header, now), info.Explanation}
	if window.Start.IsZero() || !window.End.After(window.Start) {
		return Window{}, errors.New("the server's window is no interval")
	}
	return window, nil
}

// RetryAfter reads the header of that name, in seconds or as a date (RFC 9110
// §10.2.3); 0 when there is none that can be read.
func RetryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	const most = 1 << 31 // seconds; more would overflow
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), most)) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}

// CertID names a certificate as RFC 9773 §4.1 does. It is "" for a certificate
// without an authority key identifier, which has no such name.
func CertID(c *x509.Certificate) string {
	if len(c.AuthorityKeyId) == 0 {
		return ""
	}
	var number cryptobyte.Builder
	number.AddASN1BigInt(c.SerialNumber)
	der, err := number.Bytes()
	if err != nil {
		return ""
	}
	const header = 2 // tag and length: serial numbers are short
	encode := base64.RawURLEncoding.EncodeToString
	return encode(c.AuthorityKeyId) + "." + encode(der[header:])
}

// pick chooses a moment of the window, all equally likely (RFC 9773 §4.2).
func (w Window) pick(rand io.Reader) time.Time {
	return w.Start.Add(time.Duration(fraction(rand) * float64(w.End.Sub(w.Start))))
}

// fraction is a random number from 0 to 1; ½ when there is no randomness, for
// then some moment is better than none.
func fraction(rand io.Reader) float64 {
	var octets [8]byte
	if _, err := io.ReadFull(rand, octets[:]); err != nil {
		return 0.5
	}
	return float64(binary.BigEndian.Uint64(octets[:])) / (1 << 64)
}
