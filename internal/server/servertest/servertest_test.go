package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"chancery/internal/acme/acmetest"
)

func TestIssueAndRestart(t *testing.T) {
	ca := Start(t)
	client := ca.Client()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"www.example.test", "ftp.example.test"} {
		chain, err := client.Issue(t.Context(), acmetest.DNS(name), key, "http-01", ca.Web.HTTP01)
		if err != nil {
			t.Fatal(err)
		}
		if leaf, err := x509.ParseCertificate(chain[0]); err != nil || leaf.VerifyHostname(name) != nil {
			t.Errorf("the certificate is not for %s: %v", name, err)
		}
		ca.Restart()
		client.ForgetNonces()
	}
	ca.Stop()
	if _, err := ca.Store().Account(t.Context(), client.AccountURL[len(ca.BaseURL+"/acme/account/"):]); err != nil {
		t.Errorf("the account is gone: %v", err)
	}
}
