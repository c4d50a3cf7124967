package wire

import (
	"crypto"
	"errors"
	"io"
	"sync"
)

// Store is a place where keys are. Errors that are not *Error are told as
// Unavailable. Check and Sign are called after Open has succeeded, by any
// number of goroutines; Open is called by one, and again when it failed.
type Store interface {
	Open(key string, secret []byte) (publicKey []byte, err error)
	Check() error
	Sign(hash crypto.Hash, digest []byte) (signature []byte, err error)
}

// maxConcurrent bounds the requests under way; more wait in the pipe.
const maxConcurrent = 64

// Serve answers requests from in until it ends, and then waits for those under
// way. It is the whole of a helper but for its Store.
func Serve(in io.Reader, out io.Writer, store Store) error {
	s := &server{store: store, out: out}
	places := make(chan struct{}, maxConcurrent)
	var work sync.WaitGroup
	defer work.Wait()
	for {
		var request Request
		if err := Read(in, &request); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if request.Method == Open { // before all that depends on it
			s.answer(request)
			continue
		}
		places <- struct{}{}
		work.Go(func() {
			s.answer(request)
			<-places
		})
	}
}

type server struct {
	store Store

	mu  sync.Mutex
	out io.Writer // guarded by mu
}

// answer serves one request. When the answer can't be written, nobody waits
// for it.
func (s *server) answer(request Request) {
	response, err := s.serve(request)
	response.ID = request.ID
	if err != nil {
		told, ok := errors.AsType[*Error](err)
		if !ok {
			told = Errorf(Unavailable, "%v", err)
		}
		response.Error = told
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = Write(s.out, response)
}

func (s *server) serve(request Request) (response Response, err error) {
	switch request.Method {
	case Open:
		if request.Version < 1 {
			return response, Errorf(Refused, "version %d of the protocol is not spoken here", request.Version)
		}
		response.Version = min(request.Version, Version)
		response.PublicKey, err = s.store.Open(request.Key, request.Secret)
	case Check:
		err = s.store.Check()
	case Sign:
		var hash crypto.Hash
		if hash, err = ParseHash(request.Hash); err == nil {
			response.Signature, err = s.store.Sign(hash, request.Digest)
		}
	default:
		err = Errorf(Refused, "there is no method %.40q", request.Method)
	}
	return response, err
}

// ParseHash is the hash of that name; "" is 0.
func ParseHash(name string) (crypto.Hash, error) {
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if name == hash.String() {
			return hash, nil
		}
	}
	if name == "" {
		return 0, nil
	}
	return 0, Errorf(Refused, "there is no hash %.40q; write SHA-256, SHA-384 or SHA-512", name)
}

// HashName is the name of a hash in requests.
func HashName(hash crypto.Hash) string {
	if hash == 0 {
		return ""
	}
	return hash.String()
}
