package acme

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"sync/atomic"
	"time"

	"chancery/internal/store"
)

// NonceLifetime is how long the nonces of SharedNonces can be spent.
const NonceLifetime = time.Hour

const (
	// NonceSecret names the secret that all nodes authenticate nonces under.
	NonceSecret = "nonces"

	nonceSkew      = 5 * time.Minute // how far the clock of another node may be ahead
	nonceSpendTime = 5 * time.Second // for the store to answer
	nonceBatch     = 1024            // spent by one question at most

	nonceID         = len(store.NonceID{})
	nonceTag        = 16 // octets of HMAC-SHA256
	nonceSharedText = ((nonceID+nonceTag)*8 + 5) / 6
)

// errNonces is the error of a Spend that nobody serves any more.
var errNonces = fmt.Errorf("%w: the server is stopping", store.ErrUnavailable)

// NonceDeps are what SharedNonces work with.
type NonceDeps struct {
	Store  store.Nonces
	Secret []byte // the same on all nodes
	Now    func() time.Time
}

// SharedNonces is the NonceSource of a node among several: each takes what any
// other gave out. A nonce is an id that no other has and a tag that shows that
// a node made it; what was not made by one, or is too old, never reaches the
// store. Callers that come while the store is asked share the next question.
type SharedNonces struct {
	deps  NonceDeps
	macs  sync.Pool // of hash.Hash
	node  [6]byte   // random
	made  atomic.Uint32
	queue chan *spending
	ended chan struct{} // closed when Run ends
}

// spending is a nonce whose caller waits.
type spending struct {
	id     store.NonceID
	answer chan spent // holds one
}

type spent struct {
	fresh bool
	err   error
}

// NewSharedNonces returns nonces that can be spent while Run runs.
func NewSharedNonces(deps NonceDeps) (*SharedNonces, error) {
	if len(deps.Secret) < sha256.Size {
		return nil, errors.New("couldn't set up nonces: their secret is too short")
	}
	n := &SharedNonces{deps: deps, queue: make(chan *spending, nonceBatch), ended: make(chan struct{})}
	n.macs.New = func() any { return hmac.New(sha256.New, deps.Secret) }
	_, err := rand.Read(n.node[:])
	return n, err
}

// New implements NonceSource.
func (n *SharedNonces) New() string {
	var octets [nonceID + nonceTag]byte
	id := octets[:nonceID]
	binary.BigEndian.PutUint64(id, uint64(n.deps.Now().UnixMilli())<<16)
	copy(id[6:], n.node[:])
	binary.BigEndian.PutUint32(id[12:], n.made.Add(1))
	n.tag(octets[nonceID:], id)
	return jwsBase64.EncodeToString(octets[:])
}

// tag writes the authentication tag of an id.
func (n *SharedNonces) tag(to, id []byte) {
	mac := n.macs.Get().(hash.Hash)
	defer n.macs.Put(mac)
	mac.Reset()
	mac.Write(id)
	var sum [sha256.Size]byte
	copy(to, mac.Sum(sum[:0])[:nonceTag])
}

// open returns the id of a nonce that a node has made and that is not too old.
func (n *SharedNonces) open(nonce string) (id store.NonceID, ok bool) {
	var octets [nonceID + nonceTag]byte
	if len(nonce) != nonceSharedText {
		return id, false
	}
	if read, err := jwsBase64.Decode(octets[:], []byte(nonce)); err != nil || read != len(octets) {
		return id, false
	}
	var tag [nonceTag]byte
	n.tag(tag[:], octets[:nonceID])
	if !hmac.Equal(tag[:], octets[nonceID:]) {
		return id, false
	}
	id = store.NonceID(octets[:nonceID])
	made := time.UnixMilli(int64(binary.BigEndian.Uint64(id[:]) >> 16))
	now := n.deps.Now()
	return id, made.After(now.Add(-NonceLifetime)) && made.Before(now.Add(nonceSkew))
}

// Spend implements NonceSource.
func (n *SharedNonces) Spend(ctx context.Context, nonce string) (bool, error) {
	id, ok := n.open(nonce)
	if !ok {
		return false, nil
	}
	mine := &spending{id: id, answer: make(chan spent, 1)}
	select {
	case n.queue <- mine:
	case <-n.ended:
		return false, errNonces
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case answer := <-mine.answer:
		return answer.fresh, answer.err
	case <-n.ended:
		return false, errNonces
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// Run asks the store for all that call Spend, until ctx is done. It is called
// once.
func (n *SharedNonces) Run(ctx context.Context) error {
	defer close(n.ended)
	for {
		select {
		case first := <-n.queue:
			n.spend(ctx, n.gather(first))
		case <-ctx.Done():
			return nil
		}
	}
}

// gather adds those that wait at this moment.
func (n *SharedNonces) gather(first *spending) []*spending {
	batch := []*spending{first}
	for len(batch) < nonceBatch {
		select {
		case next := <-n.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// spend answers a batch. Of those with the same nonce the first has the chance.
func (n *SharedNonces) spend(ctx context.Context, batch []*spending) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nonceSpendTime)
	defer cancel()
	ids := make([]store.NonceID, 0, len(batch))
	firsts := make([]*spending, 0, len(batch))
	seen := make(map[store.NonceID]bool, len(batch))
	for _, one := range batch {
		if seen[one.id] {
			one.answer <- spent{}
			continue
		}
		seen[one.id] = true
		ids, firsts = append(ids, one.id), append(firsts, one)
	}
	fresh, err := n.deps.Store.SpendNonces(ctx, ids)
	for i, one := range firsts {
		one.answer <- spent{err == nil && fresh[i], err}
	}
}
