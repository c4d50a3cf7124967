package servertest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/ocsp"

	"chancery/internal/acme/acmetest"
	"chancery/internal/admin"
	"chancery/internal/ca"
	"chancery/internal/identifier"
	"chancery/internal/inventory"
	"chancery/internal/provisioner"
	"chancery/internal/revocation"
	"chancery/internal/serial"
	"chancery/internal/server/servertest"
	"chancery/internal/store"
	"chancery/internal/store/postgres"
)

// soon is how long a test waits for what nodes learn of each other. They promise
// a second; the machine may be busy.
const soon = 3 * time.Second

// learns waits until a condition comes true, which must be soon.
func learns(t *testing.T, what string, within time.Duration, condition func() bool) {
	t.Helper()
	began := time.Now()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		if time.Since(began) > within {
			t.Errorf("%s: not within %s", what, within)
			return
		}
		<-ticker.C
	}
	t.Logf("%s: after %s", what, time.Since(began).Round(time.Millisecond))
}

func operatorOf(t *testing.T, node *servertest.CA) *admin.Client {
	t.Helper()
	operator := admin.Dial(filepath.Join(node.Dir, "admin.sock"))
	t.Cleanup(func() { _ = operator.Close() })
	return operator
}

// TestNodesLearn has one node change what another keeps at hand.
func TestNodesLearn(t *testing.T) {
	t.Parallel()
	database := theServer(t).Database(t)
	nodes := servertest.StartCluster(t, database, 3, "acme.renewal_poll=1s")
	for name, test := range map[string]func(*testing.T, []*servertest.CA){
		"account": learnAccount, "grant": learnGrant, "provisioner": learnProvisioner, "incident": learnIncident,
		"revocation": learnRevocation, "own certificate": learnOwnRevocation, "challenge": shareChallenge,
		"intent of a dead node": func(t *testing.T, nodes []*servertest.CA) { takeOverIntent(t, nodes, database) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, nodes)
		})
	}
}

// reads reports whether a client can read its account.
func reads(t *testing.T, client *acmetest.Client) bool {
	t.Helper()
	_, err := client.Post(t.Context(), client.AccountURL, nil)
	return err == nil
}

func learnAccount(t *testing.T, nodes []*servertest.CA) {
	client := nodes[0].Client()
	there := nodes[1].ClientOf(client)
	renewed := nodes[1].ClientOf(client)
	renewed.Key = newKey(t)
	if !reads(t, there) || reads(t, renewed) {
		t.Fatal("the other node does not know the account")
	}
	inner := acmetest.Sign(renewed.Key, map[string]any{"alg": "ES256", "jwk": acmetest.JWK(renewed.Key.Public()), "url": client.Directory.KeyChange},
		[]byte(`{"account": "`+client.AccountURL+`", "oldKey": `+string(acmetest.JWK(client.Key.Public()))+`}`))
	_, err := client.Post(t.Context(), client.Directory.KeyChange, json.RawMessage(inner))
	check(t, err)
	learns(t, "an account's new key", soon, func() bool { return reads(t, renewed) && !reads(t, there) })
	client.Key = renewed.Key
	_, err = client.Post(t.Context(), client.AccountURL, map[string]string{"status": "deactivated"})
	check(t, err)
	if _, err := renewed.NewOrder(t.Context(), acmetest.DNS("a.example.test"), nil); err == nil {
		t.Error("an account that was deactivated elsewhere has made an order")
	}
	learns(t, "an account's end", soon, func() bool { return !reads(t, renewed) })
}

func learnGrant(t *testing.T, nodes []*servertest.CA) {
	operator := operatorOf(t, nodes[0])
	grant := admin.Grant{Allow: []string{"*.grant.test"}, Preauthorize: []string{"*.grant.test"}}
	client := granted(t, nodes[0], operator, "learner", grant)
	there := nodes[1].ClientOf(client)
	order := func(names ...string) bool {
		order, err := there.NewOrder(t.Context(), acmetest.DNS(names...), nil)
		return err == nil && order.Status == "ready"
	}
	if !order("a.grant.test") || order("a.other.test") {
		t.Fatal("the grant does not hold at the other node")
	}
	var kid string
	for binding, err := range operator.Bindings(t.Context(), admin.BindingQuery{}) {
		if check(t, err); binding.Name == "learner" {
			kid = binding.KID
		}
	}
	both := []string{"*.grant.test", "*.other.test"}
	_, err := operator.UpdateBinding(t.Context(), kid, admin.BindingChange{Allow: &both, Preauthorize: &both})
	check(t, err)
	learns(t, "a grant's change", soon, func() bool { return order("a.other.test") })
	_, err = operator.RevokeBinding(t.Context(), kid)
	check(t, err)
	learns(t, "a grant's end", soon, func() bool { return !order("b.grant.test") })
}

