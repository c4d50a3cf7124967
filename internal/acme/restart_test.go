package acme_test

import (
	"net/http"
	"testing"
	"time"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
)

// TestRestart stops and starts the server in the middle of a pending order and
// of a challenge that is being processed.
func TestRestart(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "validation.attempts=100")
	client := ca.Client()
	names := acmetest.DNS("restart.example.test")
	pending := order(t, client, names, nil)
	tried := order(t, client, acmetest.DNS("tried.example.test"), nil)
	authz := authorization(t, client, tried.Authorizations[0])
	offered := challenge(t, authz, "http-01")
	if body := succeeded(t, post(t, client, offered.URL, members{}), http.StatusOK); body["status"] != "processing" {
		t.Fatalf("the challenge is %v", body)
	}
	old, err := client.Nonce(t.Context())
	check(t, err)

	ca.Restart()
	resp, err := client.PostRaw(t.Context(), client.AccountURL, nil, members{"nonce": old})
	check(t, err)
	refused(t, resp, http.StatusBadRequest, "badNonce", "nonce")
	client.ForgetNonces()
	succeeded(t, post(t, client, client.AccountURL, nil), http.StatusOK)
	if body := succeeded(t, post(t, client, offered.URL, nil), http.StatusOK); body["status"] != "processing" {
		t.Errorf("after the restart the challenge is %v", body)
	}
	ca.Web.HTTP01(authz, offered, client.KeyAuthorization(offered.Token))
	settled, err := client.Settled(t.Context(), tried.Authorizations[0])
	check(t, err)
	if settled.Status != "valid" {
		t.Errorf("the authorization is %+v", settled)
	}
	check(t, client.Prove(t.Context(), pending, "http-01", ca.Web.HTTP01))
	csr, err := acmetest.CSR(newKey(t), names)
	check(t, err)
	done, err := client.Finalize(t.Context(), pending, csr)
	check(t, err)
	ca.Restart()
	client.ForgetNonces()
	_, err = client.Download(t.Context(), done)
	check(t, err)
}

// TestStopWhileValidating stops the server while a target keeps it waiting: it
// ends at once, and the challenge goes on after the next start.
func TestStopWhileValidating(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "validation.timeout=1m", "validation.wait=50ms")
	client := ca.Client()
	made := order(t, client, acmetest.DNS("slow.example.test"), nil)
	authz := authorization(t, client, made.Authorizations[0])
	offered := challenge(t, authz, "http-01")
	asked, leave := make(chan struct{}, 10), make(chan struct{})
	ca.Web.Handle(servertest.ChallengePath(offered.Token), func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-leave:
		case <-r.Context().Done():
		}
	})
	resp := post(t, client, offered.URL, members{})
	if body := succeeded(t, resp, http.StatusOK); body["status"] != "processing" {
		t.Errorf("the challenge is %v", body)
	}
	checkRetryAfter(t, resp)
	<-asked
	began := time.Now()
	ca.Stop()
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("stopping took %v", took)
	}
	close(leave)
	stored, err := ca.Store().Authorization(t.Context(), idOf(made.Authorizations[0]))
	check(t, err)
	if stored.State != store.AuthorizationPending || stored.Method != "http-01" || len(stored.Attempts) > 0 {
		t.Errorf("after the stop the authorization is %+v", stored)
	}
}

// TestExpiryWhileProcessing has an order expire after it was finalized
// and before it was signed: it goes on.
func TestExpiryWhileProcessing(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t)
	client := ca.Client()
	names := acmetest.DNS("expiry.example.test")
	got := issue(t, ca, client, names, nil)
	kept, now := ca.Store(), time.Now()
	sample, err := kept.Order(t.Context(), idOf(got.order.URL))
	check(t, err)
	for id, finalize := range map[string]bool{"expiring-processing": true, "expiring-ready": false} {
		expiring := sample
		expiring.ID, expiring.Finalized, expiring.Certificate = id, time.Time{}, nil
		expiring.Created, expiring.Expires = now.Add(-time.Hour), now.Add(-time.Minute)
		_, _, err = kept.CreateOrder(t.Context(), expiring, nil)
		check(t, err)
		if finalize {
			key := *sample.Certificate
			key.Serial[19] ^= 1
			check(t, kept.BeginIssuance(t.Context(), store.Intent{
				CertificateKey: key, Owner: store.Owner{Kind: store.OwnerOrder, ID: id},
				TBS: []byte{1}, Request: []byte("{}"), Created: now.Add(-10 * time.Minute), Deadline: now.Add(time.Hour),
			}))
		}
	}
	base := ca.BaseURL + "/acme/order/"
	resp := post(t, client, base+"expiring-processing", nil)
	if body := succeeded(t, resp, http.StatusOK); body["status"] != "processing" {
		t.Errorf("the order being processed is %v", body)
	}
	checkRetryAfter(t, resp)
	refused(t, post(t, client, base+"expiring-processing/finalize", request(t, newKey(t), names)), http.StatusForbidden, "orderNotReady", "processing")
	if body := succeeded(t, post(t, client, base+"expiring-ready", nil), http.StatusOK); body["status"] != "invalid" || body["error"] == nil {
		t.Errorf("the expired order is %v", body)
	}
	refused(t, post(t, client, base+"expiring-ready/finalize", request(t, newKey(t), names)), http.StatusForbidden, "orderNotReady", "invalid")
}

// TestFinalizeWithoutWaiting answers "processing" when the certificate takes
// longer than the client may wait.
func TestFinalizeWithoutWaiting(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "acme.finalize_wait=1ms")
	client := ca.Client()
	names := acmetest.DNS("patience.example.test")
	for range 20 {
		made := readyOrder(t, ca, client, names, nil)
		resp := post(t, client, made.Finalize, request(t, newKey(t), names))
		if resp.Status == http.StatusServiceUnavailable { // not even accepted yet
			checkRetryAfter(t, resp)
		} else if body := succeeded(t, resp, http.StatusOK); body["status"] == "processing" {
			checkRetryAfter(t, resp)
		} else if body["status"] != "valid" {
			t.Errorf("the order is %v", body)
		}
		eventually(t, "the certificate", func() bool {
			read, err := client.ReadOrder(t.Context(), made.URL)
			check(t, err)
			return read.Status == "valid"
		})
	}
}

// TestNonceReject refuses good nonces on purpose; a client that repeats
// the request gets through.
func TestNonceReject(t *testing.T) {
	t.Parallel()
	ca := servertest.Start(t, "acme.fault.nonce_reject=0.5")
	client := ca.NewClient()
	refusals := 0
	for done := 0; done < 20; {
		resp := post(t, client, client.Directory.NewAccount, members{})
		if resp.Status == http.StatusBadRequest {
			refused(t, resp, http.StatusBadRequest, "badNonce", "on purpose")
			refusals++
			continue
		}
		done++
	}
	if refusals == 0 || refusals > 200 {
		t.Errorf("%d refusals for 20 successes", refusals)
	}
}
