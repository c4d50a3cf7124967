package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"chancery/internal/cloudkms"
	"chancery/internal/keyhelper/wire"
)

// key is an asymmetric key of AWS KMS. It implements cloudkms.Key.
type key struct {
	id         string // as the URI has it, and the ARN once that is known: an alias may be moved
	endpoint   string
	caller     *cloudkms.Caller[credentials]
	rsa        bool     // known after Public
	algorithms []string // that the key can be used with; known after Public
}

var (
	regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)
	// arn:PARTITION:kms:REGION:ACCOUNT:key/ID or alias/NAME
	arnPattern = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(?:key|alias)/[A-Za-z0-9/_-]+$`)
	idPattern  = regexp.MustCompile(`^(?:alias/[A-Za-z0-9/_-]+|(?:mrk-)?[A-Fa-f0-9-]+)$`)
)

// findKey reads a URI like awskms:ARN or awskms:alias/NAME?region=REGION.
func findKey(text string, env environment) (cloudkms.Key, error) {
	uri, err := cloudkms.ParseURI(text, "awskms", "region", "endpoint")
	if err != nil {
		return nil, err
	}
	region, err := findRegion(uri, env)
	if err != nil {
		return nil, err
	}
	endpoint := "https://kms." + region + "." + domain(region)
	if own := uri.Get("endpoint"); own != "" {
		endpoint = own
	}
	base, err := cloudkms.ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	source, err := findCredentials(env, region)
	if err != nil {
		return nil, err
	}
	return &key{id: uri.Path, endpoint: base.String() + "/", caller: &cloudkms.Caller[credentials]{
		Client:      cloudkms.NewClient(false),
		Credentials: &cloudkms.Cache[credentials]{Fetch: source, Now: env.now},
		Authorize: func(request *http.Request, body []byte, c credentials) {
			authorize(request, body, c, region, "kms", env.now())
		},
	}}, nil
}

// findRegion finds where the key is: its ARN says so, or the URI, or the
// environment.
func findRegion(uri cloudkms.URI, env environment) (string, error) {
	region := uri.Get("region")
	if match := arnPattern.FindStringSubmatch(uri.Path); match != nil {
		if region != "" && region != match[1] {
			return "", fmt.Errorf("the key's ARN says %s, and region says %s", match[1], region)
		}
		region = match[1]
	} else if !idPattern.MatchString(uri.Path) {
		return "", fmt.Errorf("%.100q is no ARN, identifier or alias of a key; write it like awskms:alias/issuing?region=eu-central-1", uri.Path)
	}
	for _, variable := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if region == "" {
			region = env.get(variable)
		}
	}
	switch {
	case region == "":
		return "", errors.New("nothing says in which region the key is; add ?region=eu-central-1 to its URI, or name it by its ARN")
	case !regionPattern.MatchString(region):
		return "", fmt.Errorf("%.40q is no region like eu-central-1", region)
	}
	return region, nil
}

// domain is where the services of a region's partition are.
func domain(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// call sends an operation of the API (JSON 1.1) and reads what it gives.
func (k *key) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("couldn't make the request: %w", err)
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"TrentService." + operation}}
	return k.caller.Call(ctx, cloudkms.Request{
		Method: http.MethodPost, URL: k.endpoint, Header: header, Body: body,
		Accept: func(answer cloudkms.Answer) error { return accept(operation, answer, out) },
	})
}

// accept reads an answer of the service.
func accept(operation string, answer cloudkms.Answer, out any) error {
	if answer.Status != http.StatusOK {
		return serviceError(operation, answer)
	}
	if err := json.Unmarshal(answer.Body, out); err != nil {
		return wire.Errorf(wire.Unavailable, "AWS KMS gives no answer of %s that can be read: %v", operation, err)
	}
	return nil
}

type keyID struct {
	KeyID string `json:"KeyId"`
}

type publicKey struct {
	KeyID             string `json:"KeyId"`
	PublicKey         []byte
	KeyUsage          string
	SigningAlgorithms []string
}

// Public implements cloudkms.Key.
func (k *key) Public(ctx context.Context) ([]byte, error) {
	var got publicKey
	if err := k.call(ctx, "GetPublicKey", keyID{k.id}, &got); err != nil {
		return nil, err
	}
	if got.KeyUsage != "SIGN_VERIFY" {
		return nil, wire.Errorf(wire.Refused, "the key %s is for %s; one for SIGN_VERIFY is needed", k.id, cloudkms.Say(got.KeyUsage))
	}
	public, err := x509.ParsePKIXPublicKey(got.PublicKey)
	if err != nil {
		return nil, wire.Errorf(wire.Refused, "couldn't read the public key of %s: %v", k.id, err)
	}
	_, isEC := public.(*ecdsa.PublicKey)
	k.rsa, k.algorithms = !isEC, got.SigningAlgorithms
	if arnPattern.MatchString(got.KeyID) {
		k.id = got.KeyID
	}
	return got.PublicKey, nil
}

type described struct {
	KeyMetadata struct{ KeyState string }
}

// Check implements cloudkms.Key.
func (k *key) Check(ctx context.Context) error {
	var got described
	if err := k.call(ctx, "DescribeKey", keyID{k.id}, &got); err != nil {
		return err
	}
	switch state := got.KeyMetadata.KeyState; state {
	case "Enabled":
		return nil
	case "Creating", "Updating", "Unavailable":
		return wire.Errorf(wire.Unavailable, "the key %s is in the state %s", k.id, state)
	default:
		return wire.Errorf(wire.Refused, "the key %s is in the state %q; it must be Enabled", k.id, cloudkms.Say(state))
	}
}

type signRequest struct {
	KeyID            string `json:"KeyId"`
	Message          []byte
	MessageType      string
	SigningAlgorithm string
}

type signed struct{ Signature []byte }

// Sign implements cloudkms.Key.
func (k *key) Sign(ctx context.Context, hash crypto.Hash, digest []byte) ([]byte, error) {
	algorithm := strings.ReplaceAll(wire.HashName(hash), "-", "_")
	if k.rsa {
		algorithm = "RSASSA_PKCS1_V1_5_" + algorithm
	} else {
		algorithm = "ECDSA_" + algorithm
	}
	if !slices.Contains(k.algorithms, algorithm) {
		return nil, wire.Errorf(wire.Refused, "the key %s does not sign with %s", k.id, algorithm)
	}
	var got signed
	if err := k.call(ctx, "Sign", signRequest{k.id, digest, "DIGEST", algorithm}, &got); err != nil {
		return nil, err
	}
	if len(got.Signature) == 0 {
		return nil, wire.Errorf(wire.Unavailable, "AWS KMS gives no signature")
	}
	return got.Signature, nil
}
