package acme

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/policy"
	"chancery/internal/store"
	"chancery/internal/validation"
)

// authorizationBody is an authorization object (RFC 8555 §7.1.4).
type authorizationBody struct {
	Identifier identifier.Identifier     `json:"identifier"`
	Status     store.AuthorizationStatus `json:"status"`
	Expires    string                    `json:"expires"`
	Challenges []challengeBody           `json:"challenges"`
	Wildcard   bool                      `json:"wildcard,omitempty"`

	SubdomainAuthAllowed bool `json:"subdomainAuthAllowed,omitempty"` // RFC 9444
}

// challengeBody is a challenge object (RFC 8555 §8). Every one has a token,
// even where the method needs none: some clients fail without.
type challengeBody struct {
	Type      string   `json:"type"`
	URL       string   `json:"url"`
	Status    string   `json:"status"`
	Token     string   `json:"token"`
	Validated string   `json:"validated,omitempty"`
	Error     *Problem `json:"error,omitempty"`

	// Of dns-persist-01, in the spellings of draft -00 and -02.
	IssuerDomainNames    []string `json:"issuer-domain-names,omitempty"`
	IssuerDomainNamesNew []string `json:"issuerDomainNames,omitempty"`
	AccountURI           string   `json:"accounturi,omitempty"`
}

func (r *request) showAuthorization(authz *store.Authorization, now time.Time) *response {
	body := authorizationBody{
		Identifier: authz.Identifier,
		Status:     authz.Status(now),
		Expires:    rfc3339(authz.Expires),
		Wildcard:   authz.Wildcard,
		Challenges: []challengeBody{},

		SubdomainAuthAllowed: authz.Subdomains,
	}
	for _, method := range authz.Methods {
		// Of a settled authorization only the challenge that settled it is shown.
		if authz.State == store.AuthorizationPending || authz.Method == "" || authz.Method == method {
			body.Challenges = append(body.Challenges, r.showChallenge(authz, method, now))
		}
	}
	return answer(body)
}

func (r *request) challengeURL(authz *store.Authorization, method string) string {
	return r.url("challenge", authz.ID, method)
}

func (r *request) showChallenge(authz *store.Authorization, method string, now time.Time) challengeBody {
	body := challengeBody{
		Type:   method,
		URL:    r.challengeURL(authz, method),
		Status: challengeStatus(authz, method, now),
		Token:  authz.Token,
	}
	if method == string(validation.DNSPersist01) {
		body.IssuerDomainNames, body.IssuerDomainNamesNew = r.PersistIssuers, r.PersistIssuers
		body.AccountURI = r.accountURL()
	}
	if authz.Method != method {
		return body
	}
	if body.Status == "valid" {
		body.Validated = rfc3339(authz.Settled)
	}
	if body.Status == "invalid" && authz.Failure != nil {
		body.Error = problemOfReport(authz.Failure)
	}
	return body
}

// challengeStatus derives a challenge's status (RFC 8555 §7.1.6).
func challengeStatus(authz *store.Authorization, method string, now time.Time) string {
	tried := authz.Method == method
	switch {
	case tried && authz.State == store.AuthorizationInvalid:
		return "invalid"
	case tried && !authz.Settled.IsZero() && authz.Failure == nil:
		return "valid" // also when the authorization was deactivated later
	case authz.Status(now) != store.AuthorizationPending:
		return "invalid"
	case tried:
		return "processing"
	default:
		return "pending"
	}
}

// ownAuthorization returns the account's authorization of that id; those of
// others are answered as if they were not there.
func (d *Door) ownAuthorization(ctx context.Context, r *request) (*store.Authorization, error) {
	authz, err := d.deps.Store.Authorization(ctx, r.PathValue("id"))
	if err == nil && authz.AccountID != r.account.ID {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, failure.Wrap("read authorization", err)
	}
	d.annotate(ctx, "name", authz.Name().Value)
	return &authz, nil
}

// updateAuthorization reads or deactivates an authorization (RFC 8555 §7.5,
// §7.5.2).
func (d *Door) updateAuthorization(ctx context.Context, r *request) (*response, error) {
	authz, err := d.ownAuthorization(ctx, r)
	if err != nil {
		return nil, err
	}
	if !r.jws.EmptyPayload {
		var wanted struct {
			Status store.AuthorizationStatus `json:"status"`
		}
		if err := r.decode(&wanted); err != nil {
			return nil, err
		}
		if wanted.Status != store.AuthorizationDeactivated {
			return nil, newProblem(malformed, "an authorization can only be read (empty payload) or deactivated (status \"deactivated\")")
		}
		if authz, err = d.deactivateAuthorization(ctx, r, authz.ID); err != nil {
			return nil, err
		}
	}
	resp := r.showAuthorization(authz, d.deps.Now())
	if authz.State == store.AuthorizationPending && authz.Method != "" {
		resp.set("Retry-After", seconds(r.retryAfter()))
	}
	return resp, nil
}

func (d *Door) deactivateAuthorization(ctx context.Context, r *request, id string) (*store.Authorization, error) {
	stored, err := d.deps.Store.DeactivateAuthorization(ctx, id)
	if errors.Is(err, store.ErrNotPending) {
		return nil, newProblem(malformed, "the authorization has already ended")
	}
	if err != nil {
		return nil, failure.Wrap("deactivate authorization", err)
	}
	d.audit(ctx, "authorization.deactivated", r.account.ID, slog.String("authorization", id), slog.String("name", stored.Name().Value))
	return &stored, nil
}

// newAuthorization serves pre-authorization (RFC 8555 §7.4.1).
func (d *Door) newAuthorization(ctx context.Context, r *request) (*response, error) {
	var wanted struct {
		Identifier wantedIdentifier `json:"identifier"`
	}
	if err := r.decode(&wanted); err != nil {
		return nil, err
	}
	names, err := r.parseIdentifiers([]wantedIdentifier{wanted.Identifier}, 1)
	if err != nil {
		return nil, err
	}
	if names[0].IsWildcard() {
		return nil, newProblem(malformed, "wildcards cannot be authorized in advance (RFC 8555 section 7.4.1); order them").with(http.StatusForbidden)
	}
	if err := d.deps.Authority.Allows(ctx, policy.Question{Door: "acme", AccountID: r.account.ID, Identifiers: names}); err != nil {
		return nil, err
	}
	given, err := d.grantOf(ctx, r)
	if err != nil {
		return nil, err
	}
	now := d.deps.Now()
	authz, err := d.draftAuthorization(r, names[0], now, now.Add(r.OrderLifetime))
	if err != nil {
		return nil, err
	}
	switch {
	case given.stands(names[0], now):
		given.settle(&authz, r.account.Key.Thumbprint)
	case r.SubdomainAuth && wanted.Identifier.SubdomainAuthAllowed:
		forSubdomains(&authz)
	}
	if len(authz.Methods) == 0 {
		return nil, newProblem(rejectedIdentifier, "this CA offers no challenge that could prove %q (acme.challenges)", names[0].Value)
	}
	if err := d.deps.Store.CreateAuthorization(ctx, authz); err != nil {
		return nil, failure.Wrap("create authorization", err)
	}
	d.audit(ctx, "authorization.created", r.account.ID, slog.String("authorization", authz.ID), slog.String("name", names[0].Value))
	return r.showAuthorization(&authz, now).created(r.url("authz", authz.ID)), nil
}

// retryAfter is when a client should look again at something being validated.
func (r *request) retryAfter() time.Duration { return max(time.Second, r.RetryInterval/2) }
