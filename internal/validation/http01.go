package validation

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"chancery/internal/failure"
)

const (
	maxRedirects = 10
	maxBody      = 16 << 10
	maxResponse  = 64 << 10 // status line, headers, framing and body together
	maxInterim   = 5        // 1xx responses before the real one
	maxURL       = 2000     // bytes of a redirect's target

	userAgent = "Chancery (ACME validation)"
)

// http01 fetches the key authorization over plain HTTP (RFC 8555 §8.3).
func (a *attempt) http01(ctx context.Context) *failure.Error {
	host, port := hostInURL(a.name()), a.config.HTTPPort
	target := &url.URL{Scheme: "http", Host: host, Path: "/.well-known/acme-challenge/" + a.Token}
	if port != 80 {
		target.Host += ":" + strconv.Itoa(port) // so that a relative redirect stays on it
	}
	for hop := 0; ; hop++ {
		next, err := a.fetch(ctx, target, host, port)
		if err != nil || next == nil {
			return err
		}
		if hop == maxRedirects {
			return failure.New(failure.IncorrectResponse, "%s redirected more than %d times; serve the challenge file without so many redirects",
				a.name(), maxRedirects)
		}
		if port, err = a.redirectPort(next); err != nil {
			return err
		}
		target, host = next, next.Host
	}
}

// fetch asks for one URL, with host in the Host header, and judges the answer.
// A redirect is returned; nil without an error means that the body was the key
// authorization.
func (a *attempt) fetch(ctx context.Context, target *url.URL, host string, port int) (next *url.URL, _ *failure.Error) {
	err := a.overAddresses(ctx, bare(target.Hostname()), port, func(ctx context.Context, tcp *net.TCPConn, place string) (err *failure.Error) {
		_ = tcp.SetLinger(0) // after the response nothing is owed to the peer, and no port waits in TIME-WAIT
		conn := net.Conn(tcp)
		if target.Scheme == "https" {
			if conn, err = a.wrapTLS(ctx, tcp, target, place); err != nil {
				return err
			}
		}
		next, err = a.exchangeHTTP(conn, target, host, place)
		return err
	})
	return next, err
}

