package observe

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/store"
)

type step int

const (
	createAccount step = iota
	readAccount
	setContact
	changeKey
	closeAccount
	listAccounts
	createOrder
	readOrder
	failOrder
	listOrders
	createAuthorization
	readAuthorization
	validAuthorizations
	claimValidation
	recordAttempt
	finishAuthorization
	deactivateAuthorization
	dueValidations
	beginIssuance
	completeIssuance
	abandonIntent
	readCertificate
	listCertificates
	countCertificates
	revoke
	revokeAll
	replacedBy
	replacement
	readService
	listServices
	newPartition
	staleLists
	revoked
	publishList
	readRevocationList
	listIncidents
	listProvisioners
	readAdminToken
	tidy
	stepCount
)

var stepNames = [stepCount]string{
	createAccount: "create_account", readAccount: "account", setContact: "set_contact", changeKey: "change_key",
	closeAccount: "close_account", listAccounts: "list_accounts",
	createOrder: "create_order", readOrder: "order", failOrder: "fail_order", listOrders: "list_orders",
	createAuthorization: "create_authorization", readAuthorization: "authorization",
	validAuthorizations: "valid_authorizations", claimValidation: "claim_validation", recordAttempt: "record_attempt",
	finishAuthorization: "finish_authorization", deactivateAuthorization: "deactivate_authorization",
	dueValidations: "due_validations",
	beginIssuance:  "begin_issuance", completeIssuance: "complete_issuance", abandonIntent: "abandon_intent",
	readCertificate: "certificate", listCertificates: "list_certificates", countCertificates: "count_certificates",
	revoke: "revoke", revokeAll: "revoke_all", replacedBy: "replaced_by", replacement: "replacement",
	readService: "service", listServices: "list_services",
	newPartition: "new_partition", staleLists: "stale_lists", revoked: "revoked", publishList: "publish_list",
	readRevocationList: "revocation_list",
	listIncidents:      "list_incidents", listProvisioners: "list_provisioners", readAdminToken: "admin_token",
	tidy: "tidy",
}

// Store returns s with the duration of its steps measured. Steps that only
// people at a terminal take are passed through.
func Store(s store.Store, m *Metrics) store.Store {
	if m == nil {
		return s
	}
	return &timedStore{Store: s, steps: &m.steps}
}

type timedStore struct {
	store.Store
	steps *[stepCount]prometheus.Observer
}

func (t *timedStore) took(s step, began time.Time) { t.steps[s].Observe(time.Since(began).Seconds()) }

func (t *timedStore) CreateAccount(ctx context.Context, account store.Account) (store.Account, bool, error) {
	defer t.took(createAccount, time.Now())
	return t.Store.CreateAccount(ctx, account)
}

func (t *timedStore) Account(ctx context.Context, id string) (store.Account, error) {
	defer t.took(readAccount, time.Now())
	return t.Store.Account(ctx, id)
}

func (t *timedStore) AccountByKey(ctx context.Context, thumbprint string) (store.Account, error) {
	defer t.took(readAccount, time.Now())
	return t.Store.AccountByKey(ctx, thumbprint)
}

func (t *timedStore) SetContact(ctx context.Context, id string, contact []string) (store.Account, error) {
	defer t.took(setContact, time.Now())
	return t.Store.SetContact(ctx, id, contact)
}

func (t *timedStore) ChangeKey(ctx context.Context, id, oldThumbprint string, key store.AccountKey) (store.Account, error) {
	defer t.took(changeKey, time.Now())
	return t.Store.ChangeKey(ctx, id, oldThumbprint, key)
}

func (t *timedStore) CloseAccount(ctx context.Context, id string, status store.AccountStatus, report *failure.Report) (store.Account, error) {
	defer t.took(closeAccount, time.Now())
	return t.Store.CloseAccount(ctx, id, status, report)
}

