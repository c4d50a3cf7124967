package acme

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
)

// NonceSource makes and spends the nonces of RFC 8555 §6.5.
type NonceSource interface {
	// New returns a fresh nonce in base64url.
	New() string

	// Spend tells whether nonce was given out by New, is not too old, and had
	// not been spent before; from then on it is. However many callers spend
	// one nonce at once, at most one is told true. An error says that this
	// could not be found out.
	Spend(ctx context.Context, nonce string) (bool, error)
}

// nonceWindow is how many of the latest nonces a MemoryNonces accepts unless
// told; it then takes 256 KiB.
const nonceWindow = 1 << 20

// nonceText is the length of a nonce: one AES block in base64url.
const nonceText = (aes.BlockSize*8 + 5) / 6

// MemoryNonces is the NonceSource of a single node. A nonce is a counter and
// eight zero octets, enciphered as one block under a key that lives and dies
// with the process: a client can neither guess one nor make one up, and none
// outlives a restart. Memory does not grow, and no call waits for another.
type MemoryNonces struct {
	block  cipher.Block
	window uint64
	issued atomic.Uint64 // the latest counter

	// spent remembers what was spent: 32 counters share a word, and all
	// counters that differ by a multiple of the whole share a bit. The upper
	// half of a word says which multiple its lower half, the bits, is about.
	// It only ever rises, so that no bit that counts is cleared.
	spent []atomic.Uint64
}

// NewMemoryNonces takes its key from rand, and accepts the latest window
// nonces: 2^20 when window is 0.
func NewMemoryNonces(rand io.Reader, window int) (*MemoryNonces, error) {
	if window <= 0 {
		window = nonceWindow
	}
	key := make([]byte, 32)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fmt.Errorf("couldn't make a key for nonces: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a key for nonces: %w", err)
	}
	// One word more than the window needs: when a word's meaning rises, all
	// it said before is about counters outside the window.
	words := (window+31)/32 + 1
	return &MemoryNonces{block: block, window: uint64(window), spent: make([]atomic.Uint64, words)}, nil
}

// New implements NonceSource.
func (m *MemoryNonces) New() string {
	var block [aes.BlockSize]byte
	binary.BigEndian.PutUint64(block[:], m.issued.Add(1))
	m.block.Encrypt(block[:], block[:])
	return jwsBase64.EncodeToString(block[:])
}

// Spend implements NonceSource. It never returns an error.
func (m *MemoryNonces) Spend(_ context.Context, nonce string) (bool, error) {
	counter, ok := m.open(nonce)
	if !ok || m.issued.Load()-counter >= m.window {
		return false, nil
	}
	return m.mark(counter), nil
}

// open returns the counter of a nonce that New has made.
func (m *MemoryNonces) open(nonce string) (counter uint64, ok bool) {
	if len(nonce) != nonceText {
		return 0, false
	}
	var block [aes.BlockSize]byte
	if n, err := jwsBase64.Decode(block[:], []byte(nonce)); err != nil || n != len(block) {
		return 0, false
	}
	m.block.Decrypt(block[:], block[:])
	return binary.BigEndian.Uint64(block[:8]), binary.BigEndian.Uint64(block[8:]) == 0
}

// mark sets the bit of counter, and tells whether it was this call that did.
func (m *MemoryNonces) mark(counter uint64) bool {
	words := uint64(len(m.spent))
	word := &m.spent[counter/32%words]
	round, bit := counter/32/words, uint64(1)<<(counter%32)
	for {
		old := word.Load()
		fresh := round<<32 | bit
		switch {
		case old>>32 > round:
			return false
		case old>>32 == round && old&bit != 0:
			return false
		case old>>32 == round:
			fresh |= old
		}
		if word.CompareAndSwap(old, fresh) {
			return true
		}
	}
}
