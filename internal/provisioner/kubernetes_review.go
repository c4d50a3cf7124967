package provisioner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"chancery/internal/expr"
)

// reviewer asks an API server about tokens (TokenReview of
// authentication.k8s.io/v1): the only way that notices a deleted pod at once.
type reviewer struct {
	source jsonSource
	server string
	turns  chan struct{} // has one for each question that is asked just now
}

// maxReviews is how many tokens an API server is asked about at a time. Anybody
// can bring some that only it can tell from good ones.
const maxReviews = 8

func newReviewer(source jsonSource, server string) *reviewer {
	return &reviewer{source, strings.TrimSuffix(server, "/"), make(chan struct{}, maxReviews)}
}

// tokenReview is what is sent and answered, as far as it matters here.
type tokenReview struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Spec       reviewSpec   `json:"spec"`
	Status     reviewStatus `json:"status,omitzero"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences"`
}

type reviewStatus struct {
	Authenticated bool `json:"authenticated"`
	User          struct {
		Username string `json:"username"`
	} `json:"user,omitzero"`
	Audiences []string `json:"audiences,omitempty"`
	Error     string   `json:"error,omitempty"`
}

const (
	reviewVersion = "authentication.k8s.io/v1"
	reviewKind    = "TokenReview"
)

// review returns nil when the server says that the token is good, for one of
// the audiences, and the subject's: API servers take other tokens, too.
func (r *reviewer) review(ctx context.Context, token string, claims expr.Claims, audiences []string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	status, err := r.ask(ctx, tokenReview{
		APIVersion: reviewVersion, Kind: reviewKind, Spec: reviewSpec{Token: token, Audiences: audiences},
	})
	if err != nil {
		return unavailable(fetchPause, "the API server that checks tokens can't be asked just now; ask again later").Because(err)
	}
	accepted := func(audience string) bool { return slices.Contains(audiences, audience) }
	switch {
	case !status.Authenticated:
		return unauthorized("the API server doesn't accept the token: it has expired, its pod is gone, or it is not made out for %s", strings.Join(audiences, " or ")).
			Because(fmt.Errorf("it says %.500q", status.Error))
	case !slices.ContainsFunc(status.Audiences, accepted):
		return unauthorized("the API server accepts the token, but not for %s", strings.Join(audiences, " or "))
	case status.User.Username != claims["sub"]:
		return unauthorized("the API server takes the token for that of %.200q; its subject is another", status.User.Username)
	}
	return nil
}

func (r *reviewer) ask(ctx context.Context, review tokenReview) (reviewStatus, error) {
	select {
	case r.turns <- struct{}{}:
	case <-ctx.Done():
		return reviewStatus{}, fmt.Errorf("couldn't ask %s: %d others are being asked about: %w", r.server, maxReviews, ctx.Err())
	}
	defer func() { <-r.turns }()
	body, err := json.Marshal(review)
	if err != nil {
		return reviewStatus{}, fmt.Errorf("couldn't write the review: %w", err)
	}
	address := r.server + "/apis/" + reviewVersion + "/tokenreviews"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return reviewStatus{}, fmt.Errorf("couldn't ask %s: %w", address, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	got, err := r.source.do(request)
	if err != nil {
		return reviewStatus{}, err
	}
	if got.status != http.StatusCreated && got.status != http.StatusOK {
		return reviewStatus{}, fmt.Errorf("couldn't ask %s: it answered %d; may the service account create tokenreviews?", address, got.status)
	}
	var answered tokenReview
	if err := json.Unmarshal(got.body, &answered); err != nil {
		return reviewStatus{}, fmt.Errorf("couldn't read the answer of %s: %w", address, err)
	}
	if answered.APIVersion != reviewVersion || answered.Kind != reviewKind {
		return reviewStatus{}, fmt.Errorf("couldn't use the answer of %s: it is a %.40q of %.40q", address, answered.Kind, answered.APIVersion)
	}
	return answered.Status, nil
}