func (t *timedStore) ListAccounts(ctx context.Context, query store.AccountQuery) ([]store.Account, error) {
	defer t.took(listAccounts, time.Now())
	return t.Store.ListAccounts(ctx, query)
}

func (t *timedStore) CreateOrder(ctx context.Context, order store.Order, fresh []store.Authorization) (store.Order, bool, error) {
	defer t.took(createOrder, time.Now())
	return t.Store.CreateOrder(ctx, order, fresh)
}

func (t *timedStore) Order(ctx context.Context, id string) (store.Order, error) {
	defer t.took(readOrder, time.Now())
	return t.Store.Order(ctx, id)
}

func (t *timedStore) FailOrder(ctx context.Context, id string, report *failure.Report) error {
	defer t.took(failOrder, time.Now())
	return t.Store.FailOrder(ctx, id, report)
}

func (t *timedStore) ListOrders(ctx context.Context, query store.OrderQuery) ([]store.Order, error) {
	defer t.took(listOrders, time.Now())
	return t.Store.ListOrders(ctx, query)
}

func (t *timedStore) CreateAuthorization(ctx context.Context, authz store.Authorization) error {
	defer t.took(createAuthorization, time.Now())
	return t.Store.CreateAuthorization(ctx, authz)
}

func (t *timedStore) Authorization(ctx context.Context, id string) (store.Authorization, error) {
	defer t.took(readAuthorization, time.Now())
	return t.Store.Authorization(ctx, id)
}

func (t *timedStore) ValidAuthorizations(ctx context.Context, accountID string, names []identifier.Identifier, after time.Time) (map[identifier.Identifier]store.Authorization, error) {
	defer t.took(validAuthorizations, time.Now())
	return t.Store.ValidAuthorizations(ctx, accountID, names, after)
}

func (t *timedStore) ClaimValidation(ctx context.Context, id string, claim store.ValidationClaim) error {
	defer t.took(claimValidation, time.Now())
	return t.Store.ClaimValidation(ctx, id, claim)
}

func (t *timedStore) RecordAttempt(ctx context.Context, id string, attempt store.Attempt, next time.Time) error {
	defer t.took(recordAttempt, time.Now())
	return t.Store.RecordAttempt(ctx, id, attempt, next)
}

func (t *timedStore) FinishAuthorization(ctx context.Context, id string, outcome store.Outcome) error {
	defer t.took(finishAuthorization, time.Now())
	return t.Store.FinishAuthorization(ctx, id, outcome)
}

func (t *timedStore) DeactivateAuthorization(ctx context.Context, id string) (store.Authorization, error) {
	defer t.took(deactivateAuthorization, time.Now())
	return t.Store.DeactivateAuthorization(ctx, id)
}

func (t *timedStore) DueValidations(ctx context.Context, now, lease time.Time, limit int) ([]store.Authorization, error) {
	defer t.took(dueValidations, time.Now())
	return t.Store.DueValidations(ctx, now, lease, limit)
}

func (t *timedStore) BeginIssuance(ctx context.Context, intent store.Intent) error {
	defer t.took(beginIssuance, time.Now())
	return t.Store.BeginIssuance(ctx, intent)
}

func (t *timedStore) CompleteIssuance(ctx context.Context, certificate store.Certificate) error {
	defer t.took(completeIssuance, time.Now())
	return t.Store.CompleteIssuance(ctx, certificate)
}

func (t *timedStore) AbandonIntent(ctx context.Context, key store.CertificateKey, now time.Time, next *store.Intent, report *failure.Report) error {
	defer t.took(abandonIntent, time.Now())
	return t.Store.AbandonIntent(ctx, key, now, next, report)
}

func (t *timedStore) Certificate(ctx context.Context, key store.CertificateKey) (store.Certificate, error) {
	defer t.took(readCertificate, time.Now())
	return t.Store.Certificate(ctx, key)
}

