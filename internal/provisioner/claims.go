package provisioner

import (
	"crypto/sha256"
	"encoding/base64"
	"math"
	"slices"
	"strings"
	"time"

	"chancery/internal/expr"
)

func encode(octets []byte) string { return base64.RawURLEncoding.EncodeToString(octets) }

// digest makes one text of several; others give another.
func digest(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		inner := sha256.Sum256([]byte(part))
		sum.Write(inner[:])
	}
	return encode(sum.Sum(nil))
}

// textOf is a claim that is a text; "" when it is not there.
func textOf(claims expr.Claims, name string) (string, error) {
	switch value := claims[name].(type) {
	case nil:
		return "", nil
	case string:
		return value, nil
	default:
		return "", malformed("the token's claim %q must be a text", name)
	}
}

// neededText is a claim that must be there, and is a text.
func neededText(claims expr.Claims, name string) (string, error) {
	text, err := textOf(claims, name)
	if err == nil && text == "" {
		err = malformed("the token has no claim %q; it must be there", name)
	}
	return text, err
}

// textsOf is a claim that is a list of texts or a single one.
func textsOf(claims expr.Claims, name string) ([]string, error) {
	switch value := claims[name].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{value}, nil
	case []any:
		texts := make([]string, len(value))
		for i, element := range value {
			text, ok := element.(string)
			if !ok {
				return nil, malformed("the token's claim %q must be a list of texts", name)
			}
			texts[i] = text
		}
		return texts, nil
	default:
		return nil, malformed("the token's claim %q must be a text or a list of texts", name)
	}
}

// momentOf is a claim that is a NumericDate (RFC 7519 §2); zero when it is not
// there.
func momentOf(claims expr.Claims, name string) (time.Time, error) {
	const last = 253402300799 // the end of the year 9999
	var seconds float64
	switch value := claims[name].(type) {
	case nil:
		return time.Time{}, nil
	case int64:
		seconds = float64(value)
	case float64:
		seconds = value
	default:
		return time.Time{}, malformed("the token's claim %q must be a number of seconds", name)
	}
	if seconds <= 0 || seconds > last {
		return time.Time{}, malformed("the token's claim %q is no time", name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), nil
}

// checkAudience refuses a token that was made out for somebody else.
func checkAudience(claims expr.Claims, accepted []string) error {
	audience, err := textsOf(claims, "aud")
	switch {
	case err != nil:
		return err
	case len(audience) == 0:
		return malformed(`the token has no claim "aud"; it must be %s`, strings.Join(accepted, " or "))
	case !slices.ContainsFunc(audience, func(one string) bool { return slices.Contains(accepted, one) }):
		return unauthorized("the token is for %.200q; expected is %s", strings.Join(audience, ", "), strings.Join(accepted, " or "))
	}
	return nil
}

// clock is how the times in tokens are judged.
type clock struct {
	now      func() time.Time
	lifetime time.Duration // the longest between making and expiry
	skew     time.Duration // how far clocks may be apart
}

// check refuses a token that is not good now, or good for too long, and says
// until when it is, the skew included.
func (c clock) check(claims expr.Claims) (until time.Time, err error) {
	now := c.now()
	expires, err := momentOf(claims, "exp")
	if err == nil && expires.IsZero() {
		err = malformed(`the token has no claim "exp"; it must be there`)
	}
	if err != nil {
		return expires, err
	}
	made := now.Add(c.skew)
	for _, name := range []string{"iat", "nbf"} {
		from, err := momentOf(claims, name)
		switch {
		case err != nil:
			return expires, err
		case from.IsZero():
		case from.After(now.Add(c.skew)):
			return expires, unauthorized("the token is good from %s on (%q), and it is %s here; wait, or set the clocks right", stamp(from), name, stamp(now))
		case from.Before(made):
			made = from
		}
	}
	until = expires.Add(c.skew)
	switch {
	case !now.Before(until):
		return until, unauthorized("the token expired at %s, and it is %s here; get a new one, or set the clocks right", stamp(expires), stamp(now))
	case expires.Sub(made) > c.lifetime:
		return until, unauthorized("the token is good for %s; this provisioner takes %s at most", expires.Sub(made).Round(time.Second), c.lifetime)
	}
	return until, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