func learnProvisioner(t *testing.T, nodes []*servertest.CA) {
	operator, key := operatorOf(t, nodes[0]), newKey(t)
	public, err := jose.JSONWebKey{Key: key.Public()}.MarshalJSON()
	check(t, err)
	_, err = operator.CreateProvisioner(t.Context(), admin.NewProvisioner{Name: "fresh", Spec: provisioner.Spec{Type: "jwk", Keys: []string{string(public)}}})
	check(t, err)
	takes := func() bool {
		ok, _ := present(t, nodes[1], newToken(t, key, servertest.ClusterURL, "fresh", []string{"a.example.test"}), "")
		return ok
	}
	learns(t, "a provisioner", soon, takes)
	_, err = operator.RemoveProvisioner(t.Context(), "fresh")
	check(t, err)
	learns(t, "a provisioner's end", soon, func() bool { return !takes() })
}

// issued is a certificate of the first node's, with its issuer.
func issued(t *testing.T, node *servertest.CA, name string) (leaf, issuer *x509.Certificate) {
	t.Helper()
	chain, err := node.Client().Issue(t.Context(), acmetest.DNS(name), newKey(t), "http-01", node.Web.HTTP01)
	check(t, err)
	leaf, err = x509.ParseCertificate(chain[0])
	check(t, err)
	issuer, err = x509.ParseCertificate(chain[1])
	check(t, err)
	return leaf, issuer
}

func learnIncident(t *testing.T, nodes []*servertest.CA) {
	leaf, _ := issued(t, nodes[0], "incident.example.test")
	operator := operatorOf(t, nodes[0])
	url := servertest.ClusterURL + "/acme/renewal-info/" + base64.RawURLEncoding.EncodeToString(leaf.AuthorityKeyId) + "." +
		base64.RawURLEncoding.EncodeToString(leaf.SerialNumber.Bytes())
	early := func() bool {
		var info struct {
			SuggestedWindow struct{ End time.Time }
		}
		answer := get(t, nodes[1], url, nil)
		check(t, json.Unmarshal(answer, &info))
		return info.SuggestedWindow.End.Before(time.Now().Add(time.Hour))
	}
	if early() {
		t.Fatal("the window is early without an incident")
	}
	opened, err := operator.OpenIncident(t.Context(), admin.NewIncident{
		Query: inventory.Query{Name: "incident.example.test"}, RenewBy: time.Now().Add(time.Minute),
	})
	check(t, err)
	learns(t, "an incident", soon, early)
	_, err = operator.CloseIncident(t.Context(), opened.ID)
	check(t, err)
	learns(t, "an incident's end", soon, func() bool { return !early() })
}

// get gets a page of a node, or posts to it.
func get(t *testing.T, node *servertest.CA, url string, body []byte) []byte {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	check(t, err)
	answer, err := node.HTTP.Do(request)
	check(t, err)
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	check(t, err)
	return read
}

func learnRevocation(t *testing.T, nodes []*servertest.CA) {
	leaf, issuer := issued(t, nodes[0], "revoked.example.test")
	question, err := ocsp.CreateRequest(leaf, issuer, nil)
	check(t, err)
	status := func() int {
		answer, err := ocsp.ParseResponseForCert(get(t, nodes[1], servertest.ClusterURL+revocation.OCSPPath, question), leaf, issuer)
		check(t, err)
		return answer.Status
	}
	listed := func() bool {
		path := strings.TrimPrefix(leaf.CRLDistributionPoints[0], "http://ca.example.test")
		list, err := x509.ParseRevocationList(get(t, nodes[1], servertest.ClusterURL+path, nil))
		check(t, err)
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
				return true
			}
		}
		return false
	}
	if status() != ocsp.Good || listed() {
		t.Fatal("it is revoked")
	}
	number, _ := serial.FromBig(leaf.SerialNumber)
	_, err = operatorOf(t, nodes[0]).RevokeCertificate(t.Context(), number.String(), "superseded")
	check(t, err)
	learns(t, "a revocation, by OCSP", soon, func() bool { return status() == ocsp.Revoked })
	learns(t, "a revocation, by its list", 2*soon, listed)
}

