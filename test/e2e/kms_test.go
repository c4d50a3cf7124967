package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// fakeCloud is the key service of a cloud with one P-256 key. What is sent to
// it is judged in the helpers' own tests; here it only has to be there, or not.
type fakeCloud struct {
	*httptest.Server
	key   *ecdsa.PrivateKey
	away  atomic.Bool // connections are cut
	signs atomic.Int64
}

func newFakeCloud(t *testing.T, serve func(*fakeCloud) http.HandlerFunc) *fakeCloud {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &fakeCloud{key: key}
	handler := serve(c)
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.away.Load() {
			panic(http.ErrAbortHandler)
		}
		handler(w, r)
	}))
	c.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew && c.away.Load() {
			_ = conn.Close()
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

func (c *fakeCloud) public() []byte {
	der, _ := x509.MarshalPKIXPublicKey(&c.key.PublicKey)
	return der
}

func (c *fakeCloud) sign(digest []byte) []byte {
	c.signs.Add(1)
	signature, _ := ecdsa.SignASN1(rand.Reader, c.key, digest)
	return signature
}

const awsKey = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

func serveAWS(c *fakeCloud) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Message []byte }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer := map[string]any{"KeyId": awsKey}
		switch r.Header.Get("X-Amz-Target") {
		case "TrentService.GetPublicKey":
			answer["PublicKey"], answer["KeyUsage"], answer["SigningAlgorithms"] = c.public(), "SIGN_VERIFY", []string{"ECDSA_SHA_256"}
		case "TrentService.DescribeKey":
			answer["KeyMetadata"] = map[string]any{"KeyState": "Enabled"}
		case "TrentService.Sign":
			answer["Signature"] = c.sign(in.Message)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
}

const gcpKey = "projects/corp-ca/locations/europe-west3/keyRings/ca/cryptoKeys/issuing/cryptoKeyVersions/1"

func serveGCP(c *fakeCloud) http.HandlerFunc {
	sum := func(data []byte) string {
		return fmt.Sprint(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	}
	return func(w http.ResponseWriter, r *http.Request) {
		answer := map[string]any{"name": gcpKey}
		switch {
		case strings.HasSuffix(r.URL.Path, "/token"):
			w.Header().Set("Metadata-Flavor", "Google")
			answer = map[string]any{"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}
		case r.Header.Get("Authorization") != "Bearer a-token":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/publicKey"):
			text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: c.public()})
			answer["pem"], answer["pemCrc32c"], answer["algorithm"] = string(text), sum(text), "EC_SIGN_P256_SHA256"
		default:
			var in struct{ Digest struct{ SHA256 []byte } }
			_ = json.NewDecoder(r.Body).Decode(&in)
			signature := c.sign(in.Digest.SHA256)
			answer["signature"], answer["signatureCrc32c"], answer["verifiedDigestCrc32c"] = signature, sum(signature), true
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// TestCloudKMS runs CAs whose intermediate's key is in the key service of a
// cloud, which goes away and returns.
func TestCloudKMS(t *testing.T) {
	for _, test := range []struct {
		program string
		serve   func(*fakeCloud) http.HandlerFunc
		uri     string
		env     func(c *fakeCloud) []string
	}{
		{"chancery-key-awskms", serveAWS, "awskms:" + awsKey, func(*fakeCloud) []string {
			return []string{"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=a-secret"}
		}},
		{"chancery-key-gcpkms", serveGCP, "gcpkms:" + gcpKey, func(c *fakeCloud) []string {
			return []string{"GCE_METADATA_HOST=" + c.Listener.Addr().String()}
		}},
	} {
		t.Run(test.program, func(t *testing.T) {
			buildHelper(t, test.program)
			cloud, s := newFakeCloud(t, test.serve), newSite(t)
			for _, variable := range test.env(cloud) {
				name, value, _ := strings.Cut(variable, "=")
				t.Setenv(name, value)
			}
			s.chancery(t, "init", "--dir", s.dir)
			s.chancery(t, "issuer", "rotate", "--key", test.uri+"?endpoint="+cloud.URL, "--dir", s.dir)
			s.serve(t, "serve", "validation.allow=127.0.0.0/8")
			signed := cloud.signs.Load()
			chain := connectAcmez(t, s, nil).obtain(t, order{"http-01", []string{"cloud." + zoneName}})
			if !strings.HasSuffix(string(chain), string(read(t, filepath.Join(s.dir, "issuers", "default", "0002", "certificate.pem")))) {
				t.Errorf("the certificate is not signed by the cloud's key:\n%s", chain)
			}
			if cloud.signs.Load() == signed {
				t.Error("the cloud has signed nothing")
			}
			keyGoesAndReturns(t, s, func() { cloud.away.Store(true) }, func() { cloud.away.Store(false) })
			if log := s.server.log.String(); strings.Contains(log, "a-secret") || strings.Contains(log, "a-token") {
				t.Error("a secret is in the log")
			}
		})
	}
}

// buildHelper puts a helper beside the program under test.
func buildHelper(t *testing.T, program string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(filepath.Dir(chancery), program), "./cmd/"+program)
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("couldn't build %s: %v\n%s", program, err, output)
	}
}
