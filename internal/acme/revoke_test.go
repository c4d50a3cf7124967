package acme_test

import (
	"net/http"
	"strings"
	"testing"

	"chancery/internal/acme/acmetest"
	"chancery/internal/server/servertest"
)

// TestRevocation is RFC 8555 §7.6.
func TestRevocation(t *testing.T) {
	t.Parallel()
	group(t, servertest.Start(t), map[string]func(*testing.T, *servertest.CA){
		"ByAccount":          testRevokeByAccount,
		"ByOtherAccount":     testRevokeByOtherAccount,
		"ByKeyAlone":         testRevokeByKey,
		"AllowedReasons":     testAllowedReasons,
		"RenewalIsOverdue":   testRenewalOfRevoked,
		"WindowOfRenewal":    testWindowOfRenewal,
		"Replaces":           testReplaces,
		"ReplacesOfAnother":  testReplacesOfAnother,
		"SerialsWithHighBit": testHighBit,
		"RenewalInfoRefuses": testRenewalInfoRefuses,
	})
}

func testRevokeByAccount(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	got := issue(t, ca, client, acmetest.DNS("r1.example.test"), nil)
	resp := post(t, client, client.Directory.RevokeCert, got.revocation(4))
	if succeeded(t, resp, http.StatusOK); len(resp.Body) > 0 {
		t.Errorf("the answer is %q", resp.Body)
	}
	refused(t, post(t, client, client.Directory.RevokeCert, got.revocation(nil)), http.StatusBadRequest, "alreadyRevoked", "already")
	if resp := post(t, client, got.order.Certificate, nil); resp.Status != http.StatusOK {
		t.Errorf("a revoked certificate can't be read: %d", resp.Status)
	}
}

// testRevokeByOtherAccount: an account that has proven all names may revoke.
func testRevokeByOtherAccount(t *testing.T, ca *servertest.CA) {
	owner, other := ca.Client(), ca.Client()
	got := issue(t, ca, owner, acmetest.DNS("r2.example.test", "r3.example.test"), nil)
	refused(t, post(t, other, other.Directory.RevokeCert, got.revocation(nil)), http.StatusForbidden, "unauthorized", "another account")
	readyOrder(t, ca, other, acmetest.DNS("r2.example.test"), nil)
	refused(t, post(t, other, other.Directory.RevokeCert, got.revocation(nil)), http.StatusForbidden, "unauthorized", "proven")
	last := readyOrder(t, ca, other, acmetest.DNS("r3.example.test"), nil)
	succeeded(t, post(t, other, last.Authorizations[0], members{"status": "deactivated"}), http.StatusOK)
	refused(t, post(t, other, other.Directory.RevokeCert, got.revocation(nil)), http.StatusForbidden, "unauthorized", "proven")
	readyOrder(t, ca, other, acmetest.DNS("r3.example.test"), nil)
	succeeded(t, post(t, other, other.Directory.RevokeCert, got.revocation(nil)), http.StatusOK)
}

// testRevokeByKey revokes with the certificate's key, which has no account.
func testRevokeByKey(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	got := issue(t, ca, client, acmetest.DNS("r4.example.test"), nil)
	for name, key := range map[string]*acmetest.Client{
		"another key":       {Key: newKey(t)},
		"the account's key": {Key: client.Key},
	} {
		stranger := &acmetest.Client{HTTP: client.HTTP, Directory: client.Directory, Key: key.Key}
		resp := post(t, stranger, client.Directory.RevokeCert, got.revocation(nil))
		if problem := refused(t, resp, http.StatusForbidden, "unauthorized", "key"); t.Failed() {
			t.Fatalf("%s: %v", name, problem)
		}
	}
	holder := &acmetest.Client{HTTP: client.HTTP, Directory: client.Directory, Key: got.key}
	succeeded(t, post(t, holder, client.Directory.RevokeCert, got.revocation(1)), http.StatusOK)
	refused(t, post(t, holder, client.Directory.RevokeCert, got.revocation(1)), http.StatusBadRequest, "alreadyRevoked", "already")
	refused(t, post(t, holder, client.Directory.NewAccount, members{"onlyReturnExisting": true}), http.StatusBadRequest, "accountDoesNotExist", "key")
}

func testAllowedReasons(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	for _, reason := range []int{0, 1, 3, 4, 5, 9} {
		got := issue(t, ca, client, acmetest.DNS("reasons.example.test"), nil)
		succeeded(t, post(t, client, client.Directory.RevokeCert, got.revocation(reason)), http.StatusOK)
	}
	got := issue(t, ca, client, acmetest.DNS("reasons.example.test"), nil)
	for _, reason := range []int{-1, 2, 6, 7, 8, 10, 11, 1 << 31} {
		refused(t, post(t, client, client.Directory.RevokeCert, got.revocation(reason)), http.StatusBadRequest, "badRevocationReason", "[0 1 3 4 5 9]")
	}
}

// testHighBit: in a certificate identifier the serial is as in DER,
// with a zero octet before a first octet of 0x80 and up. This CA's serials
// begin below, so the form with the zero is another certificate's.
func testHighBit(t *testing.T, ca *servertest.CA) {
	client := ca.Client()
	got := issue(t, ca, client, acmetest.DNS("highbit.example.test"), nil)
	succeeded(t, get(t, client, client.Directory.RenewalInfo+"/"+got.certID()), http.StatusOK)
	key, _, _ := strings.Cut(got.certID(), ".")
	high := append([]byte{0, 0x80}, make([]byte, 18)...)
	refused(t, get(t, client, client.Directory.RenewalInfo+"/"+key+"."+acmetest.Encode(high)), http.StatusNotFound, "malformed", "no such certificate")
	refused(t, get(t, client, client.Directory.RenewalInfo+"/"+key+"."+acmetest.Encode(high[1:])), http.StatusBadRequest, "malformed", "identifier")
	refused(t, get(t, client, client.Directory.RenewalInfo+"/"+key+"."+acmetest.Encode(append([]byte{0}, got.leaf.SerialNumber.Bytes()...))), http.StatusBadRequest, "malformed", "identifier")
}
