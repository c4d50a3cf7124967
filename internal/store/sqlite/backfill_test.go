package sqlite

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"chancery/internal/serial"
	"chancery/internal/store"
)

const oldIssuer = "00112233445566ff"

// TestVersion3Inventory asks a file from before there was an inventory.
func TestVersion3Inventory(t *testing.T) {
	s, ctx := openVersion(t, 3), t.Context()
	now := time.UnixMilli(1800000000000)
	for query, want := range map[store.CertificateQuery]int{
		{Name: "b.example"}: 3,
		{NamePart: "0.0"}:   1,
		{NamePattern: "*.example", IssuerID: oldIssuer}: 3,
		{Requester: "acme:"}:                            2,
		{Status: store.CertificateExpired, Now: now}:    0,
		{Status: store.CertificateAbandoned, Now: now}:  1,
		{RevokedAfter: now.Add(-1e18)}:                  2,
	} {
		if list, err := s.ListCertificates(ctx, query); err != nil || len(list) != want {
			t.Errorf("%+v: %d certificates, want %d (%v)", query, len(list), want, err)
		}
	}
	counts, err := s.CountCertificates(ctx, oldIssuer, "tls-server", now)
	if want := (store.CertificateCounts{Valid: 1, Revoked: 2, Abandoned: 1}); err != nil || counts != want {
		t.Errorf("counts %+v, %v", counts, err)
	}
	services, err := s.ListServices(ctx, store.ServiceQuery{Health: store.ServiceHealthy, Now: now})
	if err != nil || len(services) != 1 || services[0].Certificates != 1 || services[0].Identifiers[0].Value != "b.example" {
		t.Errorf("services %+v, %v", services, err)
	}
}

// oldCertificates is SQL for certificates as schema 3 kept them.
func oldCertificates(t *testing.T, n int, der []byte) string {
	t.Helper()
	var script strings.Builder
	script.WriteString("BEGIN;")
	for i := range n {
		number, err := serial.New(time.UnixMilli(1700000000000), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&script, "INSERT INTO certificates VALUES (x'%s', '%s', 'order', 'order%d', 'account', 'acme:account', 'tls-server', 'default', "+
			"x'%064x', 1700000000000, 1900000000000, 1700000002000, 0, 0, 0, '[{\"type\":\"dns\",\"value\":\"host%d.example\"}]', x'%s');",
			number, oldIssuer, i, i, i/2, hex.EncodeToString(der))
	}
	script.WriteString("COMMIT;")
	return script.String()
}

// TestBackfillGoesOn stops an upgrade in its middle.
func TestBackfillGoesOn(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "host0.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	const n = 2*backfillBatch + 10
	path := fileOfVersion(t, 3, oldCertificates(t, n, der)+
		"INSERT INTO orders VALUES ('order1', 'account', 'tls-server', 0, 0, 'replaced', zeroblob(20), 0, 0, 0, '', x'', '', '', '');")

	half, err := (&Store{path: path, limits: usualLimits()}).connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	err = migrate(half)
	for range 2 {
		_, some := backfillSome(half)
		err = errors.Join(err, some)
	}
	if err := errors.Join(err, half.close()); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	checkBackfilled(t, s, n, sha256.Sum256(x509MarshalKey(t, key)))
}

func x509MarshalKey(t *testing.T, key *ecdsa.PrivateKey) []byte {
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

func checkBackfilled(t *testing.T, s *Store, n int, keyHash [32]byte) {
	t.Helper()
	ctx := context.Background()
	counts, err := s.CountCertificates(ctx, "", "", time.UnixMilli(1800000000000))
	if err != nil || counts.Valid != n {
		t.Errorf("counts %+v, %v", counts, err)
	}
	list, err := s.ListCertificates(ctx, store.CertificateQuery{KeyHash: &keyHash, Limit: 2 * n})
	if err != nil || len(list) != n {
		t.Errorf("%d certificates of the key, %v", len(list), err)
	}
	services, err := s.ListServices(ctx, store.ServiceQuery{Limit: 2 * n})
	if err != nil || len(services) != n/2 {
		t.Errorf("%d services, %v", len(services), err)
	}
	for query, want := range map[store.CertificateQuery]int{
		{Subject: "CN=host0.example", Limit: 2 * n}:             n - 2,
		{NamePart: "host11."}:                                   2,
		{Name: "host0.example"}:                                 2,
		{Replaces: &store.CertificateKey{IssuerID: "replaced"}}: 1,
	} {
		if list, err := s.ListCertificates(ctx, query); err != nil || len(list) != want {
			t.Errorf("%+v: %d certificates, want %d (%v)", query, len(list), want, err)
		}
	}
	if err := s.CheckIntegrity(ctx); err != nil {
		t.Error(err)
	}
}
