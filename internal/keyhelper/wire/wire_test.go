package wire

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

// fakeStore answers without a key.
type fakeStore struct{ secret string }

func (f *fakeStore) Open(key string, secret []byte) ([]byte, error) {
	if string(secret) != f.secret {
		return nil, Errorf(Refused, "the PIN of %s is wrong", key)
	}
	return []byte("public"), nil
}
func (f *fakeStore) Check() error { return errors.New("the token is away") }
func (f *fakeStore) Sign(hash crypto.Hash, digest []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%d:%s", hash, digest), nil
}

func TestServe(t *testing.T) {
	requests := map[uint64]Request{
		1: {Method: Open, Version: 9, Key: "k:1", Secret: []byte("right")},
		2: {Method: Open, Version: 1, Key: "k:1", Secret: []byte("wrong")},
		3: {Method: Open},
		4: {Method: Check},
		5: {Method: Sign, Hash: "SHA-384", Digest: []byte("d")},
		6: {Method: Sign, Digest: []byte("m")},
		7: {Method: Sign, Hash: "MD5"},
		8: {Method: "export"},
	}
	want := map[uint64]Response{
		1: {Version: 1, PublicKey: []byte("public")},
		2: {Version: 1, Error: Errorf(Refused, "the PIN of k:1 is wrong")},
		3: {Error: Errorf(Refused, "version 0 of the protocol is not spoken here")},
		4: {Error: Errorf(Unavailable, "the token is away")},
		5: {Signature: fmt.Appendf(nil, "%d:d", crypto.SHA384)},
		6: {Signature: []byte("0:m")},
		7: {Error: Errorf(Refused, `there is no hash "MD5"; write SHA-256, SHA-384 or SHA-512`)},
		8: {Error: Errorf(Refused, `there is no method "export"`)},
	}
	var in, out bytes.Buffer
	for id, request := range requests {
		request.ID = id
		if err := Write(&in, request); err != nil {
			t.Fatal(err)
		}
	}
	if err := Serve(&in, &out, &fakeStore{secret: "right"}); err != nil {
		t.Fatal(err)
	}
	for range want {
		var got Response
		if err := Read(&out, &got); err != nil {
			t.Fatal(err)
		}
		expected := want[got.ID]
		expected.ID = got.ID
		if !reflect.DeepEqual(got, expected) {
			t.Errorf("answer %+v (%v), want %+v", got, got.Error, expected)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for sent, want := range map[string]string{
		"":                            "EOF",
		"\x00\x00":                    "unexpected EOF",
		"\x00\x00\x00\x00":            "its length is 0",
		"\x7f\x00\x00\x00{}":          "its length is 2130706432",
		"\x00\x01\x00\x01{}":          "its length is 65537",
		"\x00\x00\x00\x04{}":          "unexpected EOF",
		"\x00\x00\x00\x02":            "unexpected EOF",
		"\x00\x00\x00\x02[]":          "cannot unmarshal",
		"\x00\x00\x00\x02{]":          "invalid character",
		"\x00\x00\x00\x09{\"id\":-1}": "cannot unmarshal",
	} {
		var request Request
		err := Read(strings.NewReader(sent), &request)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", sent, err, want)
		}
	}
	if err := Write(io.Discard, Request{Digest: make([]byte, MaxMessage)}); err == nil {
		t.Error("too much was written")
	}
}

func FuzzRead(f *testing.F) {
	var seed bytes.Buffer
	if err := Write(&seed, Request{ID: 1, Method: Sign, Hash: "SHA-256", Digest: []byte("digest")}); err != nil {
		f.Fatal(err)
	}
	f.Add(seed.Bytes())
	f.Add([]byte("\x00\x00\x00\x02{}\x00\x00\x00\x02{}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, out := bytes.NewReader(data), new(bytes.Buffer)
		err := Serve(in, out, &fakeStore{})
		if err == nil && in.Len() > 0 {
			t.Errorf("%d octets were not read", in.Len())
		}
		for out.Len() > 0 {
			var response Response
			if err := Read(out, &response); err != nil {
				t.Fatalf("an answer can't be read: %v", err)
			}
		}
	})
}
