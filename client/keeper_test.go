package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chancery/client"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func token(context.Context) (string, error) { return "t", nil }

func keep(t *testing.T, o client.Options) *client.Keeper {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet
	}
	k := must[*client.Keeper](t)(client.Keep(t.Context(), o))
	t.Cleanup(k.Close)
	return k
}

// A server and a client with kept certificates of a few seconds: no request is
// lost while both are renewed, on kept connections and on new ones.
func TestRenewsUnderTraffic(t *testing.T) {
	d := startDoor(t)
	d.lifetime = 5 * time.Second
	var renewed atomic.Int32
	count := func(*client.Certificate) { renewed.Add(1) }
	ca := d.client()
	serving := keep(t, client.Options{Client: ca, Token: token, Renewed: count})
	asking := keep(t, client.Options{Client: ca, Token: token, Renewed: count})

	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), TLSConfig: serving.ServerConfig(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].SerialNumber.String())
	})}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})

	serials := map[string]bool{}
	var mu sync.Mutex
	var requests atomic.Int32
	var traffic sync.WaitGroup
	for i := range 4 {
		traffic.Go(func() {
			web := &http.Client{Transport: &http.Transport{TLSClientConfig: asking.ClientConfig(), DisableKeepAlives: i%2 == 0}}
			defer web.CloseIdleConnections()
			for renewed.Load() < 8 {
				answer, err := web.Get("https://" + listener.Addr().String())
				if err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				serial, _ := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				requests.Add(1)
				mu.Lock()
				serials[string(serial)] = true
				mu.Unlock()
			}
		})
	}
	traffic.Wait()
	if len(serials) < 3 || requests.Load() < 100 {
		t.Errorf("%d certificates in %d requests", len(serials), requests.Load())
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Roots}}}
	if answer, err := stranger.Get("https://" + listener.Addr().String()); err == nil {
		_ = answer.Body.Close()
		t.Error("a client without a certificate was let in")
	}
}

func TestKeepsInFiles(t *testing.T) {
	d := startDoor(t)
	dir := filepath.Join(t.TempDir(), "tls")
	first := keep(t, client.Options{Client: d.client(), Token: token, Dir: dir})
	first.Close()
	for name, mode := range map[string]os.FileMode{"key.pem": 0o600, "cert.pem": 0o644, "chain.pem": 0o644, "fullchain.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	d.requests()
	again := keep(t, client.Options{Client: d.client(), Dir: dir})
	if !again.Certificate().Leaf().Equal(first.Certificate().Leaf()) {
		t.Error("another certificate after a restart")
	}
	if slices.Contains(d.requests(), "POST /api/v1/sign") {
		t.Error("a restart spent a token")
	}
}

func TestKeepStartsWithoutTheServer(t *testing.T) {
	d := startDoor(t)
	dir := t.TempDir()
	keep(t, client.Options{Client: d.client(), Token: token, Dir: dir}).Close()
	d.Close()
	keep(t, client.Options{Client: d.client(), Dir: dir})
}

// What cannot be renewed is issued anew.
func TestGetsAnotherWhenItCannotBeRenewed(t *testing.T) {
	for name, spoil := range map[string]func(*door, *client.Certificate) time.Duration{
		"revoked": func(d *door, c *client.Certificate) time.Duration {
			d.revoke(c.Leaf())
			return 0
		},
		"ended": func(*door, *client.Certificate) time.Duration { return 2 * time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			d := startDoor(t)
			d.lifetime = time.Minute
			got := make(chan *client.Certificate, 10)
			var ahead atomic.Int64
			var once sync.Once
			keep(t, client.Options{
				Client: d.client(), Token: token,
				Renewed: func(c *client.Certificate) {
					once.Do(func() { ahead.Store(int64(spoil(d, c))) })
					got <- c
				},
				Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
			})
			first := <-got
			if second := <-got; second.Leaf().Equal(first.Leaf()) {
				t.Error("the same again")
			}
			seen := d.requests()
			if n := len(slices.DeleteFunc(seen, func(path string) bool { return path != "POST /api/v1/sign" })); n != 2 {
				t.Errorf("%d tokens were spent", n)
			}
		})
	}
}

func TestKeepRefuses(t *testing.T) {
	d := startDoor(t)
	broken := t.TempDir()
	keep(t, client.Options{Client: d.client(), Token: token, Dir: broken}).Close()
	other := t.TempDir()
	keep(t, client.Options{Client: d.client(), Token: token, Dir: other}).Close()
	key := must[[]byte](t)(os.ReadFile(filepath.Join(other, "key.pem")))
	if err := os.WriteFile(filepath.Join(broken, "key.pem"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	noToken := errors.New("no login")
	for name, o := range map[string]client.Options{
		"no client":             {},
		"nothing to begin with": {Client: d.client(), Dir: t.TempDir()},
		"another's key":         {Client: d.client(), Dir: broken},
		"no directory":          {Client: d.client(), Dir: filepath.Join(broken, "key.pem", "x")},
		"no token": {Client: d.client(), Token: func(context.Context) (string, error) {
			return "", noToken
		}},
		"a server that is not trusted": {Client: &client.Client{Server: d.URL, Roots: x509.NewCertPool()}, Token: token},
	} {
		if k, err := client.Keep(t.Context(), o); err == nil {
			k.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
