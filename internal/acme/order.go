package acme

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"chancery/internal/failure"
	"chancery/internal/identifier"
	"chancery/internal/policy"
	"chancery/internal/profile"
	"chancery/internal/serial"
	"chancery/internal/store"
)

// orderBody is an order object (RFC 8555 §7.1.3, RFC 9773 §5, profiles §4).
type orderBody struct {
	Status         store.OrderStatus       `json:"status"`
	Expires        string                  `json:"expires"`
	Identifiers    []identifier.Identifier `json:"identifiers"`
	Profile        string                  `json:"profile"`
	NotBefore      string                  `json:"notBefore,omitempty"`
	NotAfter       string                  `json:"notAfter,omitempty"`
	Replaces       string                  `json:"replaces,omitempty"`
	Error          *Problem                `json:"error,omitempty"`
	Authorizations []string                `json:"authorizations"`
	Finalize       string                  `json:"finalize"`
	Certificate    string                  `json:"certificate,omitempty"`
}

// showOrder makes the answer that carries an order. Location is always there:
// some clients look for it after finalize, too.
func (d *Door) showOrder(ctx context.Context, r *request, order *store.Order) (*response, error) {
	status := order.Status(d.deps.Now())
	body := orderBody{
		Status:         status,
		Expires:        rfc3339(order.Expires),
		Identifiers:    order.Identifiers,
		Profile:        order.Profile,
		NotBefore:      rfc3339(order.NotBefore),
		NotAfter:       rfc3339(order.NotAfter),
		Authorizations: make([]string, 0, len(order.AuthorizationIDs)),
		Finalize:       r.url("order", order.ID, "finalize"),
	}
	for _, id := range order.AuthorizationIDs {
		body.Authorizations = append(body.Authorizations, r.url("authz", id))
	}
	if order.Replaces != nil {
		certID, err := d.certIDOf(ctx, *order.Replaces)
		if err != nil {
			return nil, err
		}
		body.Replaces = certID
	}
	if order.Certificate != nil {
		body.Certificate = r.url("cert", order.Certificate.IssuerID, order.Certificate.Serial.String())
	}
	if status == store.OrderInvalid {
		body.Error = whyInvalid(order, d.deps.Now())
	}
	d.annotate(ctx, "order", order.ID)
	resp := answer(body).set("Location", r.url("order", order.ID))
	if status == store.OrderProcessing {
		resp.set("Retry-After", seconds(time.Second))
	}
	return resp, nil
}

// whyInvalid is the error of an invalid order: its own, or that of the
// authorizations that failed.
func whyInvalid(order *store.Order, now time.Time) *Problem {
	if order.Failure != nil {
		return problemOfReport(order.Failure)
	}
	var parts []failure.Part
	for i := range order.Authorizations {
		authz := &order.Authorizations[i]
		switch status := authz.Status(now); {
		case status == store.AuthorizationValid, status == store.AuthorizationPending:
		case authz.Failure != nil:
			parts = append(parts, failure.Part{Identifier: authz.Name(), Kind: authz.Failure.Kind, Public: authz.Failure.Text})
		default:
			parts = append(parts, failure.Part{Identifier: authz.Name(), Kind: failure.Unauthorized, Public: "its authorization is " + string(status)})
		}
	}
	if len(parts) == 0 {
		return newProblem(malformed, "the order expired at %s", rfc3339(order.Expires))
	}
	return notProven(parts)
}

// notProven names every identifier in a subproblem and none at the top level
// (RFC 8555 §6.7.1), where people look for the reason.
func notProven(parts []failure.Part) *Problem {
	first := parts[0]
	text := first.Public
	if !strings.Contains(text, first.Identifier.Value) {
		text = first.Identifier.Value + ": " + text
	}
	if len(parts) > 1 {
		text = fmt.Sprintf("%d identifiers were not proven; the first: %s", len(parts), text)
	}
	problem := problemOfReport(&failure.Report{Kind: first.Kind, Text: text, Parts: parts})
	if len(parts) > 1 {
		problem.Type, problem.Status = typePrefix+string(compound), statusOf(compound)
	}
	return problem
}

// rfc3339 is a time as ACME writes it; "" for none.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

type newOrderRequest struct {
	Identifiers []wantedIdentifier `json:"identifiers"`
	NotBefore   string             `json:"notBefore"`
	NotAfter    string             `json:"notAfter"`
	Replaces    string             `json:"replaces"`
	Profile     string             `json:"profile"`
}

