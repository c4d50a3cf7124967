package client

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"chancery/internal/renewal"
)

// Options say how a certificate is kept. Client and, unless Dir has a
// certificate, Token are needed.
type Options struct {
	Client *Client
	// Token gets a token for the first certificate, and for another one when the
	// current one has ended or is revoked, in which case it cannot be renewed.
	Token       func(context.Context) (string, error)
	Provisioner string                        // who vouches for the tokens; "" where they say so themselves
	Dir         string                        // where it is kept, in key.pem, cert.pem, chain.pem and fullchain.pem; "" for in memory only
	Profile     string                        // "" for the token's, or the provisioner's default
	NewKey      func() (crypto.Signer, error) // makes the key of each certificate; nil for P-256
	Peers       *x509.CertPool                // whom ServerConfig and ClientConfig trust; nil for Client.Roots or, if those are nil too, what the server says
	Renewed     func(*Certificate)            // is told of each certificate, also of the first; may be nil
	Log         *slog.Logger                  // nil for slog.Default()
	Now         func() time.Time              // nil for time.Now
	Rand        io.Reader                     // nil for crypto/rand
}

// Keeper holds a certificate and renews it. It can be used by several
// goroutines at a time.
type Keeper struct {
	Options
	current atomic.Pointer[held]
	stop    context.CancelFunc
	stopped chan struct{} // closed when the goroutine that renews has ended
}

// held is a certificate in both forms.
type held struct {
	certificate *Certificate
	tls         *tls.Certificate
}

// Keep returns a keeper that has a certificate: the one in Dir, if it has not
// ended, or a new one. It renews it until Close is called; ctx is only for the
// beginning.
func Keep(ctx context.Context, o Options) (*Keeper, error) {
	k := &Keeper{Options: o, stopped: make(chan struct{})}
	if err := k.fillIn(ctx); err != nil {
		return nil, err
	}
	if err := k.begin(ctx); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	k.stop = stop
	loop := &renewal.Loop{Subject: subject{k}, Log: k.Log, Now: k.Now, Rand: k.Rand}
	go func() {
		defer close(k.stopped)
		loop.Run(running)
	}()
	return k, nil
}

func (k *Keeper) fillIn(ctx context.Context) error {
	if k.Client == nil {
		return errors.New("couldn't keep a certificate: Options.Client is missing")
	}
	if k.Log == nil {
		k.Log = slog.Default()
	}
	if k.Now == nil {
		k.Now = time.Now
	}
	if k.Rand == nil {
		k.Rand = rand.Reader
	}
	if k.Peers == nil {
		k.Peers = k.Client.Roots
	}
	if k.Peers == nil { // the system's roots would let in too many
		roots, err := k.Client.FetchRoots(ctx)
		if err != nil {
			return err
		}
		k.Peers = Pool(roots...)
	}
	return nil
}

// begin takes the certificate that is kept, or gets the first.
func (k *Keeper) begin(ctx context.Context) error {
	kept, err := load(k.Dir)
	if err != nil {
		return err
	}
	if kept != nil && k.Now().Before(kept.Leaf().NotAfter) {
		k.set(kept)
		return nil
	}
	if k.Token == nil {
		return errors.New("couldn't keep a certificate: there is none yet that holds, and no Options.Token to get one with")
	}
	return k.issue(ctx)
}

// Close ends the renewing. The certificate can be used on.
func (k *Keeper) Close() {
	k.stop()
	<-k.stopped
	k.Client.CloseIdleConnections()
}

// Certificate is the current certificate.
func (k *Keeper) Certificate() *Certificate { return k.current.Load().certificate }

// GetCertificate is for tls.Config: a server's certificate.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return k.current.Load().tls, nil
}

// GetClientCertificate is for tls.Config: a client's certificate.
func (k *Keeper) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return k.current.Load().tls, nil
}

// ServerConfig is the configuration of a server that lets in whoever has a
// certificate for clients from this CA. Who that is, the handler sees in
// http.Request.TLS.PeerCertificates[0], and has to decide whether it is enough.
func (k *Keeper) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: k.GetCertificate,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: k.Peers,
	}
}

// ClientConfig is the configuration of a client that shows its certificate to
// servers of this CA.
func (k *Keeper) ClientConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetClientCertificate: k.GetClientCertificate, RootCAs: k.Peers}
}

func (k *Keeper) set(c *Certificate) {
	k.current.Store(&held{c, c.TLS()})
	if k.Renewed != nil {
		k.Renewed(c)
	}
}

// take stores a new certificate and uses it. One that cannot be stored is used
// all the same: the old one would end.
func (k *Keeper) take(c *Certificate) {
	if err := save(k.Dir, k.Client.Server, c); err != nil {
		k.Log.Error("couldn't store the certificate", "dir", k.Dir, "error", err)
	}
	k.set(c)
	k.Log.Info("has a certificate", "serial", c.Leaf().SerialNumber.Text(16), "not_after", c.Leaf().NotAfter.UTC().Format(time.RFC3339))
}

func (k *Keeper) newKey() (crypto.Signer, error) {
	if k.NewKey == nil {
		return nil, nil // Client makes one
	}
	return k.NewKey()
}

func (k *Keeper) issue(ctx context.Context) error {
	token, err := k.Token(ctx)
	if err != nil {
		return err
	}
	key, err := k.newKey()
	if err != nil {
		return err
	}
	c, err := k.Client.Issue(ctx, Request{Token: token, Provisioner: k.Provisioner, Key: key, Profile: k.Profile})
	if err != nil {
		return err
	}
	k.take(c)
	return nil
}

// renew renews the certificate, or gets another where it cannot be renewed.
func (k *Keeper) renew(ctx context.Context) error {
	current := k.Certificate()
	if k.Token != nil && !k.Now().Before(current.Leaf().NotAfter) {
		return k.issue(ctx)
	}
	key, err := k.newKey()
	if err != nil {
		return err
	}
	c, err := k.Client.Renew(ctx, current, key)
	if k.Token != nil && isRefused(err) {
		return k.issue(ctx)
	}
	if err != nil {
		return err
	}
	k.take(c)
	return nil
}

// isRefused reports whether the server does not renew the certificate any more.
func isRefused(err error) bool {
	problem, ok := errors.AsType[*Problem](err)
	return ok && (problem.Status == http.StatusUnauthorized || problem.Status == http.StatusForbidden)
}

// subject is a keeper as the loop sees it.
type subject struct{ *Keeper }

func (s subject) Certificate() *x509.Certificate { return s.Keeper.Certificate().Leaf() }

func (s subject) Renew(ctx context.Context) error { return s.renew(ctx) }

func (s subject) Window(ctx context.Context, c *x509.Certificate) (renewal.Window, error) {
	window, err := s.Client.Renewal(ctx, c)
	return renewal.Window(window), err
}
