package servertest_test

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/admin"
	"chancery/internal/processtest"
	"chancery/internal/server/servertest"
)

// races is how often each race is run.
const races = 200

// TestNodesRace has three nodes, each a process, asked for the same at once: what
// must happen once happens once.
func TestNodesRace(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	nodes := servertest.StartCluster(t, theServer(t).Database(t), 3, provisioners(t, key, []string{"anybody"}), "limits.new_orders=4/1h")
	program, err := processtest.Build(t.TempDir(), ".")
	check(t, err)
	for _, node := range nodes {
		node.ServeApart(program)
	}
	operator := admin.Dial(filepath.Join(nodes[0].Dir, "admin.sock"))
	t.Cleanup(func() { _ = operator.Close() })
	c := &clients{nodes: nodes}
	for i, node := range nodes {
		c.of = append(c.of, node.NewClient())
		c.of[i].Key = newKey(t)
	}
	t.Run("nonces", func(t *testing.T) { t.Parallel(); c.raceNonces(t) })
	t.Run("tokens", func(t *testing.T) { t.Parallel(); c.raceTokens(t, key) })
	t.Run("finalize", func(t *testing.T) { t.Parallel(); c.raceFinalize(t, operator) })
	t.Run("accounts", func(t *testing.T) { t.Parallel(); c.raceAccounts(t) })
	t.Run("bindings", func(t *testing.T) { t.Parallel(); c.raceBindings(t, operator) })
	t.Run("limits", func(t *testing.T) { t.Parallel(); c.raceLimits(t) })
}

// clients are a client of each node.
type clients struct {
	nodes []*servertest.CA
	of    []*acmetest.Client // without an account
}

// each calls f for every node at the same moment and counts those that say yes.
func (c *clients) each(f func(node int) bool) int {
	var yes atomic.Int64
	var asking sync.WaitGroup
	for i := range c.nodes {
		asking.Go(func() {
			if f(i) {
				yes.Add(1)
			}
		})
	}
	asking.Wait()
	return int(yes.Load())
}

// post posts what a key signs to a node, as an account or with the key in it.
func (c *clients) post(t *testing.T, node int, key *ecdsa.PrivateKey, account, url string, payload any) (status int, problem string) {
	t.Helper()
	header, err := c.of[node].Header(t.Context(), url)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	delete(header, "jwk")
	if header["kid"] = account; account == "" {
		delete(header, "kid")
		header["jwk"] = acmetest.JWK(key.Public())
	}
	return c.send(t, node, url, key, header, payload)
}

func (c *clients) send(t *testing.T, node int, url string, key *ecdsa.PrivateKey, header map[string]any, payload any) (status int, problem string) {
	t.Helper()
	body, err := json.Marshal(payload)
	if err == nil {
		var answer *acmetest.Response
		answer, err = c.of[node].Do(t.Context(), http.MethodPost, url, "application/jose+json", acmetest.Sign(key, header, body))
		if err == nil {
			if found := answer.Problem(); found != nil {
				problem = strings.TrimPrefix(found.Type, "urn:ietf:params:acme:error:")
			}
			return answer.Status, problem
		}
	}
	t.Error(err)
	return 0, ""
}

func (c *clients) raceNonces(t *testing.T) {
	client := c.nodes[0].Client()
	for range races {
		header, err := client.Header(t.Context(), client.AccountURL)
		check(t, err)
		accepted := c.each(func(node int) bool {
			status, problem := c.send(t, node, client.AccountURL, client.Key.(*ecdsa.PrivateKey), header, struct{}{})
			if status != http.StatusOK && problem != "badNonce" {
				t.Errorf("%d %s", status, problem)
			}
			return status == http.StatusOK
		})
		if accepted != 1 {
			t.Fatalf("%d nodes took one nonce", accepted)
		}
	}
}

