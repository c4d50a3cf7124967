package token_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"chancery/internal/ca"
	"chancery/internal/failure"
	"chancery/internal/keys"
	"chancery/internal/limits"
	"chancery/internal/observe"
	"chancery/internal/profile"
	"chancery/internal/provisioner"
	"chancery/internal/store"
	"chancery/internal/token"
)

// nothing is a store and a road that have and give nothing.
type nothing struct{ asked []ca.Request }

func (*nothing) Issuers(context.Context) ([]store.Issuer, error) { return nil, nil }
func (*nothing) Certificate(context.Context, store.CertificateKey) (store.Certificate, error) {
	return store.Certificate{}, store.ErrNotFound
}
func (*nothing) ListCertificates(context.Context, store.CertificateQuery) ([]store.Certificate, error) {
	return nil, nil
}
func (*nothing) ReplacedBy(context.Context, store.CertificateKey) (store.CertificateKey, error) {
	return store.CertificateKey{}, store.ErrNotFound
}
func (*nothing) Revoke(context.Context, store.CertificateKey, store.Revocation) error {
	return store.ErrNotFound
}
func (*nothing) Profiles() map[string]*profile.Profile { return nil }

func (n *nothing) Issue(_ context.Context, request ca.Request) (store.Certificate, error) {
	n.asked = append(n.asked, request)
	return store.Certificate{}, failure.New(failure.Rejected, "no")
}

func newDoor(t testing.TB, road *nothing, s *signer) *token.Door {
	t.Helper()
	spec := provisioner.Spec{Type: "jwk", Keys: []string{s.public(t)}}
	ci, err := provisioner.Compile("ci", spec, provisioner.Deps{
		Now: time.Now, Client: provisioner.NewClient, Audiences: func() []string { return []string{"https://ca.corp"} },
	})
	check(t, err)
	return token.New(token.Deps{
		Config: token.Config{
			ExternalURL: "https://ca.corp", DefaultProfile: "tls-server",
			Provisioners: provisioner.NewSet([]*provisioner.Provisioner{ci}, nil),
		},
		Store: road, Authority: road, Limits: limits.New(limits.Config{}, time.Now), CheckKey: keys.Check,
		ClientCertificate: func(*http.Request) (store.Certificate, error) {
			return store.Certificate{}, failure.New(failure.Unauthorized, "none")
		},
		Reason: func(text string) (int, error) {
			if text == "" {
				return 0, nil
			}
			return 0, errors.New("none")
		},
		Now: time.Now, Auditor: observe.NewAuditor(nil), Annotate: func(context.Context, string, string) {},
	})
}

// FuzzSign sends anything to the route that everybody reaches.
func FuzzSign(f *testing.F) {
	s, key := newSigner(f), newKey(f)
	now := time.Now()
	good := func(names ...string) string {
		return s.token(f, claims{"iss": "ci", "aud": "https://ca.corp", "sub": "x", "jti": "1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "sans": names})
	}
	for _, request := range []token.SignRequest{
		{Token: good("a.corp"), CSR: newCSR(f, key, "a.corp")},
		{Token: good("a.corp", "email:a@corp", "uri:spiffe://corp/x", "10.0.0.1"), CSR: newCSR(f, key)},
		{Token: good("a.corp"), CSR: csrOf(f, commonName("b.corp"), key), Profile: "x", NotAfter: now},
	} {
		f.Add(text(f, request))
	}
	f.Add(`{"token":1}`)
	f.Add(`{"token":"a.b.c","csr":"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"}`)
	road := &nothing{}
	door := newDoor(f, road, s)
	f.Fuzz(func(t *testing.T, body string) {
		road.asked = nil
		recorded := httptest.NewRecorder()
		door.Handler().ServeHTTP(recorded, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://ca.corp/api/v1/sign", strings.NewReader(body)))
		var problem token.Problem
		if err := json.Unmarshal(recorded.Body.Bytes(), &problem); err != nil || !slices.Contains([]int{400, 403, 413}, recorded.Code) {
			t.Errorf("answered %d: %s", recorded.Code, recorded.Body)
		}
		for _, asked := range road.asked { // whatever is asked of the road, the token vouches for
			if asked.Door != "token" || asked.Provisioner != "ci" || asked.Owner.Kind != store.OwnerToken || len(asked.Identifiers) == 0 || len(asked.PublicKey) == 0 {
				t.Errorf("asked %+v", asked)
			}
			if _, err := json.Marshal(asked); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzRequests sends anything to the other routes.
func FuzzRequests(f *testing.F) {
	s := newSigner(f)
	der := newPKI(f).root.Raw
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	now := time.Now()
	good := s.token(f, claims{"iss": "ci", "aud": "https://ca.corp", "sub": "x", "jti": "1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "sans": "a.corp"})
	f.Add(text(f, token.RevokeRequest{Certificate: certificate, Token: good}))
	f.Add(text(f, token.RevokeRequest{Serial: "01:02", Certificate: certificate}))
	f.Add(text(f, token.RevokeRequest{Serial: "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", Token: good, Reason: "1"}))
	f.Add(text(f, token.RenewRequest{CSR: "AAAA", NotAfter: now}))
	door := newDoor(f, &nothing{}, s)
	f.Fuzz(func(t *testing.T, body string) {
		for path, statuses := range map[string][]int{
			"POST /api/v1/renew": {400, 403, 413}, "POST /api/v1/revoke": {400, 403, 404, 413}, "GET /api/v1/renewal/" + url.PathEscape(body): {400, 404, 301, 307},
		} {
			method, path, _ := strings.Cut(path, " ")
			recorded := httptest.NewRecorder()
			door.Handler().ServeHTTP(recorded, httptest.NewRequestWithContext(t.Context(), method, "https://ca.corp"+path, strings.NewReader(body)))
			if !slices.Contains(statuses, recorded.Code) {
				t.Errorf("%s %q: answered %d: %s", method, path, recorded.Code, recorded.Body)
			}
		}
	})
}
