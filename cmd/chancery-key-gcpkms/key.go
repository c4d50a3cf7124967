package main

import (
	"context"
	"crypto"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"chancery/internal/cloudkms"
	"chancery/internal/keyhelper/wire"
)

// serviceURL is Cloud KMS.
const serviceURL = "https://cloudkms.googleapis.com"

// key is a version of an asymmetric key of Cloud KMS. It implements
// cloudkms.Key.
type key struct {
	name   string // projects/…/cryptoKeyVersions/N
	url    string
	caller *cloudkms.Caller[string]
	hash   crypto.Hash // that it signs; known after Public
}

// The name of a version of a key. Without the version it would not be one key.
var namePattern = regexp.MustCompile(`^projects/[a-z0-9.:-]+/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]+/cryptoKeys/[A-Za-z0-9_-]+/cryptoKeyVersions/[0-9]+$`)

// findKey reads a URI like gcpkms:projects/…/cryptoKeyVersions/1.
func findKey(text string, env environment) (cloudkms.Key, error) {
	uri, err := cloudkms.ParseURI(text, "gcpkms", "endpoint")
	if err != nil {
		return nil, err
	}
	if !namePattern.MatchString(uri.Path) {
		return nil, fmt.Errorf("%.200q is no version of a key; write it like projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1", uri.Path)
	}
	endpoint := serviceURL
	if own := uri.Get("endpoint"); own != "" {
		endpoint = own
	}
	base, err := cloudkms.ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	source, err := findToken(env)
	if err != nil {
		return nil, err
	}
	return &key{name: uri.Path, url: base.String() + "/v1/" + uri.Path, caller: &cloudkms.Caller[string]{
		Client:      cloudkms.NewClient(false),
		Credentials: &cloudkms.Cache[string]{Fetch: source, Now: env.now},
		Authorize: func(request *http.Request, _ []byte, token string) {
			request.Header.Set("Authorization", "Bearer "+token)
		},
	}}, nil
}

// checksum is a CRC-32C as the API writes it: numbers of 64 bits are texts.
func checksum(data []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))), 10)
}

type publicKey struct {
	Name      string
	PEM       string
	Algorithm string
	PEMCRC32C string `json:"pemCrc32c"`
}

// Public implements cloudkms.Key.
func (k *key) Public(ctx context.Context) (der []byte, err error) {
	der, k.hash, err = k.askPublic(ctx)
	return der, err
}

// Check implements cloudkms.Key: the public key of a version that can't be used
// is not given, and whoever may sign and verify may read it.
func (k *key) Check(ctx context.Context) error {
	_, _, err := k.askPublic(ctx)
	return err
}

func (k *key) askPublic(ctx context.Context) (der []byte, hash crypto.Hash, err error) {
	err = k.caller.Call(ctx, cloudkms.Request{
		Method: http.MethodGet, URL: k.url + "/publicKey",
		Accept: func(answer cloudkms.Answer) (err error) {
			der, hash, err = k.readPublic(answer)
			return err
		},
	})
	return der, hash, err
}

func (k *key) readPublic(answer cloudkms.Answer) ([]byte, crypto.Hash, error) {
	var got publicKey
	if err := accept(answer, &got); err != nil {
		return nil, 0, err
	}
	if got.Name != k.name || got.PEMCRC32C != checksum([]byte(got.PEM)) {
		return nil, 0, errDamaged
	}
	block, _ := pem.Decode([]byte(got.PEM))
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, 0, wire.Errorf(wire.Refused, "Cloud KMS gives no public key that can be read")
	}
	hash, err := hashOf(got.Algorithm)
	return block.Bytes, hash, err
}

// errDamaged is for answers that were changed on the way, which their checksums
// are for.
var errDamaged = wire.Errorf(wire.Unavailable, "the answer of Cloud KMS was damaged on its way, or is about another key")

// hashOf is the hash of what the key signs: one that the server asks for with
// such a key.
func hashOf(algorithm string) (crypto.Hash, error) {
	switch algorithm {
	case "EC_SIGN_P256_SHA256", "RSA_SIGN_PKCS1_2048_SHA256", "RSA_SIGN_PKCS1_3072_SHA256", "RSA_SIGN_PKCS1_4096_SHA256":
		return crypto.SHA256, nil
	case "EC_SIGN_P384_SHA384":
		return crypto.SHA384, nil
	}
	return 0, wire.Errorf(wire.Refused,
		"the key is for %.60q; EC_SIGN_P256_SHA256, EC_SIGN_P384_SHA384 and RSA_SIGN_PKCS1_…_SHA256 are supported", algorithm)
}

type signRequest struct {
	Digest       map[string][]byte `json:"digest"`
	DigestCRC32C string            `json:"digestCrc32c"`
}

type signed struct {
	Name                 string
	Signature            []byte
	SignatureCRC32C      string `json:"signatureCrc32c"`
	VerifiedDigestCRC32C bool   `json:"verifiedDigestCrc32c"`
}

// Sign implements cloudkms.Key.
func (k *key) Sign(ctx context.Context, hash crypto.Hash, digest []byte) (signature []byte, err error) {
	if hash != k.hash {
		return nil, wire.Errorf(wire.Refused, "the key signs %s and not %s", wire.HashName(k.hash), wire.HashName(hash))
	}
	member := strings.ToLower(strings.ReplaceAll(wire.HashName(hash), "-", ""))
	body, err := json.Marshal(signRequest{map[string][]byte{member: digest}, checksum(digest)})
	if err != nil {
		return nil, fmt.Errorf("couldn't make the request: %w", err)
	}
	err = k.caller.Call(ctx, cloudkms.Request{
		Method: http.MethodPost, URL: k.url + ":asymmetricSign", Body: body,
		Header: http.Header{"Content-Type": {"application/json"}},
		Accept: func(answer cloudkms.Answer) (err error) {
			signature, err = k.readSignature(answer)
			return err
		},
	})
	return signature, err
}

func (k *key) readSignature(answer cloudkms.Answer) ([]byte, error) {
	var got signed
	if err := accept(answer, &got); err != nil {
		return nil, err
	}
	if got.Name != k.name || !got.VerifiedDigestCRC32C || len(got.Signature) == 0 || got.SignatureCRC32C != checksum(got.Signature) {
		return nil, errDamaged
	}
	return got.Signature, nil
}

// accept reads an answer of the service.
func accept(answer cloudkms.Answer, out any) error {
	if answer.Status != http.StatusOK {
		return serviceError(answer)
	}
	if err := json.Unmarshal(answer.Body, out); err != nil {
		return wire.Errorf(wire.Unavailable, "Cloud KMS gives no answer that can be read: %v", err)
	}
	return nil
}

// serviceError is what the service answered instead of what was asked
// (google.rpc.Status in JSON).
func serviceError(answer cloudkms.Answer) error {
	var body struct {
		Error struct{ Status, Message string }
	}
	_ = json.Unmarshal(answer.Body, &body) // a proxy may have answered
	status := body.Error.Status
	if status == "" {
		status = "an error of no known form"
	}
	told := wire.Errorf(cloudkms.Code(answer.Status), "Cloud KMS answers %s (HTTP %d): %s",
		cloudkms.Say(status), answer.Status, cloudkms.Say(body.Error.Message))
	switch status {
	case "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNKNOWN":
		told.Code = wire.Unavailable
	case "UNAUTHENTICATED":
		return cloudkms.Stale(told)
	}
	return told
}
