package profile

import (
	"slices"
	"testing"
	"time"

	"chancery/internal/identifier"
)

// Whatever names and times are asked for, what comes out parses, carries
// exactly them, and stays inside the issuer's validity.
func FuzzToBeSigned(f *testing.F) {
	f.Add("a.corp", "10.0.0.1", "a.corp", int64(0), int64(0))
	f.Add("*.a.corp", "2001:db8::1", "10.0.0.1", int64(60), int64(3600))
	f.Add("xn--mnchen-3ya.example", "::1", "x\x00y", int64(-60), int64(1<<40))
	ca := newCA(f, "Ed25519", now.AddDate(1, 0, 0))
	p := compile(f, "tls-server", Spec{})
	template := ca.input(f, "P-256")
	f.Fuzz(func(t *testing.T, name, addr, commonName string, before, after int64) {
		in := template
		for typ, value := range map[identifier.Type]string{identifier.DNS: name, identifier.IP: addr} {
			if id, err := identifier.Parse(typ, value); err == nil {
				in.Identifiers = append(in.Identifiers, id)
			}
		}
		in.Wishes = Wishes{CommonName: commonName, NotBefore: wished(before), NotAfter: wished(after)}
		tbs, err := p.ToBeSigned(in)
		if err != nil {
			return
		}
		cert := ca.sign(t, tbs.DER)
		var names []identifier.Identifier
		for _, name := range cert.DNSNames {
			names = append(names, dns(name))
		}
		for _, addr := range cert.IPAddresses {
			names = append(names, ip(addr.String()))
		}
		if !slices.Equal(identifier.Normalize(names), identifier.Normalize(in.Identifiers)) {
			t.Errorf("names %v, want %v", names, in.Identifiers)
		}
		if cn := cert.Subject.CommonName; cn != "" && !slices.Contains(names, dns(cn)) && !slices.Contains(names, ip(cn)) {
			t.Errorf("common name %q is none of %v", cn, names)
		}
		if before != 0 && !cert.NotBefore.Equal(in.Wishes.NotBefore) || after != 0 && !cert.NotAfter.Equal(in.Wishes.NotAfter) ||
			cert.NotAfter.After(ca.cert.NotAfter) || !cert.NotAfter.After(cert.NotBefore) {
			t.Errorf("good from %v to %v; wished %+v", cert.NotBefore, cert.NotAfter, in.Wishes)
		}
	})
}

// wished is a time that many seconds from now; 0 is no wish.
func wished(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(now.Unix()+seconds, 0)
}