func (c *clients) raceTokens(t *testing.T, key *ecdsa.PrivateKey) {
	for round := range races {
		token := newToken(t, key, servertest.ClusterURL, "anybody", []string{fmt.Sprintf("token-%d.example.test", round)})
		given := c.each(func(node int) bool {
			ok, reason := present(t, c.nodes[node], token, "")
			if !ok && !strings.Contains(reason, "used") {
				t.Errorf("refused: %s", reason)
			}
			return ok
		})
		if given != 1 {
			t.Fatalf("one token gave %d certificates", given)
		}
	}
}

// raceFinalize has orders that are ready at once, for the account's grant stands
// for the names.
func (c *clients) raceFinalize(t *testing.T, operator *admin.Client) {
	var client *acmetest.Client
	for round := range races {
		if round%4 == 0 { // as many orders as an account may have
			all := []string{"**.race.test"}
			client = granted(t, c.nodes[0], operator, fmt.Sprint("racer", round), admin.Grant{Allow: all, Preauthorize: all})
		}
		names := acmetest.DNS(fmt.Sprintf("a%d.race.test", round))
		order, err := client.NewOrder(t.Context(), names, nil)
		check(t, err)
		csr, err := acmetest.CSR(newKey(t), names)
		check(t, err)
		finalized := c.each(func(node int) bool {
			status, problem := c.post(t, node, client.Key.(*ecdsa.PrivateKey), client.AccountURL, order.Finalize, map[string]string{"csr": acmetest.Encode(csr)})
			if status != http.StatusOK && problem != "orderNotReady" {
				t.Errorf("%d %s", status, problem)
			}
			return status == http.StatusOK
		})
		if finalized != 1 {
			t.Fatalf("one order was finalized %d times", finalized)
		}
	}
}

func (c *clients) raceAccounts(t *testing.T) {
	for range races {
		key := newKey(t)
		created := c.each(func(node int) bool {
			status, problem := c.post(t, node, key, "", c.of[node].Directory.NewAccount, struct{}{})
			if status != http.StatusCreated && status != http.StatusOK {
				t.Errorf("%d %s", status, problem)
			}
			return status == http.StatusCreated
		})
		if created != 1 {
			t.Fatalf("one key has %d accounts", created)
		}
	}
}

func (c *clients) raceBindings(t *testing.T, operator *admin.Client) {
	for range races {
		binding, err := operator.CreateBinding(t.Context(), admin.NewBinding{SingleUse: true})
		check(t, err)
		secret, err := base64.RawURLEncoding.DecodeString(binding.HMAC)
		check(t, err)
		created := c.each(func(node int) bool {
			key, url := newKey(t), c.of[node].Directory.NewAccount
			bound := acmetest.MAC(secret, map[string]any{"alg": "HS256", "kid": binding.KID, "url": url}, acmetest.JWK(key.Public()))
			status, problem := c.post(t, node, key, "", url, map[string]any{"externalAccountBinding": json.RawMessage(bound)})
			if status != http.StatusCreated && problem != "unauthorized" {
				t.Errorf("%d %s", status, problem)
			}
			return status == http.StatusCreated
		})
		if created != 1 {
			t.Fatalf("a key for one account made %d", created)
		}
	}
}

// raceLimits has each account ask for two orders more than it may have.
func (c *clients) raceLimits(t *testing.T) {
	for round := range races {
		client := c.nodes[round%len(c.nodes)].Client()
		taken := 0
		for try := range 2 {
			taken += c.each(func(node int) bool {
				status, problem := c.post(t, node, client.Key.(*ecdsa.PrivateKey), client.AccountURL, c.of[node].Directory.NewOrder,
					map[string]any{"identifiers": acmetest.DNS(fmt.Sprintf("n%d-%d.limit.test", try, node))})
				if status != http.StatusCreated && problem != "rateLimited" {
					t.Errorf("%d %s", status, problem)
				}
				return status == http.StatusCreated
			})
		}
		if taken != 4 {
			t.Fatalf("of 6 orders %d were taken, and the limit is 4", taken)
		}
	}
}
