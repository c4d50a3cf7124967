package sqlite

import (
	"testing"
	"time"

	"chancery/internal/store"
)

// TestVersion3Lists opens a file from before there were revocation lists: what
// was revoked then is in the first full list, and an intent that was left over
// can be given up.
func TestVersion3Lists(t *testing.T) {
	const issuer = "00112233445566ff"
	s, ctx, now := openVersion(t, 3), t.Context(), time.Now()
	reasons := func() (list []int) {
		if err := s.Revoked(ctx, issuer, 0, now, func(e store.RevokedEntry) error {
			list = append(list, e.Reason)
			return nil
		}); err != nil {
			t.Error(err)
		}
		return list
	}
	if got := reasons(); len(got) != 2 || got[0] != 1 || got[1] != 5 {
		t.Errorf("the full list has the reasons %v", got)
	}
	stale, err := s.StaleLists(ctx, []string{issuer}, now, now, 10)
	if err != nil || len(stale) != 1 || stale[0] != (store.StaleList{IssuerID: issuer}) {
		t.Errorf("stale lists %+v, %v", stale, err)
	}
	intents, err := s.Intents(ctx, now, 10)
	if err != nil || len(intents) != 1 || intents[0].Partition != 0 || !intents[0].OwnerExpires.IsZero() {
		t.Fatalf("intents %+v, %v", intents, err)
	}
	if err := s.AbandonIntent(ctx, intents[0].CertificateKey, now, nil, nil); err != nil {
		t.Error(err)
	}
	if got := reasons(); len(got) != 3 {
		t.Errorf("the full list has the reasons %v", got)
	}
	p, err := s.NewPartition(ctx, issuer, now)
	if err != nil || p.Number != 1 {
		t.Errorf("partition %+v, %v", p, err)
	}
}
