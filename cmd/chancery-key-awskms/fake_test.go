package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"chancery/internal/cloudkms"
	"chancery/internal/keys"
)

const (
	testRegion = "eu-central-1"
	testARN    = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	testID     = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// fakeKMS is AWS KMS with one key, strict about what it is sent.
type fakeKMS struct {
	*httptest.Server
	signer crypto.Signer

	mu     sync.Mutex
	ids    []string // access keys that are good; guarded by mu, as all below
	faults []fault  // of the next requests
	state  string
	usage  string
	asked  []string // the operations
}

// fault is an answer in place of the right one.
type fault struct {
	status int
	kind   string // as __type
	header string // as X-Amzn-ErrorType
	body   string // in place of both
}

func newFakeKMS(t *testing.T, typ string) *fakeKMS {
	t.Helper()
	signer, err := keys.Generate(rand.Reader, typ)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeKMS{signer: signer, ids: []string{testID}, state: "Enabled", usage: "SIGN_VERIFY"}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeKMS) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeKMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	target := r.Header.Get("X-Amz-Target")
	f.asked = append(f.asked, target)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if len(f.faults) > 0 {
		next := f.faults[0]
		f.faults = f.faults[1:]
		refuse(w, next)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		refuse(w, fault{status: 404, kind: "UnknownOperationException"})
		return
	}
	err := fmt.Errorf("the credentials are none of %v", f.ids)
	for _, id := range f.ids {
		if err = verifySignature(r, body, id, testSecret, testRegion, time.Now()); err == nil {
			break
		}
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "UnrecognizedClientException", "message": err.Error()})
		return
	}
	answer, problem := f.answer(target, body)
	if problem != "" {
		refuse(w, fault{status: 400, kind: problem})
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func refuse(w http.ResponseWriter, f fault) {
	if f.header != "" {
		w.Header().Set("X-Amzn-ErrorType", f.header)
	}
	w.WriteHeader(f.status)
	if f.body == "" && f.kind != "" {
		f.body = `{"__type":"` + f.kind + `","message":"because"}`
	}
	_, _ = io.WriteString(w, f.body)
}

// answer is what an operation gives, or the kind of error.
func (f *fakeKMS) answer(target string, body []byte) (answer map[string]any, problem string) {
	var in struct {
		KeyID            *string `json:"KeyId"`
		Message          []byte
		MessageType      *string
		SigningAlgorithm *string
	}
	if err := json.Unmarshal(body, &in); err != nil || in.KeyID == nil {
		return nil, "SerializationException"
	}
	if *in.KeyID != testARN && *in.KeyID != "alias/issuing" {
		return nil, "NotFoundException"
	}
	switch target {
	case "TrentService.DescribeKey":
		return map[string]any{"KeyMetadata": map[string]any{"KeyId": testARN, "KeyState": f.state, "CreationDate": 1.7e9}}, ""
	case "TrentService.GetPublicKey":
		der, _ := x509.MarshalPKIXPublicKey(f.signer.Public())
		_, algorithms := f.algorithm()
		return map[string]any{"KeyId": testARN, "PublicKey": der, "KeyUsage": f.usage, "SigningAlgorithms": algorithms}, ""
	case "TrentService.Sign":
	default:
		return nil, "UnknownOperationException"
	}
	hash, algorithms := f.algorithm()
	switch {
	case f.state != "Enabled":
		return nil, "com.amazonaws.kms#DisabledException"
	case in.MessageType == nil || *in.MessageType != "DIGEST" || len(in.Message) != hash.Size() || in.SigningAlgorithm == nil || *in.SigningAlgorithm != algorithms[0]:
		return nil, "ValidationException"
	}
	signature, err := f.signer.Sign(rand.Reader, in.Message, hash)
	if err != nil {
		return nil, "KMSInternalException"
	}
	return map[string]any{"KeyId": testARN, "Signature": signature, "SigningAlgorithm": algorithms[0]}, ""
}

// algorithm is what the key signs, and with what; the first is expected.
func (f *fakeKMS) algorithm() (crypto.Hash, []string) {
	if public, ok := f.signer.Public().(*ecdsa.PublicKey); ok {
		switch public.Params().BitSize {
		case 256:
			return crypto.SHA256, []string{"ECDSA_SHA_256"}
		case 384:
			return crypto.SHA384, []string{"ECDSA_SHA_384"}
		}
		return crypto.SHA512, []string{"ECDSA_SHA_512"}
	}
	return crypto.SHA256, []string{"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_256"}
}

// withVariables is an environment of the variables given.
func withVariables(variables map[string]string) environment {
	return environment{get: func(name string) string { return variables[name] }, now: time.Now}
}

// open finds the key and reads its public key.
func (f *fakeKMS) open(t *testing.T, env environment) cloudkms.Key {
	t.Helper()
	k, err := findKey("awskms:alias/issuing?region="+testRegion+"&endpoint="+f.URL, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Public(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

func static() environment {
	return withVariables(map[string]string{"AWS_ACCESS_KEY_ID": testID, "AWS_SECRET_ACCESS_KEY": testSecret})
}
