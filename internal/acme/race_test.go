package acme_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// atOnce calls f several times at the same moment and returns the answers.
func atOnce(t *testing.T, f func(int) (*acmetest.Response, error)) []*acmetest.Response {
	t.Helper()
	answers := make([]*acmetest.Response, parallel)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range parallel {
		all.Go(func() {
			<-start
			resp, err := f(i)
			if resp == nil {
				t.Errorf("no answer: %v", err)
				resp = &acmetest.Response{}
			}
			answers[i] = resp
		})
	}
	close(start)
	all.Wait()
	return answers
}

// count is how many answers have a status.
func count(answers []*acmetest.Response, status int) (found int) {
	for _, answer := range answers {
		if answer.Status == status {
			found++
		}
	}
	return found
}

const (
	rounds   = 50
	parallel = 8
)

// TestNonceRace sends one nonce eight times at once: it serves once.
func TestNonceRace(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	client := ca.Client()
	for range rounds {
		header, err := client.Header(t.Context(), client.AccountURL)
		check(t, err)
		body := acmetest.Sign(client.Key, header, nil)
		answers := atOnce(t, func(int) (*acmetest.Response, error) {
			return client.Do(t.Context(), http.MethodPost, client.AccountURL, "application/jose+json", body)
		})
		if count(answers, http.StatusOK) != 1 || count(answers, http.StatusBadRequest) != parallel-1 {
			t.Fatalf("one nonce served %d times", count(answers, http.StatusOK))
		}
		for _, answer := range answers {
			if answer.Status == http.StatusBadRequest {
				refused(t, answer, http.StatusBadRequest, "badNonce", "nonce")
			}
		}
	}
}

// TestAccountRace creates one account eight times at once.
func TestAccountRace(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	for range rounds {
		client := ca.NewClient()
		answers := atOnce(t, func(int) (*acmetest.Response, error) {
			return client.PostRaw(t.Context(), client.Directory.NewAccount, []byte("{}"), nil)
		})
		if count(answers, http.StatusCreated) != 1 || count(answers, http.StatusOK) != parallel-1 {
			t.Fatalf("%d answers are 201, %d are 200", count(answers, http.StatusCreated), count(answers, http.StatusOK))
		}
		for _, answer := range answers {
			if answer.Location() != answers[0].Location() || answer.Location() == "" {
				t.Errorf("one key has accounts %s and %s", answer.Location(), answers[0].Location())
			}
		}
	}
}

// TestFinalizeRace finalizes one order eight times at once, with eight
// keys.
func TestFinalizeRace(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	client := ca.Client()
	names := acmetest.DNS("finalize.example.test")
	payloads := make([]members, parallel)
	for i := range payloads {
		payloads[i] = request(t, newKey(t), names)
	}
	for round := range rounds {
		made := readyOrder(t, ca, client, names, nil)
		answers := atOnce(t, func(i int) (*acmetest.Response, error) {
			return client.PostRaw(t.Context(), made.Finalize, encode(t, payloads[i]), nil)
		})
		if count(answers, http.StatusOK) != 1 {
			t.Fatalf("%d finalize requests succeeded", count(answers, http.StatusOK))
		}
		for _, answer := range answers {
			if answer.Status != http.StatusOK {
				refused(t, answer, http.StatusForbidden, "orderNotReady", "")
			} else if body := succeeded(t, answer, http.StatusOK); body["status"] != "valid" {
				t.Errorf("the order is %v", body)
			}
		}
		if stored := certificates(t, ca, names[0].Value); stored != round+1 {
			t.Fatalf("after %d orders there are %d certificates", round+1, stored)
		}
	}
}

// TestOneAccount issues 1,000 certificates by 64 goroutines of one account.
func TestOneAccount(t *testing.T) {
	t.Parallel()
	const workers, total = 64, 1000
	ca := servertest.Start(t)
	client := ca.Client()
	var next, failed atomic.Int64
	var all sync.WaitGroup
	serials := make([]string, total)
	for range workers {
		all.Go(func() {
			key := newKey(t)
			for i := next.Add(1) - 1; i < total && failed.Load() == 0; i = next.Add(1) - 1 {
				serial, err := oneOfMany(t.Context(), ca, client, key, fmt.Sprintf("n%d.example.test", i))
				if err != nil {
					failed.Add(1)
					t.Errorf("certificate %d: %v", i, err)
				}
				serials[i] = serial
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, serial := range serials {
		seen[serial] = true
	}
	if len(seen) != total {
		t.Errorf("there are %d serials", len(seen))
	}
}

// oneOfMany issues a certificate and returns its serial.
func oneOfMany(ctx context.Context, ca *servertest.CA, client *acmetest.Client, key crypto.Signer, name string) (string, error) {
	chain, err := client.Issue(ctx, acmetest.DNS(name), key, "http-01", ca.Web.HTTP01)
	if err != nil {
		return "", err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return "", err
	}
	return leaf.SerialNumber.String(), leaf.VerifyHostname(name)
}