func (t *timedStore) ListCertificates(ctx context.Context, query store.CertificateQuery) ([]store.Certificate, error) {
	defer t.took(listCertificates, time.Now())
	return t.Store.ListCertificates(ctx, query)
}

func (t *timedStore) CountCertificates(ctx context.Context, issuerID, profile string, now time.Time) (store.CertificateCounts, error) {
	defer t.took(countCertificates, time.Now())
	return t.Store.CountCertificates(ctx, issuerID, profile, now)
}

func (t *timedStore) Revoke(ctx context.Context, key store.CertificateKey, revocation store.Revocation) error {
	defer t.took(revoke, time.Now())
	return t.Store.Revoke(ctx, key, revocation)
}

func (t *timedStore) RevokeAll(ctx context.Context, keys []store.CertificateKey, revocation store.Revocation) ([]store.CertificateKey, error) {
	defer t.took(revokeAll, time.Now())
	return t.Store.RevokeAll(ctx, keys, revocation)
}

func (t *timedStore) ReplacedBy(ctx context.Context, key store.CertificateKey) (store.CertificateKey, error) {
	defer t.took(replacedBy, time.Now())
	return t.Store.ReplacedBy(ctx, key)
}

func (t *timedStore) Replacement(ctx context.Context, key store.CertificateKey, now time.Time) (string, error) {
	defer t.took(replacement, time.Now())
	return t.Store.Replacement(ctx, key, now)
}

func (t *timedStore) Service(ctx context.Context, id string) (store.Service, error) {
	defer t.took(readService, time.Now())
	return t.Store.Service(ctx, id)
}

func (t *timedStore) ListServices(ctx context.Context, query store.ServiceQuery) ([]store.Service, error) {
	defer t.took(listServices, time.Now())
	return t.Store.ListServices(ctx, query)
}

func (t *timedStore) NewPartition(ctx context.Context, issuerID string, now time.Time) (store.Partition, error) {
	defer t.took(newPartition, time.Now())
	return t.Store.NewPartition(ctx, issuerID, now)
}

func (t *timedStore) StaleLists(ctx context.Context, issuerIDs []string, nextUpdateBefore, nextUpdateAfter time.Time, limit int) ([]store.StaleList, error) {
	defer t.took(staleLists, time.Now())
	return t.Store.StaleLists(ctx, issuerIDs, nextUpdateBefore, nextUpdateAfter, limit)
}

func (t *timedStore) Revoked(ctx context.Context, issuerID string, partition int64, expiredAfter time.Time, each func(store.RevokedEntry) error) error {
	defer t.took(revoked, time.Now())
	return t.Store.Revoked(ctx, issuerID, partition, expiredAfter, each)
}

func (t *timedStore) PublishList(ctx context.Context, list store.RevocationList, basis int64, fence store.Fence) error {
	defer t.took(publishList, time.Now())
	return t.Store.PublishList(ctx, list, basis, fence)
}

func (t *timedStore) RevocationList(ctx context.Context, issuerID string, partition int64) (store.RevocationList, error) {
	defer t.took(readRevocationList, time.Now())
	return t.Store.RevocationList(ctx, issuerID, partition)
}

func (t *timedStore) ListIncidents(ctx context.Context) ([]store.Incident, error) {
	defer t.took(listIncidents, time.Now())
	return t.Store.ListIncidents(ctx)
}

func (t *timedStore) ListProvisioners(ctx context.Context) ([]store.Provisioner, error) {
	defer t.took(listProvisioners, time.Now())
	return t.Store.ListProvisioners(ctx)
}

func (t *timedStore) AdminToken(ctx context.Context, id string) (store.AdminToken, error) {
	defer t.took(readAdminToken, time.Now())
	return t.Store.AdminToken(ctx, id)
}

func (t *timedStore) Tidy(ctx context.Context, cutoff store.TidyCutoff, limit int) (int, error) {
	defer t.took(tidy, time.Now())
	return t.Store.Tidy(ctx, cutoff, limit)
}
