package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chancery/client"
	"chancery/internal/admin"
	"chancery/internal/provisioner"
	"chancery/internal/server/servertest"
)

// Package client and the server are of one mind.
func TestAgainstTheServer(t *testing.T) {
	ca := servertest.Start(t)
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	public := must[[]byte](t)(client.MarshalPublicKey(key.Public()))
	operator := admin.Dial(filepath.Join(ca.Dir, "admin.sock"))
	defer operator.Close()
	must[admin.Provisioner](t)(operator.CreateProvisioner(t.Context(), admin.NewProvisioner{
		Name: "deploy", Spec: provisioner.Spec{Type: "jwk", Keys: []string{string(public)}, Profiles: []string{"tls-mutual"}},
	}))
	h := &house{CA: ca, Client: &client.Client{Server: ca.BaseURL, Roots: client.Pool(ca.Root)}, key: key}
	t.Run("listings", h.checkListings)
	t.Run("life of a certificate", h.checkLife)
	t.Run("problems", h.checkProblems)
}

// house is a server, a client of it, and the key of a provisioner.
type house struct {
	*servertest.CA
	*client.Client
	key *ecdsa.PrivateKey
}

func (h *house) token(t *testing.T) string {
	t.Helper()
	return must[string](t)(client.Token{
		Provisioner: "deploy", Server: h.BaseURL, Names: []string{"web.example.test", "10.0.0.7"}, Root: h.Root, Key: h.key,
	}.Sign())
}

func (h *house) checkListings(t *testing.T) {
	if roots := must[[]*x509.Certificate](t)(h.FetchRoots(t.Context())); len(roots) != 1 || !roots[0].Equal(h.Root) {
		t.Errorf("%d roots", len(roots))
	}
	if p := must[[]client.Provisioner](t)(h.Provisioners(t.Context())); len(p) != 1 || p[0].Name != "deploy" || !slices.Equal(p[0].Profiles, []string{"tls-mutual"}) {
		t.Errorf("provisioners %+v", p)
	}
	all := must[[]client.Profile](t)(h.Profiles(t.Context()))
	i := slices.IndexFunc(all, func(p client.Profile) bool { return p.Name == "tls-mutual" })
	if i < 0 || all[i].Validity != "90d" || len(all[i].Types) == 0 {
		t.Errorf("profiles %+v", all)
	}
	root := must[*x509.Certificate](t)(client.RootByFingerprint(t.Context(), h.BaseURL, client.Fingerprint(h.Root)))
	if !root.Equal(h.Root) {
		t.Error("another root by its fingerprint")
	}
}

func (h *house) checkLife(t *testing.T) {
	first := must[*client.Certificate](t)(h.Issue(t.Context(), client.Request{Token: h.token(t), NotAfter: time.Now().Add(time.Hour)}))
	if left := time.Until(first.Leaf().NotAfter); first.Profile != "tls-mutual" || len(first.Chain) != 2 || left > time.Hour {
		t.Errorf("profile %s, a chain of %d, %v left", first.Profile, len(first.Chain), left)
	}
	if w := must[client.Window](t)(h.Renewal(t.Context(), first.Leaf())); !w.End.Before(first.Leaf().NotAfter) || w.RetryAfter == 0 {
		t.Errorf("the window is %+v", w)
	}
	second := must[*client.Certificate](t)(h.Renew(t.Context(), first, nil))
	if !slices.Equal(second.Leaf().DNSNames, first.Leaf().DNSNames) || len(second.Leaf().IPAddresses) != 1 {
		t.Errorf("renewed for %v, %v", second.Leaf().DNSNames, second.Leaf().IPAddresses)
	}
	if err := h.Revoke(t.Context(), client.Revocation{Certificate: first.Leaf(), Token: h.token(t), Reason: "superseded"}); err != nil {
		t.Errorf("by a token: %v", err)
	}
	if err := h.Revoke(t.Context(), client.Revocation{Certificate: second.Leaf(), Key: second.Key}); err != nil {
		t.Errorf("by itself: %v", err)
	}
	_, err := h.Renew(t.Context(), second, nil)
	expectProblem(t, "renewing what is revoked", "unauthorized", err)
}

func (h *house) checkProblems(t *testing.T) {
	used := h.token(t)
	must[*client.Certificate](t)(h.Issue(t.Context(), client.Request{Token: used}))
	for name, r := range map[string]client.Request{
		"tokenUsed": {Token: used}, "malformed": {Token: "x"}, "invalidProfile": {Token: h.token(t), Profile: "tls-server"},
	} {
		_, err := h.Issue(t.Context(), r)
		expectProblem(t, name, name, err)
	}
}

func expectProblem(t *testing.T, what, name string, err error) {
	t.Helper()
	if problem, ok := errors.AsType[*client.Problem](err); !ok || problem.Name() != name || problem.Detail == "" {
		t.Errorf("%s: %v", what, err)
	}
}