// wantedIdentifier is an identifier as requests have it, with the members of
// RFC 9444.
type wantedIdentifier struct {
	identifier.Identifier
	AncestorDomain       string `json:"ancestorDomain"`       // of new orders
	SubdomainAuthAllowed bool   `json:"subdomainAuthAllowed"` // of new authorizations
}

// newOrder serves RFC 8555 §7.4.
func (d *Door) newOrder(ctx context.Context, r *request) (*response, error) {
	var wanted newOrderRequest
	if err := r.decode(&wanted); err != nil {
		return nil, err
	}
	order, err := d.draftOrder(ctx, r, wanted)
	if err != nil {
		return nil, err
	}
	given, err := d.grantOf(ctx, r)
	if err != nil {
		return nil, err
	}
	fresh, err := d.authorizationsFor(ctx, r, order, given, wanted.Identifiers)
	if err != nil {
		return nil, err
	}
	taken, err := d.countOrder(ctx, order, given, fresh)
	if err != nil {
		return nil, err
	}
	stored, created, err := d.deps.Store.CreateOrder(ctx, *order, fresh)
	if err != nil || !created {
		taken.Refund(ctx)
	}
	if errors.Is(err, store.ErrNotFound) { // a reused proof was tidied away meanwhile
		return nil, unavailable(time.Second, "an authorization ended just now; try again").because(err)
	}
	if err != nil {
		return nil, failure.Wrap("create order", err)
	}
	if created {
		d.audit(ctx, "order.created", r.account.ID, slog.String("order", stored.ID), slog.Any("names", stored.Identifiers))
	}
	resp, err := d.showOrder(ctx, r, &stored)
	if err != nil {
		return nil, err
	}
	return resp.created(r.url("order", stored.ID)), nil
}

// draftOrder checks all that can be refused before anybody proves anything.
func (d *Door) draftOrder(ctx context.Context, r *request, wanted newOrderRequest) (*store.Order, error) {
	names, err := r.parseIdentifiers(wanted.Identifiers, r.MaxIdentifiers)
	if err != nil {
		return nil, err
	}
	now := d.deps.Now()
	order := &store.Order{
		AccountID: r.account.ID, Identifiers: names, Profile: wanted.Profile,
		Created: now, Expires: now.Add(r.OrderLifetime),
	}
	if order.ID, err = d.newID(); err != nil {
		return nil, err
	}
	if order.Profile == "" {
		order.Profile = r.DefaultProfile
		if name := r.PathValue("profile"); name != "" {
			order.Profile = name
		}
	}
	if order.NotBefore, err = parseTime("notBefore", wanted.NotBefore); err != nil {
		return nil, err
	}
	if order.NotAfter, err = parseTime("notAfter", wanted.NotAfter); err != nil {
		return nil, err
	}
	if err := d.deps.Authority.CheckValidity(order.Profile, profile.Wishes{NotBefore: order.NotBefore, NotAfter: order.NotAfter}); err != nil {
		return nil, err
	}
	if order.Replaces, err = d.replaced(ctx, r, wanted.Replaces, names); err != nil {
		return nil, err
	}
	return order, d.allowed(ctx, order)
}

// allowed asks policy about the order. Who was refused what by which rule is
// part of the audit trail.
func (d *Door) allowed(ctx context.Context, order *store.Order) error {
	decision, err := d.deps.Authority.Decide(ctx, policy.Question{
		Door: "acme", AccountID: order.AccountID, Profile: order.Profile, Identifiers: order.Identifiers,
	})
	var rules []string
	for _, verdict := range decision.Names {
		if err != nil && !verdict.Allowed && !slices.Contains(rules, verdict.Rule) {
			rules = append(rules, verdict.Rule)
		}
	}
	if len(rules) > 0 {
		d.audit(ctx, "order.refused", order.AccountID, slog.Any("names", order.Identifiers), slog.String("rule", strings.Join(rules, "; ")))
	}
	return err
}

func parseTime(member, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, newProblem(malformed, "%q is no time in %q; write it like 2026-01-02T15:04:05Z", text[:min(len(text), 60)], member)
	}
	return t.UTC(), nil
}

