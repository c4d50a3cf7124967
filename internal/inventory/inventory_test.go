package inventory_test

import (
	"crypto/sha256"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/inventory"
	"chancery/internal/serial"
	"chancery/internal/store"
	"chancery/internal/store/sqlite"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2027-01-31": time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), "2027-01-31T12:00:00+02:00": time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC),
		"30d": epoch.Add(30 * 24 * time.Hour), "-7d": epoch.Add(-7 * 24 * time.Hour), "-1h30m": epoch.Add(-90 * time.Minute), "0": epoch,
	} {
		if got, err := inventory.ParseTime(text, epoch); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", "--1d", "tomorrow", "7", "2027-13-01", "0001-01-01", "0001-01-01T00:00:00Z"} {
		if got, err := inventory.ParseTime(text, epoch); failure.KindOf(err) != failure.Malformed {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestNames(t *testing.T) {
	for text, want := range map[string]store.CertificateQuery{
		"A.Corp":              {Name: "a.corp"},
		"*.Corp":              {NamePattern: "*.corp"},
		"**.corp":             {NamePattern: "**.corp"},
		"**":                  {NamePattern: "**"},
		"::ffff:1.2.3.4":      {Name: "1.2.3.4"},
		"email:A@Corp":        {Name: "A@corp"},
		"uri:spiffe://Corp/a": {Name: "spiffe://corp/a"},
		"_dmarc.corp":         {Name: "_dmarc.corp"},
	} {
		got, err := inventory.Query{Name: text}.Select(time.Time{})
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"a..b", "*", "*a.corp", "a.*.corp", "***.corp", "email:a"} {
		if got, err := (inventory.Query{Name: text}).Select(epoch); failure.KindOf(err) != failure.Malformed {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func full() inventory.Query {
	hash := strings.Repeat("ab", 32)
	return inventory.Query{
		Name: "a.corp", Contains: "corp", Serial: "01", Fingerprint: hash, KeyHash: hash, Account: "a", Requester: "acme:", Subject: "CN=a",
		Profile: "p", Issuer: "0011223344556677", Service: "s", Replaces: "0011223344556677:01", IssuedAfter: epoch, IssuedBefore: epoch.Add(1),
		ExpiresAfter: epoch.Add(2), ExpiresBefore: epoch.Add(3), RevokedAfter: epoch.Add(4), RevokedBefore: epoch.Add(5), Status: "valid",
	}
}

// TestValues: a query comes back from a URL as it was, every field of it.
func TestValues(t *testing.T) {
	values := full().Values()
	if len(values) != 19 {
		t.Errorf("%d fields are in the URL", len(values))
	}
	back, err := inventory.Parse(values, epoch)
	if err != nil || back != full() {
		t.Errorf("%+v, %v", back, err)
	}
	services := inventory.ServiceQuery{Name: "a.corp", Contains: "abc", Health: "healthy", ExpiresBefore: epoch}
	if back, err := inventory.ParseServices(services.Values(), epoch); err != nil || back != services {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []url.Values{{"named": {"a"}}, {"name": {"a", "b"}}, {"issued_after": {"x"}}, {"limit": {"1"}}} {
		if _, err := inventory.Parse(bad, epoch); failure.KindOf(err) != failure.Malformed {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := inventory.Parse(url.Values{"limit": {"1"}}, epoch, "limit"); err != nil {
		t.Error(err)
	}
}

// TestMatcherAgreesWithTheStore asks both the same about the same certificates.
func TestMatcherAgreesWithTheStore(t *testing.T) {
	database, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "db"), Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	certificates := issueSome(t, database)
	hash := func(n byte) string {
		return strings.Repeat("0", 62) + string("0123456789abcdef"[n/16]) + string("0123456789abcdef"[n%16])
	}
	hour := time.Hour
	for _, query := range []inventory.Query{
		{}, {Name: "a.corp"}, {Name: "*.corp"}, {Name: "**.corp"}, {Name: "**.a.corp"}, {Name: "*.x.a.corp"}, {Name: "10.0.0.1"},
		{Contains: "a.co"}, {Contains: "nowhere"}, {Contains: "0.0"}, {Account: "a1"}, {Profile: "p1"}, {Issuer: "0011223344556677"}, {Issuer: "ffff"},
		{Requester: "acme:a1"}, {Requester: "acme:"}, {Requester: "token:ci/"}, {Requester: "token:ci/x"}, {Requester: "token:"}, {Requester: "tok"},
		{Subject: "O=Corp"}, {Service: store.ServiceID(certificates[0].Identifiers)}, {Serial: "01"}, {KeyHash: hash(3)}, {Fingerprint: hash(4)},
		{Replaces: inventory.FormatKey(certificates[0].CertificateKey)}, {IssuedAfter: epoch.Add(-2 * hour)}, {IssuedBefore: epoch.Add(-2 * hour)},
		{ExpiresAfter: epoch.Add(3 * hour)}, {ExpiresBefore: epoch.Add(3 * hour)}, {RevokedAfter: epoch}, {RevokedAfter: epoch.Add(time.Second)}, {RevokedBefore: epoch.Add(time.Second)},
		{Status: "valid"}, {Status: "expired"}, {Status: "revoked"}, {Status: "valid", Name: "*.corp", Profile: "p1"},
	} {
		compareOne(t, database, certificates, query)
	}
}

func compareOne(t *testing.T, database *sqlite.Store, certificates []store.Certificate, query inventory.Query) {
	t.Helper()
	selected, err := query.Select(epoch)
	if err != nil {
		t.Fatal(err)
	}
	found, err := database.ListCertificates(t.Context(), selected)
	if err != nil {
		t.Fatal(err)
	}
	inStore := map[store.CertificateKey]bool{}
	for i := range found {
		inStore[found[i].CertificateKey] = true
	}
	matcher, err := query.Compile(epoch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range certificates {
		stored, err := database.Certificate(t.Context(), certificates[i].CertificateKey)
		if err != nil {
			t.Fatal(err)
		}
		if matches := matcher.Matches(&stored); matches != inStore[stored.CertificateKey] {
			t.Errorf("%v: certificate %d: the matcher says %v, the store %v", query.Values(), i, matches, !matches)
		}
	}
}

func issueSome(t *testing.T, database *sqlite.Store) []store.Certificate {
	t.Helper()
	names := [][]string{{"a.corp"}, {"b.corp", "a.corp"}, {"x.a.corp"}, {"*.x.a.corp"}, {"10.0.0.1"}, {"y.x.a.corp"}, {}}
	requesters := []string{"acme:a1", "acme:a2", "token:ci/x", "token:ci/y", "self", "token:cix", "acme:a1"}
	list := make([]store.Certificate, len(names))
	for i := range list {
		c := store.Certificate{
			CertificateKey: store.CertificateKey{IssuerID: "0011223344556677", Serial: serial.Number{19: byte(i + 1)}},
			Profile:        []string{"p1", "p2"}[i%2], Requester: requesters[i], DER: []byte{0x30, byte(i)},
			Fingerprint: [32]byte{31: byte(i)}, KeyHash: [32]byte{31: byte(i)},
			NotBefore: epoch.Add(-10 * time.Hour), NotAfter: epoch.Add(time.Duration(i-1) * time.Hour), Issued: epoch.Add(time.Duration(-i) * time.Hour),
		}
		for _, name := range names[i] {
			id, err := identifier.Guess(name)
			if err != nil {
				t.Fatal(err)
			}
			c.Identifiers = append(c.Identifiers, id)
		}
		if i == 1 {
			c.AccountID, c.Subject, c.Replaces = "a1", "O=Corp", &list[0].CertificateKey
		}
		intent := store.Intent{CertificateKey: c.CertificateKey, TBS: []byte{1}, Request: []byte("{}"), Attempt: 1, Created: c.Issued, Deadline: epoch}
		if err := database.BeginIssuance(t.Context(), intent); err != nil {
			t.Fatal(err)
		}
		if err := database.CompleteIssuance(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			if err := database.Revoke(t.Context(), c.CertificateKey, store.Revocation{At: epoch}); err != nil {
				t.Fatal(err)
			}
		}
		list[i] = c
	}
	return list
}

// FuzzParse: whatever a URL says, a query that is taken can be selected or is
// refused, and says the same after a round trip.
func FuzzParse(f *testing.F) {
	f.Add(full().Values().Encode())
	f.Add("name=**.corp&status=valid&issued_after=-7d")
	f.Add("name=%ff&serial=0x&key_hash=" + strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		query, err := inventory.Parse(values, epoch)
		if err != nil {
			return
		}
		if _, err := query.Select(epoch); err != nil {
			return
		}
		matcher, err := query.Compile(epoch)
		if err != nil {
			t.Fatal(err)
		}
		matcher.Matches(&store.Certificate{Fingerprint: sha256.Sum256(nil)})
		back, err := inventory.Parse(query.Values(), epoch)
		if err != nil || back.Values().Encode() != query.Values().Encode() {
			t.Fatalf("%+v became %+v: %v", query, back, err)
		}
	})
}
