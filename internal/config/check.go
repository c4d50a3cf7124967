package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"chancery/internal/identifier"
	"chancery/internal/profile"
)

// check looks for settings that are right by themselves and wrong together.
func (l *loader) check() {
	l.followListen()
	l.checkListeners()
	l.checkURL()
	l.checkStore()
	l.checkValidation()
	l.checkACME()
	l.checkAdmin()
	l.checkIssuers()
	l.compileProfiles()
	l.checkProvisioners()
	l.compilePolicy()
	l.setRates()
}

// mistake adds a problem where key was set.
func (l *loader) mistake(key, format string, args ...any) {
	l.add(l.config.at(key), key, format, args...)
}

// followListen has the plain listener be where the other is, unless somebody
// said otherwise: whoever verifies the server's certificates asks there.
func (l *loader) followListen() {
	const key = "http_listen"
	host, _, err := net.SplitHostPort(l.config.Listen)
	_, port, _ := net.SplitHostPort(l.config.HTTPListen)
	if err == nil && l.config.at(key).kind == fromDefault {
		l.config.HTTPListen = net.JoinHostPort(host, port)
	}
}

// checkListeners refuses two listeners on one address.
func (l *loader) checkListeners() {
	c := l.config
	listeners := []struct{ key, address string }{
		{"listen", c.Listen}, {"http_listen", c.HTTPListen}, {"metrics_listen", c.MetricsListen},
	}
	for i, later := range listeners {
		for _, earlier := range listeners[:i] {
			if overlap(earlier.address, later.address) {
				l.mistake(later.key, "%s is taken by %s (%s); choose another port", later.address, earlier.key, earlier.address)
			}
		}
	}
}

// overlap reports whether two listeners would want the same port. Port 0 is a
// free one.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && portA != "0" &&
		(hostA == hostB || !isSpecific(hostA) || !isSpecific(hostB))
}

// isSpecific reports whether a listener's host is one that clients can use.
func isSpecific(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host != "" && (err != nil || !addr.IsUnspecified())
}

// checkURL makes sure that the URL which follows from the listener has a host.
func (l *loader) checkURL() {
	c := l.config
	_, port, err := net.SplitHostPort(c.Listen)
	if err == nil && port != "0" && c.ExternalURL == "" && c.BaseURL("https", c.Listen) == "" {
		l.mistake("listen", "%s is all addresses, so clients can't be told one; set names or external_url", c.Listen)
	}
	if _, port, _ := net.SplitHostPort(c.HTTPListen); port != "0" && cmp.Or(c.HTTPURL, c.PlainURL(c.HTTPListen)) == "" {
		l.warn("http_url", "it is not set, and does not follow from http_listen and names, so certificates won't say where to find out whether they are revoked")
	}
}

func (l *loader) checkValidation() {
	v := l.config.Validation
	if v.CAA == "on" && len(v.CAAIdentities) == 0 {
		l.mistake("validation.caa", "CAA records can't allow a CA without a name; set validation.caa_identities")
	}
	longest := v.Timeout.Std()*time.Duration(v.Attempts) + v.RetryInterval.Std()*time.Duration(v.Attempts-1)
	if order := l.config.ACME.OrderLifetime; order.Std() < longest {
		l.mistake("acme.order_lifetime", "%s is less than the %s that all attempts of a validation may take; make it more, or validation.attempts less", order, longest)
	}
}

func (l *loader) checkACME() {
	a := l.config.ACME
	if len(a.Challenges) == 0 && len(a.DNSPersistIssuers) == 0 {
		l.mistake("acme.challenges", "nothing could be proved without a challenge; name one, as in [http-01]")
	}
	if _, ok := l.config.Profiles[l.config.DefaultProfile]; !ok {
		l.mistake("default_profile", "there is no profile %q; write %s", l.config.DefaultProfile,
			oneOf(slices.Sorted(maps.Keys(l.config.Profiles))))
	}
}

// checkAdmin refuses a client that lacks its name or role.
func (l *loader) checkAdmin() {
	for i, client := range l.config.Admin.Clients {
		key := fmt.Sprintf("admin.clients[%d]", i)
		if client.Name == "" {
			l.mistake(key+".name", "the client has no name; write the one in its certificate, as in ops.corp.example")
		}
		if client.Role == "" {
			l.mistake(key+".role", "the client has no role; write viewer, operator or admin")
		}
	}
}

// fillProfiles completes the profiles with what they leave out.
func (l *loader) fillProfiles() {
	if domain := l.config.SPIFFE.TrustDomain; domain != "" {
		svid := l.config.Profiles["svid"]
		svid.TrustDomain = cmp.Or(svid.TrustDomain, domain)
		l.config.Profiles["svid"] = svid
	}
	for name, spec := range l.config.Profiles {
		l.config.Profiles[name] = spec.WithDefaults(name)
	}
}

func (l *loader) compileProfiles() {
	l.config.Compiled = map[string]*profile.Profile{}
	for _, name := range slices.Sorted(maps.Keys(l.config.Profiles)) {
		compiled, err := profile.Compile(name, l.config.Profiles[name], l.config.IssuerNames()...)
		if err != nil {
			l.addProfileMistakes("profiles."+name, err)
			continue
		}
		l.config.Compiled[name] = compiled
		if name == l.config.DefaultProfile && compiled.Spec.Restricted {
			l.warn("profiles."+name+".restricted", "this is the profile of requesters that name none, so those whose grant does not name it get nothing; choose another default_profile")
		}
	}
}

// addProfileMistakes takes apart what profile.Compile has joined.
func (l *loader) addProfileMistakes(key string, err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, err := range joined.Unwrap() {
			l.addProfileMistakes(key, err)
		}
		return
	}
	if mistake, ok := errors.AsType[*profile.FieldError](err); ok {
		l.mistake(mistake.Field, "%s", mistake.Problem)
		return
	}
	l.mistake(key, "%v", err)
}

// BaseURL is the URL, without a path, of a server that listens on address: its
// host is the first of Names, else that of ExternalURL, else that of address.
// It is "" when all of these are missing, or the port is 0, so that it is known
// only when the server listens.
func (c *Config) BaseURL(scheme, address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return ""
	}
	if external := hostOf(c.ExternalURL); external != "" {
		host = external
	}
	if len(c.Names) > 0 {
		host = c.Names[0]
	}
	if !isSpecific(host) {
		return ""
	}
	return baseURL(scheme, host, port)
}

// ServerNames are the names that the server's own certificate is for: Names,
// the host of ExternalURL and that of Listen, each once.
func (c *Config) ServerNames() []identifier.Identifier {
	listen, _, _ := net.SplitHostPort(c.Listen)
	var ids []identifier.Identifier
	for _, host := range append(slices.Clone(c.Names), hostOf(c.ExternalURL), listen) {
		if id, err := identifier.Guess(host); err == nil && isSpecific(host) {
			ids = append(ids, id)
		}
	}
	return identifier.Normalize(ids)
}

// PlainURL is BaseURL for a plain HTTP listener. It is "" also when that is on
// loopback and the server's name is not: then others would not reach it by it.
func (c *Config) PlainURL(address string) string {
	base := c.BaseURL("http", address)
	host, _, _ := net.SplitHostPort(address)
	if isLoopback(host) && !isLoopback(hostOf(base)) {
		return ""
	}
	return base
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
