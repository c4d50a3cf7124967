package sqlite

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"chancery/internal/identifier"
	"chancery/internal/store"
	"chancery/internal/store/form"
)

const (
	selectBackfill = "SELECT done, till FROM inventory_backfill"
	updateBackfill = "UPDATE inventory_backfill SET done = ?"
	deleteBackfill = "DELETE FROM inventory_backfill"

	selectCertificatesAfter = "SELECT c.rowid, " + certificateColumns + " FROM certificates c WHERE c.rowid > ? AND c.rowid <= ? ORDER BY c.rowid LIMIT ?"
	selectOrderReplaces     = "SELECT replaces_issuer, replaces_serial FROM orders WHERE id = ? AND replaces_issuer <> ''"
	updateInventory         = "UPDATE certificates SET service = ?, subject = ?, key_hash = ?, replaces_issuer = ?, replaces_serial = ? WHERE rowid = ?"
)

// backfillBatch is how many certificates one transaction of backfill finishes.
const backfillBatch = 500

// backfill enters the certificates that are from before schema 4 into the
// inventory. It goes on where an earlier one was stopped, and ends early when
// the context of the connection does.
func backfill(c *conn) error {
	for {
		if err := c.GetInterrupt().Err(); err != nil {
			return err
		}
		finished, err := backfillSome(c)
		if err != nil {
			return fmt.Errorf("couldn't enter its certificates into the inventory: %w", err)
		}
		if finished {
			return nil
		}
	}
}

func backfillSome(c *conn) (finished bool, err error) {
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return false, err
	}
	finished, err = backfillBatchOf(c)
	if err != nil {
		_, rollback := c.exec("ROLLBACK")
		return false, errors.Join(err, rollback)
	}
	_, err = c.exec("COMMIT")
	return finished, err
}

// backfillBatchOf reports whether nothing was left to do.
func backfillBatchOf(c *conn) (finished bool, err error) {
	var done, till int64
	err = c.one(func(r *row) { done, till = r.int64(), r.int64() }, selectBackfill)
	if err != nil {
		return true, ignoreIf(errors.Is(err, store.ErrNotFound), err)
	}
	var rows []int64
	var list []store.Certificate
	err = c.each(func(r *row) {
		rows = append(rows, r.int64())
		list = append(list, readCertificate(r))
	}, selectCertificatesAfter, done, till, backfillBatch)
	if err != nil {
		return false, err
	}
	if len(list) == 0 {
		_, err := c.exec(deleteBackfill)
		return true, err
	}
	for i := range list {
		if err := enter(c, rows[i], &list[i]); err != nil {
			return false, err
		}
	}
	_, err = c.exec(updateBackfill, rows[len(rows)-1])
	return false, err
}

// enter does for a stored certificate what insertCertificate does for a new
// one.
func enter(c *conn, row int64, certificate *store.Certificate) error {
	describe(certificate)
	if err := findReplaced(c, certificate); err != nil {
		return err
	}
	service, err := joinService(c, certificate)
	if err != nil {
		return err
	}
	replacesIssuer, replacesSerial := form.Key(certificate.Replaces)
	_, err = c.exec(updateInventory, service, certificate.Subject, form.Hash(certificate.KeyHash), replacesIssuer, replacesSerial, row)
	if err != nil {
		return err
	}
	return countCertificate(c, certificate, 1)
}

// describe reads subject and key from the certificate itself. One that can't
// be read stays without.
func describe(certificate *store.Certificate) {
	parsed, err := x509.ParseCertificate(certificate.DER)
	if err != nil { // as that of an abandoned one
		return
	}
	certificate.KeyHash = sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(parsed.RawSubject, &name); err != nil {
		return
	}
	text := name.String()
	common, alone := strings.CutPrefix(text, "CN=")
	named := func(id identifier.Identifier) bool { return id.Value == common }
	if !alone || !slices.ContainsFunc(certificate.Identifiers, named) {
		certificate.Subject = text
	}
}

func findReplaced(c *conn, certificate *store.Certificate) error {
	if certificate.Owner.Kind != store.OwnerOrder || certificate.Abandoned {
		return nil
	}
	err := c.one(func(r *row) {
		certificate.Replaces = &store.CertificateKey{IssuerID: r.text()}
		r.fixed(certificate.Replaces.Serial[:])
	}, selectOrderReplaces, certificate.Owner.ID)
	return ignoreIf(errors.Is(err, store.ErrNotFound), err)
}
