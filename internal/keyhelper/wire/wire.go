// Package wire is the protocol between the server and a program that holds a
// key for it: what is written to the helper's standard input and read from its
// standard output. docs/key-helpers.md describes it for those who write one in
// another language. It starts no program and knows no kind of key store.
//
// A message is its length in octets, four octets with the highest first, and
// then a JSON object of that length. Each request has an id; its answer has the
// same one, and answers may come in any order.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version is the version of the protocol that this package speaks.
const Version = 1

// MaxMessage is the length in octets that no message exceeds.
const MaxMessage = 64 << 10

// The methods of requests.
const (
	Open  = "open"  // the first request, which names the key; the answer has Version and PublicKey
	Check = "check" // whether the key could be used now; signs nothing
	Sign  = "sign"  // the answer has Signature
)

// Request is what the server asks.
type Request struct {
	ID     uint64 `json:"id"`
	Method string `json:"method"`

	Version int    `json:"version,omitempty"` // of Open: the highest that the server speaks
	Key     string `json:"key,omitempty"`     // of Open: the key's URI
	Secret  []byte `json:"secret,omitempty"`  // of Open: what opens the key store, such as a PIN

	Hash   string `json:"hash,omitempty"`   // of Sign: as crypto.Hash names it, such as "SHA-256"; "" when Digest is the message itself
	Digest []byte `json:"digest,omitempty"` // of Sign
}

// Response is what the helper answers: Error, or what the method gives.
type Response struct {
	ID    uint64 `json:"id"`
	Error *Error `json:"error,omitempty"`

	Version   int    `json:"version,omitempty"`    // that is spoken from now on
	PublicKey []byte `json:"public_key,omitempty"` // DER SubjectPublicKeyInfo
	Signature []byte `json:"signature,omitempty"`  // DER Ecdsa-Sig-Value; for RSA, PKCS #1 v1.5
}

// The codes of errors.
const (
	// Unavailable is passing: the token is not there, the service does not
	// answer. The server asks again by and by.
	Unavailable = "unavailable"
	// Refused will not change by itself: a wrong PIN, no such key. The server
	// asks again too, but more slowly.
	Refused = "refused"
)

// Error is why a helper could not do something.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"` // for the operator; without secrets
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an error of a code.
func Errorf(code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// Read reads one message. The error is io.EOF when the other side ended
// between two messages.
func Read(r io.Reader, message any) error {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(header[:])
	if length == 0 || length > MaxMessage {
		return fmt.Errorf("couldn't read message: its length is %d; allowed are 1 to %d", length, MaxMessage)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("couldn't read message: %w", err)
	}
	if err := json.Unmarshal(body, message); err != nil {
		return fmt.Errorf("couldn't read message: %w", err)
	}
	return nil
}

// Write writes one message, in one call to w.
func Write(w io.Writer, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("couldn't write message: %w", err)
	}
	if len(body) > MaxMessage {
		return fmt.Errorf("couldn't write message: it has %d octets; at most %d are allowed", len(body), MaxMessage)
	}
	framed := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	if _, err := w.Write(append(framed, body...)); err != nil {
		return fmt.Errorf("couldn't write message: %w", err)
	}
	return nil
}
