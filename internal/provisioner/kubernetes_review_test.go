package provisioner

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"chancery/internal/failure"
)

// Where there are keys as well, the API server sees no token that anybody could
// have written, and still has the last word.
func TestKubernetesReviewsWhatKeysSigned(t *testing.T) {
	clock, c := newTestTime(), newCluster(t)
	newAPIServer(t, c, clock)
	deps := testDeps(t, clock)
	spec := c.clusterSpec(t, deps)
	spec.Keys, spec.APIServer = []string{c.publicSet(t)}, c.URL
	p := compile(t, spec, deps)
	good := c.sign(t, c.pod(clock))
	c.add(t, "stranger", jose.ES256)
	mustRefuse(t, p, c.sign(t, c.pod(clock)), failure.Unauthorized, "is none of the keys")
	if c.requests() != 0 {
		t.Errorf("the API server was asked about a forged token, %d times", c.requests())
	}
	if _, err := p.Verify(t.Context(), good); err != nil {
		t.Error(err)
	}
	c.set(func() {
		c.reviews = func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"error":"its pod is gone"}}`))
		}
	})
	mustRefuse(t, p, good, failure.Unauthorized, "doesn't accept")
}

// Strangers can't have the CA overwhelm the API server: who comes while it is
// asked about many tokens waits, and is told to come again.
func TestKubernetesReviewsFewAtATime(t *testing.T) {
	clock, c := newTestTime(), newCluster(t)
	deps := testDeps(t, clock)
	spec := c.clusterSpec(t, deps)
	spec.APIServer = c.URL
	p := compile(t, spec, deps)
	asked, release := make(chan bool, 2*maxReviews), make(chan bool)
	c.set(func() {
		c.reviews = func(w http.ResponseWriter, _ *http.Request) {
			asked <- true
			<-release
			_, _ = w.Write([]byte(`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"error":"no"}}`))
		}
	})
	token := c.sign(t, c.pod(clock))
	var strangers sync.WaitGroup
	for range maxReviews {
		strangers.Go(func() { mustRefuse(t, p, token, failure.Unauthorized, "doesn't accept") })
	}
	for range maxReviews {
		<-asked
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.Verify(ctx, token); failure.KindOf(err) != failure.Unavailable || len(asked) != 0 {
		t.Errorf("one more: %v, %d more were asked about", err, len(asked))
	}
	close(release)
	strangers.Wait()
	mustRefuse(t, p, token, failure.Unauthorized, "doesn't accept")
}
