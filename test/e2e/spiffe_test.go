package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const trustDomain = "corp.example"

// TestSPIFFE has go-spiffe judge what a trust domain consists of: the bundle
// as it is served, X.509-SVIDs got by tokens, and mutual TLS with both.
func TestSPIFFE(t *testing.T) {
	t.Parallel()
	s := start(t, "spiffe.trust_domain="+trustDomain)
	domain := spiffeid.RequireTrustDomainFromString(trustDomain)
	bundle := s.spiffeBundle(t, domain)
	if hint, ok := bundle.RefreshHint(); !ok || hint != time.Hour {
		t.Errorf("the refresh hint is %v", hint)
	}
	if sequence, ok := bundle.SequenceNumber(); !ok || sequence == 0 {
		t.Errorf("the sequence number is %d", sequence)
	}
	key := filepath.Join(s.work, "workloads.jwk")
	s.chancery(t, "provisioner", "create", "workloads", "--type", "jwk", "--out", key, "--dir", s.dir)
	server, client := s.svid(t, key, "server", bundle), s.svid(t, key, "client", bundle)
	if got := server.ID.String(); got != "spiffe://corp.example/server" {
		t.Errorf("the SVID is of %s", got)
	}
	s.talk(t, bundle, server, client)
	for _, wrong := range []string{"uri:spiffe://other.example/a", "uri:spiffe://corp.example", "a.corp.example"} {
		token := s.svidToken(t, key, wrong)
		if _, _, err := s.try(t, nil, chancery, s.issueSVID(token, "wrong")...); err == nil {
			t.Errorf("an SVID was made of %s", wrong)
		}
	}
}

// spiffeBundle fetches the bundle as a federated trust domain does.
func (s *site) spiffeBundle(t *testing.T, domain spiffeid.TrustDomain) *spiffebundle.Bundle {
	t.Helper()
	roots, err := s.roots()
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + s.ca + ":" + httpsPort + "/spiffe/bundle"
	bundle, err := federation.FetchBundle(t.Context(), domain, url, federation.WithWebPKIRoots(roots))
	if err != nil {
		t.Fatal(err)
	}
	root, _ := pem.Decode(read(t, s.root))
	if found := bundle.X509Authorities(); len(found) != 1 || !bytes.Equal(found[0].Raw, root.Bytes) {
		t.Errorf("the bundle has %d authorities, not the root alone", len(found))
	}
	return bundle
}

func (s *site) svidToken(t *testing.T, key, san string) string {
	t.Helper()
	return strings.TrimSpace(s.chancery(t, "token", "--key", key, "--provisioner", "workloads",
		"--server", "https://"+s.ca+":"+httpsPort, "--root", s.root, "--san", san))
}

func (s *site) issueSVID(token, out string) []string {
	return []string{
		"cert", "issue", "--token", token, "--profile", "svid", "--server", "https://" + s.ca + ":" + httpsPort,
		"--root", s.root, "--out", filepath.Join(s.work, out),
	}
}

// svid gets an SVID and has go-spiffe verify it.
func (s *site) svid(t *testing.T, key, workload string, bundle x509bundle.Source) *x509svid.SVID {
	t.Helper()
	s.chancery(t, s.issueSVID(s.svidToken(t, key, "uri:spiffe://corp.example/"+workload), workload)...)
	chain := append(read(t, filepath.Join(s.work, workload, "cert.pem")), read(t, filepath.Join(s.work, workload, "chain.pem"))...)
	svid, err := x509svid.Parse(chain, read(t, filepath.Join(s.work, workload, "key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := x509svid.Verify(svid.Certificates, bundle)
	if err != nil || id != svid.ID {
		t.Fatalf("verified as %s: %v", id, err)
	}
	return svid
}

// talk lets two workloads speak over mutual TLS, each knowing the other's ID.
func (s *site) talk(t *testing.T, bundle x509bundle.Source, server, client *x509svid.SVID) {
	t.Helper()
	listener, err := tls.Listen("tcp", net.JoinHostPort(s.own, "0"),
		tlsconfig.MTLSServerConfig(server, bundle, tlsconfig.AuthorizeID(client.ID)))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	})}
	go func() { _ = web.Serve(listener) }() // ends with Shutdown below
	t.Cleanup(func() { _ = web.Shutdown(context.Background()) })
	transport := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(client, bundle, tlsconfig.AuthorizeID(server.ID))}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+listener.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "hello" {
		t.Errorf("the server said %q: %v", body, err)
	}
}
