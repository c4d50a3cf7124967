package validation

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"chancery/internal/failure"
)

// dnsaccount01 is dns-01 at a name of the account's own, so that several
// accounts can prove the same name side by side.
func (a *attempt) dnsaccount01(ctx context.Context) *failure.Error {
	return a.expectTXT(ctx, AccountLabel(a.AccountURL)+"._acme-challenge."+a.name())
}

// AccountLabel is the label that goes before "_acme-challenge" for an account
// (draft-ietf-acme-dns-account-label-03 §3.2).
func AccountLabel(accountURL string) string {
	digest := sha256.Sum256([]byte(accountURL))
	return "_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(digest[:10]))
}