// parseIdentifiers brings names to their normal form. Each bad one gets its
// own subproblem (RFC 8555 §6.7.1).
func (r *request) parseIdentifiers(given []wantedIdentifier, most int) ([]identifier.Identifier, error) {
	switch {
	case len(given) == 0:
		return nil, newProblem(malformed, "the order has no identifiers")
	case len(given) > most:
		return nil, newProblem(malformed, "the order has %d identifiers; at most %d are allowed", len(given), most)
	}
	parse := identifier.Parse
	if r.Underscores {
		parse = identifier.ParseLoose
	}
	names := make([]identifier.Identifier, 0, len(given))
	var bad []Problem
	for i := range given {
		id := given[i].Identifier
		name, err := parse(id.Type, id.Value)
		switch {
		case errors.Is(err, identifier.ErrUnsupported), id.Type == identifier.Email, id.Type == identifier.URI: // no challenge proves these
			bad = append(bad, subproblem(unsupportedIdentifier, id, "unsupported identifier type %.40q: here \"dns\" and \"ip\" are served", id.Type))
		case err != nil:
			bad = append(bad, subproblem(malformed, id, "%s", err))
		case slices.Contains(names, name):
			bad = append(bad, subproblem(malformed, id, "the identifier is there twice"))
		case given[i].AncestorDomain != "" && !isAbove(given[i].AncestorDomain, name):
			bad = append(bad, subproblem(malformed, id, "its ancestorDomain %.100q is no domain above it", given[i].AncestorDomain))
		default:
			names = append(names, name)
		}
	}
	return names, together(bad)
}

func subproblem(typ errorType, id identifier.Identifier, format string, args ...any) Problem {
	if len(id.Value) > 300 {
		id.Value = id.Value[:300]
	}
	id.Type = id.Type[:min(len(id.Type), 40)]
	problem := newProblem(typ, format, args...)
	problem.Status, problem.Identifier = 0, &id
	return *problem
}

// together makes one problem of those of single identifiers; nil of none.
func together(bad []Problem) error {
	if len(bad) == 0 {
		return nil
	}
	typ := strings.TrimPrefix(bad[0].Type, typePrefix)
	for _, problem := range bad {
		if problem.Type != bad[0].Type {
			typ = string(compound)
		}
	}
	problem := newProblem(errorType(typ), "%q: %s", bad[0].Identifier.Value, bad[0].Detail)
	if len(bad) > 1 {
		problem.Detail = fmt.Sprintf("%d identifiers are refused; the first, %s", len(bad), problem.Detail)
	}
	problem.Subproblems = bad
	return problem
}

// ownOrder returns the account's order of that id. Those of others are
// answered as if they were not there.
func (d *Door) ownOrder(ctx context.Context, r *request) (*store.Order, error) {
	order, err := d.deps.Store.Order(ctx, r.PathValue("id"))
	if err != nil {
		return nil, failure.Wrap("read order", err)
	}
	if order.AccountID != r.account.ID {
		return nil, failure.Wrap("read order", store.ErrNotFound)
	}
	return &order, nil
}

func (d *Door) readOrder(ctx context.Context, r *request) (*response, error) {
	order, err := d.ownOrder(ctx, r)
	if err != nil {
		return nil, err
	}
	return d.showOrder(ctx, r, order)
}

const ordersPerPage = 100

// listOrders serves RFC 8555 §7.1.2.1. Invalid orders are left out, so a page
// can be shorter than others.
func (d *Door) listOrders(ctx context.Context, r *request) (*response, error) {
	if r.PathValue("id") != r.account.ID {
		return nil, newProblem(unauthorized, "the request is signed by another account than it is about")
	}
	orders, err := d.deps.Store.ListOrders(ctx, store.OrderQuery{
		AccountID: r.account.ID, Before: r.URL.Query().Get("before"), Limit: ordersPerPage,
	})
	if err != nil {
		return nil, failure.Wrap("list orders", err)
	}
	urls, now := make([]string, 0, len(orders)), d.deps.Now()
	for i := range orders {
		if orders[i].Status(now) != store.OrderInvalid {
			urls = append(urls, r.url("order", orders[i].ID))
		}
	}
	resp := answer(map[string][]string{"orders": urls})
	if len(orders) == ordersPerPage {
		resp.link(r.url("account", r.account.ID, "orders?before="+orders[len(orders)-1].ID), "next")
	}
	return resp, nil
}

// certIDOf is a certificate's identifier for renewal information (RFC 9773 §4.1).
func (d *Door) certIDOf(ctx context.Context, key store.CertificateKey) (string, error) {
	issuer, err := d.issuers.get(ctx, key.IssuerID)
	if err != nil {
		return "", failure.Wrap("read issuer", err)
	}
	return formatCertID(issuer.SubjectKeyID, key.Serial), nil
}

// formatCertID joins the key identifier and the serial as a DER INTEGER has it.
func formatCertID(keyID []byte, number serial.Number) string {
	content := number.Big().Bytes()
	if len(content) == 0 || content[0] >= 0x80 {
		content = append([]byte{0}, content...)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode(keyID) + "." + encode(content)
}
