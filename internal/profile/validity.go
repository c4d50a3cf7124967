package profile

import (
	"time"

	"chancery/internal/failure"
)

// minValidity is the least that makes sense when times are whole seconds.
const minValidity = time.Second

// Wishes are what a requester may ask for. The zero value asks for nothing.
type Wishes struct {
	NotBefore  time.Time // zero: now, backdated; fractions of a second are cut off
	NotAfter   time.Time // zero: as the profile has it; fractions of a second are cut off
	CommonName string    // honoured when it is one of the names and fits
	Asked      time.Time // when the times were asked for, which is what they are measured from; zero: now
}

// Validity returns the times of a certificate made at now, in UTC and whole
// seconds. A wish is followed exactly or refused with a failure of kind
// Malformed that says the bounds (RFC 8555 §7.4: never something else than was
// asked for); without a wish the validity ends with the issuer's at the
// latest. Doors call it when an order comes, to refuse early; ToBeSigned calls
// it again.
func (p *Profile) Validity(issuer *Issuer, wish Wishes, now time.Time) (notBefore, notAfter time.Time, err error) {
	if !now.Before(issuer.NotAfter) {
		return notBefore, notAfter, p.issuerExpired(issuer)
	}
	wish = wish.normal(now)
	if err := p.checkNotBefore(issuer, wish); err != nil {
		return notBefore, notAfter, err
	}
	if err := p.checkNotAfter(issuer, wish, now); err != nil {
		return notBefore, notAfter, err
	}
	notBefore, notAfter = wish.NotBefore, wish.NotAfter
	start := wish.NotBefore
	if notBefore.IsZero() {
		start = seconds(now)
		notBefore = later(seconds(now.Add(-p.Spec.Backdate.Std())), seconds(issuer.NotBefore))
	}
	if notAfter.IsZero() {
		notAfter = earlier(start.Add(p.Spec.Validity.Default.Std()), seconds(issuer.NotAfter))
	}
	if !notAfter.After(now) || !notAfter.After(notBefore) {
		return notBefore, notAfter, p.issuerExpired(issuer)
	}
	return notBefore, notAfter, nil
}

func (w Wishes) normal(now time.Time) Wishes {
	w.NotBefore, w.NotAfter = seconds(w.NotBefore), seconds(w.NotAfter)
	if w.Asked.IsZero() {
		w.Asked = now
	}
	return w
}

// checkNotBefore allows as much of the past as the profile backdates, and as
// much of the future as the longest validity.
func (p *Profile) checkNotBefore(issuer *Issuer, wish Wishes) error {
	if wish.NotBefore.IsZero() {
		return nil
	}
	first := seconds(wish.Asked.Add(-p.Spec.Backdate.Std()))
	last := earlier(wish.Asked.Add(p.Spec.Validity.Longest.Std()), issuer.NotAfter.Add(-minValidity))
	if wish.NotBefore.Before(first) || wish.NotBefore.After(last) {
		return failure.New(failure.Malformed, "notBefore %s is out of bounds; the profile %s allows %s to %s, now",
			rfc3339(wish.NotBefore), p.Name, rfc3339(first), rfc3339(last))
	}
	return nil
}

// checkNotAfter holds a wished end against the profile's bounds. They count
// from the wished beginning; where there is none, from the moment of asking,
// and then the requester's clock may be off by as much as the profile
// backdates.
func (p *Profile) checkNotAfter(issuer *Issuer, wish Wishes, now time.Time) error {
	if wish.NotAfter.IsZero() {
		return nil
	}
	start, slack := wish.NotBefore, time.Duration(0)
	if start.IsZero() {
		start, slack = seconds(wish.Asked), p.Spec.Backdate.Std()
	}
	v := p.Spec.Validity
	length := wish.NotAfter.Sub(start)
	switch {
	case length+slack < v.Shortest.Std(), length-slack > v.Longest.Std(), length <= 0:
		return failure.New(failure.Malformed, "notAfter %s is out of bounds; the profile %s allows a validity of %s to %s, so %s to %s",
			rfc3339(wish.NotAfter), p.Name, v.Shortest, v.Longest, rfc3339(start.Add(v.Shortest.Std())), rfc3339(start.Add(v.Longest.Std())))
	case wish.NotAfter.After(issuer.NotAfter):
		return failure.New(failure.Malformed, "notAfter %s is after the end of the CA's own certificate; ask for %s at the latest",
			rfc3339(wish.NotAfter), rfc3339(seconds(issuer.NotAfter)))
	case !wish.NotAfter.After(now):
		return failure.New(failure.Malformed, "notAfter %s has passed since it was asked for; ask again for a later one", rfc3339(wish.NotAfter))
	}
	return nil
}

// issuerExpired is passing, for an operator can renew the issuer.
func (p *Profile) issuerExpired(issuer *Issuer) error {
	e := failure.New(failure.Unavailable, "the CA's own certificate ends %s, so no certificate can be issued; its operator must renew it", rfc3339(issuer.NotAfter))
	e.RetryAfter = time.Hour
	return e
}

func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
