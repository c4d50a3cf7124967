package admin_test

import (
	"context"
	"errors"

	"chancery/internal/identifier"
	"chancery/internal/store"
)

// failingStore revokes one batch, and then no more.
type failingStore struct {
	store.Store
	batches int
}

func (s *failingStore) RevokeAll(ctx context.Context, keys []store.CertificateKey, revocation store.Revocation) ([]store.CertificateKey, error) {
	if s.batches++; s.batches > 1 {
		return nil, errors.New("the disk is full")
	}
	return s.Store.RevokeAll(ctx, keys, revocation)
}

// leavingStore has the client go away while it revokes: like every store, it
// does what it has begun, and says nothing of it to who no longer waits.
type leavingStore struct {
	store.Store
	leave func()
}

func (s *leavingStore) RevokeAll(ctx context.Context, keys []store.CertificateKey, revocation store.Revocation) ([]store.CertificateKey, error) {
	revoked, err := s.Store.RevokeAll(context.WithoutCancel(ctx), keys, revocation)
	s.leave()
	return revoked, errors.Join(err, ctx.Err())
}

// endlessStore has as many certificates as it is told, all of them alike.
type endlessStore struct {
	store.Store
	left int // not listed yet
}

func (s *endlessStore) ListCertificates(_ context.Context, query store.CertificateQuery) ([]store.Certificate, error) {
	list := make([]store.Certificate, min(s.left, query.Limit))
	s.left -= len(list)
	for i := range list {
		list[i] = store.Certificate{DER: make([]byte, 1000), Identifiers: []identifier.Identifier{{Type: identifier.DNS, Value: "a.corp"}}}
	}
	return list, nil
}
