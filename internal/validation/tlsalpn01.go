package validation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"chancery/internal/failure"
	"chancery/internal/identifier"
)

const alpnProtocol = "acme-tls/1" // RFC 8737 §6.2

var (
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidACMEIdentifier  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}    // RFC 8737 §6.1
	oidDraftIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 30, 1} // its drafts, which some clients still use
)

// tlsalpn01 looks at the certificate that the host shows to ALPN acme-tls/1
// (RFC 8737 §3), for an address under its reverse name (RFC 8738 §6).
func (a *attempt) tlsalpn01(ctx context.Context) *failure.Error {
	return a.overAddresses(ctx, a.name(), a.config.TLSPort, a.checkALPN)
}

// serverName is what the host is asked for.
func (a *attempt) serverName() string {
	if a.Identifier.Type != identifier.IP {
		return a.name()
	}
	arpa, _ := dns.ReverseAddr(a.name())
	return bare(arpa)
}

func (a *attempt) checkALPN(ctx context.Context, tcp *net.TCPConn, place string) *failure.Error {
	conn := tls.Client(tcp, &tls.Config{
		ServerName:         a.serverName(),
		NextProtos:         []string{alpnProtocol},
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // a self-signed certificate is what RFC 8737 asks for
		CurvePreferences:   plainCurves(),
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return a.handshakeFailed(place, err)
	}
	state := conn.ConnectionState()
	step := handshakeStep(place, state)
	why := a.judgeALPN(state)
	if why != "" {
		step.Expected, step.Outcome = "the certificate of the challenge", why
	}
	a.log.add(step)
	_ = conn.Close()
	if why != "" {
		return failure.New(failure.Unauthorized, "%s, asked for server name %s, shows no proof of control: %s",
			place, a.serverName(), why)
	}
	return nil
}

// plainCurves leaves out the post-quantum key exchanges: no secret is sent,
// and they would double the size of the first packet and the work.
func plainCurves() []tls.CurveID {
	return []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
}

// judgeALPN returns what is wrong with the host's side of the handshake, or "".
func (a *attempt) judgeALPN(state tls.ConnectionState) string {
	switch {
	case state.NegotiatedProtocol != alpnProtocol:
		return fmt.Sprintf("the protocol negotiated by ALPN is %q; expected %q. "+
			"Check that the ACME client, not another server, answers on this port.", clip(state.NegotiatedProtocol, 40), alpnProtocol)
	case len(state.PeerCertificates) == 0:
		return "there is no certificate"
	}
	extensions := state.PeerCertificates[0].Extensions
	if why := judgeNames(extensions, a.Identifier); why != "" {
		return why
	}
	return judgeDigest(extensions, sha256.Sum256([]byte(a.keyAuthorization())))
}

// judgeNames wants exactly one subject alternative name: the identifier.
func judgeNames(extensions []pkix.Extension, id identifier.Identifier) string {
	found, times := find(extensions, oidSubjectAltName)
	if times != 1 {
		return "the certificate has no subject alternative name extension; it must have the identifier as its only name"
	}
	names := cryptobyte.String(found.Value)
	var list, content cryptobyte.String
	var tag cbasn1.Tag
	if !names.ReadASN1(&list, cbasn1.SEQUENCE) || !names.Empty() || !list.ReadAnyASN1(&content, &tag) {
		return "the certificate's subject alternative name extension can't be read"
	}
	const dnsName, ipAddress = 2, 7 // RFC 5280 §4.2.1.6
	ok := tag == cbasn1.Tag(dnsName).ContextSpecific() && strings.EqualFold(string(content), id.Value)
	if id.Type == identifier.IP {
		ok = tag == cbasn1.Tag(ipAddress).ContextSpecific() && bytes.Equal(content, id.Addr().AsSlice())
	}
	switch {
	case !list.Empty():
		return "the certificate has more than one subject alternative name; the identifier must be the only one"
	case !ok:
		return "the certificate's subject alternative name is not " + id.String()
	}
	return ""
}

// judgeDigest wants the critical acmeIdentifier extension with the digest of
// the key authorization.
func judgeDigest(extensions []pkix.Extension, expected [sha256.Size]byte) string {
	found, times := find(extensions, oidACMEIdentifier)
	if times != 1 {
		if _, old := find(extensions, oidDraftIdentifier); old > 0 {
			return "the certificate has the acmeIdentifier extension under the number of an old draft (1.3.6.1.5.5.7.1.30.1); " +
				"update the ACME client to one that follows RFC 8737"
		}
		return "the certificate has no acmeIdentifier extension (1.3.6.1.5.5.7.1.31); " +
			"check that the ACME client, not another server, answers for this name"
	}
	value := cryptobyte.String(found.Value)
	var digest cryptobyte.String
	switch {
	case !found.Critical:
		return "the certificate's acmeIdentifier extension is not marked critical"
	case !value.ReadASN1(&digest, cbasn1.OCTET_STRING) || !value.Empty() || len(digest) != sha256.Size:
		return "the certificate's acmeIdentifier extension is not an OCTET STRING of 32 octets"
	case !bytes.Equal(digest, expected[:]):
		return "the certificate's acmeIdentifier extension holds the digest of another key authorization (an older challenge, or another account)"
	}
	return ""
}

func find(extensions []pkix.Extension, oid asn1.ObjectIdentifier) (found pkix.Extension, times int) {
	for _, extension := range extensions {
		if extension.Id.Equal(oid) {
			found, times = extension, times+1
		}
	}
	return found, times
}

// handshakeFailed tells a handshake that broke off from one that was refused.
func (a *attempt) handshakeFailed(place string, err error) *failure.Error {
	a.log.add(Step{Action: "handshake", Server: place, Outcome: reason(err)})
	op, isOp := errors.AsType[*net.OpError](err)
	refused := isOp && (op.Op == "remote error" || op.Op == "local error") // a TLS alert
	if broken(err) && !refused {
		return failure.New(failure.Connection, "%s was connected to but did not finish the TLS handshake: %s", place, reason(err)).Because(err)
	}
	return failure.New(failure.TLS, "the TLS handshake with %s failed: %s. Check that the port speaks TLS 1.2 or later, and for tls-alpn-01 the ALPN protocol %s.",
		place, reason(err), alpnProtocol).Because(err)
}

func handshakeStep(place string, state tls.ConnectionState) Step {
	step := Step{Action: "handshake", Server: place, TLS: tls.VersionName(state.Version), ALPN: state.NegotiatedProtocol, Outcome: "ok"}
	if len(state.PeerCertificates) > 0 {
		step.Answers = certificateNames(state.PeerCertificates[0])
	}
	return step
}

// certificateNames lists the names of a certificate, as many as a transcript
// shows.
func certificateNames(cert *x509.Certificate) []string {
	var names []string
	names = append(names, cert.DNSNames[:min(len(cert.DNSNames), maxAnswers+1)]...)
	for _, ip := range cert.IPAddresses[:min(len(cert.IPAddresses), maxAnswers+1)] {
		names = append(names, ip.String())
	}
	return names
}