// wrapTLS speaks TLS to the target of a redirect to https. The certificate is
// not verified: it may be the very one that is being renewed, and what proves
// control is the key authorization, fetched from where plain HTTP pointed to.
func (a *attempt) wrapTLS(ctx context.Context, conn net.Conn, target *url.URL, place string) (net.Conn, *failure.Error) {
	secure := tls.Client(conn, &tls.Config{
		ServerName:         bare(target.Hostname()),
		InsecureSkipVerify: true, //nolint:gosec // see above
		NextProtos:         []string{"http/1.1"},
		CurvePreferences:   plainCurves(),
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, a.handshakeFailed(place, err)
	}
	a.log.add(handshakeStep(place, secure.ConnectionState()))
	return secure, nil
}

func (a *attempt) exchangeHTTP(conn net.Conn, target *url.URL, host, place string) (*url.URL, *failure.Error) {
	step := Step{Action: "request", Server: conn.RemoteAddr().String(), URL: target.String(), Outcome: "ok"}
	defer func() { a.log.add(step) }()
	if _, err := io.WriteString(conn, requestText(target, host)); err != nil {
		step.Outcome = reason(err)
		return nil, noResponse(place, err)
	}
	limited := &io.LimitedReader{R: conn, N: maxResponse}
	response, err := readResponse(bufio.NewReader(limited)) //nolint:bodyclose // the body is the connection, which the caller closes
	if err != nil {
		failed := noResponse(place, err)
		if limited.N <= 0 {
			failed = failure.New(failure.IncorrectResponse, "the header of the response from %s is longer than %d bytes", place, maxResponse)
		}
		step.Outcome = failed.Public
		return nil, failed
	}
	step.Status = response.StatusCode
	if isRedirect(response.StatusCode) {
		next, failed := redirectTarget(target, response)
		step.Action, step.Found = "redirect", clip(response.Header.Get("Location"), maxText)
		step.Outcome = outcome(failed)
		return next, failed
	}
	if response.StatusCode != http.StatusOK {
		step.Outcome = "not the status expected, 200"
		return nil, failure.New(failure.Unauthorized, "%s answered %s with status %d; expected 200 with the key authorization. "+
			"Check that this web server serves what the ACME client writes.", place, clip(target.String(), maxText), response.StatusCode)
	}
	failed := a.judgeBody(&step, response, target, place)
	return nil, failed
}

// requestText is the request by hand: a whole HTTP client costs several times
// as much for one GET on one connection.
func requestText(target *url.URL, host string) string {
	return "GET " + target.RequestURI() + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: " + userAgent + "\r\nAccept: */*\r\nConnection: close\r\n\r\n"
}

// readResponse reads the header of the final response. The body stays in the
// reader.
func readResponse(r *bufio.Reader) (*http.Response, error) {
	for range maxInterim {
		response, err := http.ReadResponse(r, nil)
		if err != nil || response.StatusCode/100 != 1 {
			return response, err
		}
	}
	return nil, errors.New("too many interim responses")
}

// noResponse classifies an error of reading the response. Errors about its
// content may quote it, and so go no further than this.
func noResponse(place string, err error) *failure.Error {
	if broken(err) {
		return failure.New(failure.Connection, "%s was connected to but sent no whole HTTP response: %s. "+
			"Check that the port speaks plain HTTP.", place, reason(err)).Because(err)
	}
	return failure.New(failure.IncorrectResponse, "%s answered with something else than an HTTP response; check that the port speaks plain HTTP", place)
}

func (a *attempt) judgeBody(step *Step, response *http.Response, target *url.URL, place string) *failure.Error {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	step.Length = len(body)
	if err != nil {
		failed := noResponse(place, err)
		step.Outcome = failed.Public
		return failed
	}
	found := a.difference(body, response.Header.Get("Content-Encoding"))
	if found == "" {
		return nil
	}
	step.Expected, step.Found, step.Outcome = "the key authorization "+a.keyAuthorization(), found, "not the key authorization"
	return failure.New(failure.Unauthorized, "%s answered %s with 200, but %s; expected the key authorization %s",
		place, clip(target.String(), maxText), found, clip(a.keyAuthorization(), maxText))
}

// difference says how body differs from the key authorization, without
// showing any of it; "" when it doesn't but for white space at the end.
func (a *attempt) difference(body []byte, encoding string) string {
	size := len(body)
	body = bytes.TrimRight(body, " \t\r\n\v\f")
	expected := []byte(a.keyAuthorization())
	switch {
	case bytes.Equal(body, expected):
		return ""
	case size > maxBody:
		return fmt.Sprintf("the body is longer than %d bytes", maxBody)
	case len(body) == 0:
		return "the body is empty"
	case encoding != "" && encoding != "identity":
		return "the body is encoded (Content-Encoding), which was not asked for"
	case bytes.Equal(body, []byte(a.Token)):
		return "the body is the token alone, without the account key's thumbprint"
	case bytes.HasPrefix(body, []byte("\xff\xfe")), bytes.HasPrefix(body, []byte("\xfe\xff")):
		return "the body is UTF-16 text; write the file as ASCII"
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		return "the body begins with a byte order mark; write the file as ASCII"
	case bytes.HasPrefix(body, expected):
		return fmt.Sprintf("the body has %d bytes after the key authorization", len(body)-len(expected))
	case bytes.HasPrefix(body, []byte(a.Token+".")):
		return "the body is the key authorization of another account"
	case bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("<")):
		return fmt.Sprintf("the body is %d bytes and looks like an HTML page", size)
	default:
		return fmt.Sprintf("the body is %d bytes and does not begin with the token", size)
	}
}

func isRedirect(status int) bool {
	return slices.Contains([]int{301, 302, 303, 307, 308}, status)
}

// redirectTarget is where a response points to. Its scheme and host are
// checked here, its port by redirectPort, its addresses by the fence.
func redirectTarget(from *url.URL, response *http.Response) (*url.URL, *failure.Error) {
	location := response.Header.Get("Location")
	refuse := func(why string) (*url.URL, *failure.Error) {
		return nil, failure.New(failure.IncorrectResponse, "%s redirects to %.200q, which is not followed: %s",
			clip(from.String(), maxText), clip(location, maxText), why)
	}
	if len(location) > maxURL {
		return refuse("it is too long")
	}
	ref, err := url.Parse(location)
	if err != nil || location == "" {
		return refuse("it is no URL")
	}
	next := from.ResolveReference(ref)
	switch {
	case next.Scheme != "http" && next.Scheme != "https":
		return refuse("only http and https are")
	case next.User != nil:
		return refuse("it carries a user name")
	case !isHost(next.Hostname()):
		return refuse("its host is neither a name nor an address")
	}
	next.Fragment, next.RawFragment = "", ""
	return next, nil
}

// redirectPort is the port to connect to for a redirect's target: 80, 443 or
// the one configured (RFC 8555 §10.4 asks to keep away from others).
func (a *attempt) redirectPort(target *url.URL) (int, *failure.Error) {
	port := 80
	if target.Scheme == "https" {
		port = 443
	}
	if text := target.Port(); text != "" {
		port, _ = strconv.Atoi(text)
	}
	if port != 80 && port != 443 && port != a.config.HTTPPort {
		return 0, failure.New(failure.IncorrectResponse, "%s redirects to port %d; only ports 80, 443 and %d are followed",
			a.name(), port, a.config.HTTPPort)
	}
	return port, nil
}

// isHost accepts addresses without a zone, and names of letters, digits,
// hyphens and underscores.
func isHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Zone() == ""
	}
	return host != "" && len(host) <= 254 && isMadeOf(host, "-_.")
}

// hostInURL is a name or address as it stands in a URL.
func hostInURL(name string) string {
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

func outcome(err *failure.Error) string {
	if err != nil {
		return err.Public
	}
	return "ok"
}
