package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"chancery/internal/store"
)

// errNoURL is for a partition that nobody was told the place of.
var errNoURL = errors.New("nothing says where the partition's list is to be found; set http_url")

// publish makes the next list of a partition and puts it in force, unless
// another node does. It returns the URL of the distribution point, "" for the
// full list's.
func (l *Lists) publish(ctx context.Context, stale store.StaleList, fence store.Fence) (url string, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	url, err = l.makeList(ctx, stale, fence)
	if err != nil {
		return "", fmt.Errorf("couldn't publish the revocation list of issuer %s, partition %d: %w", stale.IssuerID, stale.Partition, err)
	}
	return url, nil
}

func (l *Lists) makeList(ctx context.Context, stale store.StaleList, fence store.Fence) (url string, err error) {
	issuer := (*l.issuers.Load())[stale.IssuerID]
	if issuer == nil {
		return "", errors.New("its key is not here")
	}
	before, err := l.before(ctx, stale)
	if err != nil {
		return "", err
	}
	if url, err = l.urlOf(stale, before); err != nil {
		return "", err
	}
	list := l.next(issuer, url, before)
	// An entry stays until a list was made after its certificate expired
	// (RFC 5280 §3.3).
	expiredAfter := list.thisUpdate
	if before != nil && before.ThisUpdate.Before(expiredAfter) {
		expiredAfter = before.ThisUpdate
	}
	err = l.deps.Store.Revoked(ctx, stale.IssuerID, stale.Partition, expiredAfter, func(entry store.RevokedEntry) error {
		list.entries = appendEntry(list.entries, entry)
		return nil
	})
	if err != nil {
		return "", err
	}
	return url, l.signAndStore(ctx, issuer, list, stale, fence)
}

// before is the list in force; nil when there is none.
func (l *Lists) before(ctx context.Context, stale store.StaleList) (*heldList, error) {
	key := listKey{stale.IssuerID, stale.Partition}
	if held := l.cache.get(key, time.Time{}); held != nil && held.number == stale.Number {
		return held, nil
	}
	held, err := l.read(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return held, err
}

// urlOf is the distribution point of a partition's certificates. It is for
// ever what it was when the partition began, whatever the settings say now: it
// is in the certificates. The list in force remembers it.
func (l *Lists) urlOf(stale store.StaleList, before *heldList) (string, error) {
	base := l.settings.Load().BaseURL
	switch {
	case stale.Partition == 0:
		return "", nil
	case before != nil:
		return distributionPoint(before.DER)
	case base == "":
		return "", errNoURL
	}
	return ListURL(base, stale.IssuerID, stale.Partition), nil
}

// next begins the list that follows another. Numbers follow the clock, so that
// they grow also after an older state of the store was restored, and so does
// thisUpdate, in whole seconds, on which If-Modified-Since relies; but when the
// clock was ahead before, only the number goes on.
func (l *Lists) next(issuer Issuer, url string, before *heldList) *certList {
	lifetime := l.settings.Load().ListLifetime
	now := l.deps.Now().UTC().Truncate(time.Second)
	list := &certList{
		issuer: issuer.Certificate(), algorithm: issuer.Algorithm(), url: url,
		number: now.Unix(), thisUpdate: now.Add(-backdate),
		nextUpdate: now.Add(lifetime - time.Duration(float64(lifetime/8)*l.deps.Jitter())).Truncate(time.Second),
	}
	if before != nil {
		list.number = max(list.number, before.number+1)
		if earliest := before.ThisUpdate.Add(time.Second); list.thisUpdate.Before(earliest) && !earliest.After(now) {
			list.thisUpdate = earliest
		}
	}
	return list
}

func (l *Lists) signAndStore(ctx context.Context, issuer Issuer, list *certList, stale store.StaleList, fence store.Fence) error {
	tbs, err := list.toBeSigned()
	if err != nil {
		return err
	}
	der, err := issuer.SignRevocationList(ctx, tbs)
	if err != nil {
		return err
	}
	made := store.RevocationList{
		IssuerID: stale.IssuerID, Partition: stale.Partition, Number: list.number,
		ThisUpdate: list.thisUpdate, NextUpdate: list.nextUpdate, DER: der,
	}
	err = l.deps.Store.PublishList(ctx, made, stale.Basis, fence)
	if errors.Is(err, store.ErrClaimed) || errors.Is(err, store.ErrFenced) {
		return nil // somebody else has made it meanwhile, or will
	}
	if err != nil {
		return err
	}
	l.hold(&made, l.deps.Now())
	if l.deps.Published != nil {
		l.deps.Published(stale.IssuerID, stale.Partition == 0, made.NextUpdate)
	}
	return nil
}
