package ca_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"chancery/internal/ca"
	"chancery/internal/failure"
	"chancery/internal/store"
)

// A signer that fails, before or after it has signed, costs a serial and
// nothing else: the order goes on, and the serial is revoked.
func TestSignerFailsAndTheOrderGoesOn(t *testing.T) {
	for name, afterwards := range map[string]bool{"before signing": false, "after signing": true} {
		t.Run(name, func(t *testing.T) {
			r := newRoad(t, nil)
			r.issuer.afterwards = afterwards
			r.issuer.failures.Store(2)
			_, err := r.Issue(t.Context(), r.order(t, "a"))
			if failure.KindOf(err) != failure.Unavailable {
				t.Fatalf("%v is of kind %s, want unavailable", err, failure.KindOf(err))
			}
			if status, _ := r.statusOf(t, "a"); status != store.OrderProcessing {
				t.Fatalf("the order is %s", status)
			}
			for range 2 { // the second attempt fails too
				r.clock.Add(time.Minute.Milliseconds())
				if _, err := r.Settle(t.Context(), r.now()); err != nil {
					t.Fatal(err)
				}
			}
			status, order := r.statusOf(t, "a")
			if status != store.OrderValid {
				t.Fatalf("the order is %s: %v", status, order.Failure)
			}
			if good, abandoned := r.inventory(t); good != 1 || abandoned != 2 {
				t.Errorf("%d certificates and %d abandoned, want 1 and 2", good, abandoned)
			}
			issued, err := r.store.Certificate(t.Context(), *order.Certificate)
			if err != nil || !bytes.Equal(issued.DER, r.issuer.signed[len(r.issuer.signed)-1]) {
				t.Errorf("the order has not the last certificate: %v", err)
			}
		})
	}
}

func TestSignerNeverComesBack(t *testing.T) {
	r := newRoad(t, nil)
	r.issuer.failures.Store(1000)
	if _, err := r.Issue(t.Context(), r.order(t, "a")); err == nil {
		t.Fatal("issued without a signer")
	}
	for i := 0; ; i++ {
		status, order := r.statusOf(t, "a")
		if status == store.OrderInvalid {
			if order.Failure == nil || order.Failure.Text == "" {
				t.Error("the order does not say why it ended")
			}
			break
		}
		if i > 20 {
			t.Fatalf("the order is still %s", status)
		}
		r.clock.Add(time.Minute.Milliseconds())
		if _, err := r.Settle(t.Context(), r.now()); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := r.store.Intents(t.Context(), r.now().Add(time.Hour), 10); err != nil || len(left) != 0 {
		t.Errorf("%d intents are left: %v", len(left), err)
	}
}

// An intent whose request makes no sense any more ends its order; one of the
// CA itself is only closed.
func TestSettleEndsWhatCannotGoOn(t *testing.T) {
	r := newRoad(t, nil)
	r.issuer.failures.Store(1)
	request := r.order(t, "a")
	if _, err := r.Issue(t.Context(), request); err == nil {
		t.Fatal("issued without a signer")
	}
	r.SetProfiles(nil)
	r.issuer.failures.Store(1)
	r.clock.Add(time.Minute.Milliseconds())
	if n, err := r.Settle(t.Context(), r.now()); err != nil || n != 1 {
		t.Fatalf("settled %d: %v", n, err)
	}
	if status, order := r.statusOf(t, "a"); status != store.OrderInvalid || order.Failure.Kind != failure.BadProfile {
		t.Errorf("the order is %s: %+v", status, order.Failure)
	}
	good, abandoned := r.inventory(t)
	if good != 0 || abandoned != 1 {
		t.Errorf("%d certificates and %d abandoned", good, abandoned)
	}
}

func TestTheCAsOwnIntentsAreOnlyClosed(t *testing.T) {
	r := newRoad(t, nil)
	request := r.order(t, "a")
	request.Door, request.AccountID, request.Owner = "self", "", store.Owner{}
	r.issuer.failures.Store(1)
	if _, err := r.Issue(t.Context(), request); err == nil {
		t.Fatal("issued without a signer")
	}
	if n, err := r.Settle(t.Context(), r.now().Add(time.Hour)); err != nil || n != 1 {
		t.Fatalf("settled %d: %v", n, err)
	}
	if good, abandoned := r.inventory(t); good != 0 || abandoned != 1 {
		t.Errorf("%d certificates and %d abandoned", good, abandoned)
	}
}

// Run settles by itself, and ends when told.
func TestRunSettles(t *testing.T) {
	r := newRoad(t, nil)
	r.issuer.failures.Store(1)
	if _, err := r.Issue(t.Context(), r.order(t, "a")); err == nil {
		t.Fatal("issued without a signer")
	}
	r.clock.Add(time.Minute.Milliseconds())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for status := store.OrderStatus(""); status != store.OrderValid; status, _ = r.statusOf(t, "a") {
		if time.Now().After(deadline) {
			t.Fatalf("the order is still %s", status)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

var _ ca.Issuer = (*moodyIssuer)(nil)