// learnOwnRevocation revokes at one node the certificate of another's listener.
func learnOwnRevocation(t *testing.T, nodes []*servertest.CA) {
	own := func() *x509.Certificate {
		nodes[2].HTTP.CloseIdleConnections()
		answer, err := nodes[2].HTTP.Get(servertest.ClusterURL + "/healthz")
		check(t, err)
		defer answer.Body.Close()
		return answer.TLS.PeerCertificates[0]
	}
	before := own()
	number, _ := serial.FromBig(before.SerialNumber)
	_, err := operatorOf(t, nodes[0]).RevokeCertificate(t.Context(), number.String(), "superseded")
	check(t, err)
	learns(t, "that its own certificate is revoked", soon, func() bool { return !own().Equal(before) })
}

// shareChallenge answers a challenge at two nodes at once, and looks at the
// third what came of it.
func shareChallenge(t *testing.T, nodes []*servertest.CA) {
	client := nodes[0].Client()
	here := []*acmetest.Client{client, nodes[1].ClientOf(client), nodes[2].ClientOf(client)}
	names := acmetest.DNS("shared.example.test")
	order, err := here[2].NewOrder(t.Context(), names, nil)
	check(t, err)
	authz, err := here[1].ReadAuthorization(t.Context(), order.Authorizations[0])
	check(t, err)
	challenge, err := authz.Of("http-01")
	check(t, err)
	nodes[0].Web.HTTP01(authz, challenge, client.KeyAuthorization(challenge.Token))
	var answering sync.WaitGroup
	for _, one := range here[:2] {
		answering.Go(func() {
			if _, err := one.Post(t.Context(), challenge.URL, struct{}{}); err != nil {
				t.Error(err)
			}
		})
	}
	answering.Wait()
	learns(t, "the outcome of a challenge", soon, func() bool {
		found, err := here[2].ReadOrder(t.Context(), order.URL)
		check(t, err)
		return found.Status == "ready"
	})
	csr, err := acmetest.CSR(newKey(t), names)
	check(t, err)
	done, err := here[2].Finalize(t.Context(), order, csr)
	check(t, err)
	if _, err := here[0].Download(t.Context(), done); err != nil {
		t.Error(err)
	}
}

// takeOverIntent has a node die between intent and signature: the order goes on
// at another, once the intent's time is over.
func takeOverIntent(t *testing.T, nodes []*servertest.CA, database string) {
	shared, err := postgres.Open(t.Context(), postgres.Options{URL: database, Connections: 2})
	check(t, err)
	t.Cleanup(func() { check(t, shared.Close()) })
	client, names := nodes[0].Client(), acmetest.DNS("orphan.example.test")
	order, err := client.NewOrder(t.Context(), names, nil)
	check(t, err)
	check(t, client.Prove(t.Context(), order, "http-01", nodes[0].Web.HTTP01))
	spki, err := x509.MarshalPKIXPublicKey(newKey(t).Public())
	check(t, err)
	owner := store.Owner{Kind: store.OwnerOrder, ID: path.Base(order.URL)}
	request, err := json.Marshal(ca.Request{
		Door: "acme", AccountID: path.Base(client.AccountURL), Owner: owner, PublicKey: spki, Profile: "tls-server",
		Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: names[0].Value}},
	})
	check(t, err)
	number, err := serial.New(time.Now(), rand.Reader)
	check(t, err)
	key := store.CertificateKey{IssuerID: issuerOf(t, nodes[0]), Serial: number}
	check(t, shared.BeginIssuance(t.Context(), store.Intent{
		CertificateKey: key, Owner: owner, TBS: []byte("signed or not"), Request: request, Attempt: 1,
		Created: time.Now(), Deadline: time.Now().Add(time.Second),
	}))
	there := nodes[1].ClientOf(client)
	learns(t, "that an intent is left over", 15*time.Second, func() bool {
		found, err := there.ReadOrder(t.Context(), order.URL)
		check(t, err)
		return found.Status == "valid"
	})
	abandoned, err := shared.Certificate(t.Context(), key)
	if err != nil || !abandoned.Abandoned || abandoned.Revocation == nil {
		t.Errorf("what may have been signed is not revoked: %+v, %v", abandoned, err)
	}
}
