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
	c := &client.Client{Server: ca.BaseURL, Roots: client.Pool(ca.Root)}
	token := func() string {
		return must[string](t)(client.Token{
			Provisioner: "deploy", Server: ca.BaseURL, Names: []string{"web.example.test", "10.0.0.7"}, Root: ca.Root, Key: key,
		}.Sign())
	}

	t.Run("listings", func(t *testing.T) {
		if roots := must[[]*x509.Certificate](t)(c.FetchRoots(t.Context())); len(roots) != 1 || !roots[0].Equal(ca.Root) {
			t.Errorf("%d roots", len(roots))
		}
		if p := must[[]client.Provisioner](t)(c.Provisioners(t.Context())); len(p) != 1 || p[0].Name != "deploy" || !slices.Equal(p[0].Profiles, []string{"tls-mutual"}) {
			t.Errorf("provisioners %+v", p)
		}
		all := must[[]client.Profile](t)(c.Profiles(t.Context()))
		i := slices.IndexFunc(all, func(p client.Profile) bool { return p.Name == "tls-mutual" })
		if i < 0 || all[i].Validity != "90d" || len(all[i].Types) == 0 {
			t.Errorf("profiles %+v", all)
		}
		if root := must[*x509.Certificate](t)(client.RootByFingerprint(t.Context(), ca.BaseURL, client.Fingerprint(ca.Root))); !root.Equal(ca.Root) {
			t.Error("another root by its fingerprint")
		}
	})
	t.Run("life of a certificate", func(t *testing.T) {
		first := must[*client.Certificate](t)(c.Issue(t.Context(), client.Request{Token: token(), NotAfter: time.Now().Add(time.Hour)}))
		if left := time.Until(first.Leaf().NotAfter); first.Profile != "tls-mutual" || len(first.Chain) != 2 || left > time.Hour {
			t.Errorf("profile %s, a chain of %d, %v left", first.Profile, len(first.Chain), left)
		}
		if w := must[client.Window](t)(c.Renewal(t.Context(), first.Leaf())); !w.End.Before(first.Leaf().NotAfter) || w.RetryAfter == 0 {
			t.Errorf("the window is %+v", w)
		}
		second := must[*client.Certificate](t)(c.Renew(t.Context(), first, nil))
		if !slices.Equal(second.Leaf().DNSNames, first.Leaf().DNSNames) || len(second.Leaf().IPAddresses) != 1 {
			t.Errorf("renewed for %v, %v", second.Leaf().DNSNames, second.Leaf().IPAddresses)
		}
		if err := c.Revoke(t.Context(), client.Revocation{Certificate: first.Leaf(), Token: token(), Reason: "superseded"}); err != nil {
			t.Errorf("by a token: %v", err)
		}
		if err := c.Revoke(t.Context(), client.Revocation{Certificate: second.Leaf(), Key: second.Key}); err != nil {
			t.Errorf("by itself: %v", err)
		}
		expectProblem(t, "renewing what is revoked", "unauthorized", func() error {
			_, err := c.Renew(t.Context(), second, nil)
			return err
		})
	})
	t.Run("problems", func(t *testing.T) {
		used := token()
		must[*client.Certificate](t)(c.Issue(t.Context(), client.Request{Token: used}))
		for name, r := range map[string]client.Request{
			"tokenUsed": {Token: used}, "malformed": {Token: "x"}, "invalidProfile": {Token: token(), Profile: "tls-server"},
		} {
			expectProblem(t, name, name, func() error {
				_, err := c.Issue(t.Context(), r)
				return err
			})
		}
	})
}

func expectProblem(t *testing.T, what, name string, do func() error) {
	t.Helper()
	err := do()
	if problem, ok := errors.AsType[*client.Problem](err); !ok || problem.Name() != name || problem.Detail == "" {
		t.Errorf("%s: %v", what, err)
	}
}
