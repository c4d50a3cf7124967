package revocation

import (
	"context"
	"time"

	"chancery/internal/failure"
	"chancery/internal/store"
)

// Watch returns the store with its revocations told to revoked, once they have
// happened, whoever asked for them. Those that may have happened are told too.
func Watch(s store.Store, revoked func(...store.CertificateKey)) store.Store {
	return &watched{s, revoked}
}

type watched struct {
	store.Store
	revoked func(...store.CertificateKey)
}

func (w *watched) Revoke(ctx context.Context, key store.CertificateKey, revocation store.Revocation) error {
	defer w.revoked(key)
	return w.Store.Revoke(ctx, key, revocation)
}

func (w *watched) RevokeAll(ctx context.Context, keys []store.CertificateKey, revocation store.Revocation) ([]store.CertificateKey, error) {
	defer w.revoked(keys...)
	return w.Store.RevokeAll(ctx, keys, revocation)
}

func (w *watched) AbandonIntent(ctx context.Context, key store.CertificateKey, now time.Time, next *store.Intent, report *failure.Report) error {
	defer w.revoked(key)
	return w.Store.AbandonIntent(ctx, key, now, next, report)
}
