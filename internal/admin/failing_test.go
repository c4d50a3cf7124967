package admin_test

import (
	"context"
	"errors"

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
