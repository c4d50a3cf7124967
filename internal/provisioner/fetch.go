package provisioner

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// clientTime bounds a request, with its answer.
const clientTime = 10 * time.Second

// NewClient returns what Deps.Client asks for. It follows no redirects: who
// vouches for tokens is decided by the configuration alone.
func NewClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: clientTime,
		Transport: &http.Transport{
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    clientTime,
			IdleConnTimeout:        time.Minute,
			MaxIdleConns:           4,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
