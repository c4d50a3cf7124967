package admin

import (
	"net/http"
	"slices"
	"strings"

	"chancery/internal/cluster"
	"chancery/internal/inventory"
	"chancery/internal/openapi"
)

// Prefix is where the API lies, on admin.sock and on the HTTPS listener.
const Prefix = "/api/v1/admin"

// Routes lists all operations, for those who describe the API.
func Routes() []openapi.Route {
	table := (&api{}).routes()
	list := make([]openapi.Route, len(table))
	for i := range table {
		list[i] = table[i].Route
	}
	return list
}

// paging are the parameters of a listing.
type paging struct {
	After string `json:"after,omitempty"` // the "next" of the page before
	Limit int    `json:"limit,omitempty"` // at most so many in a page: 500 when left out, 5000 at most
}

// The parameters of listings.
type (
	certificatePaging struct {
		inventory.Query
		paging
	}
	servicePaging struct {
		inventory.ServiceQuery
		paging
	}
	orderPaging struct {
		OrderQuery
		paging
	}
	accountPaging struct {
		AccountQuery
		paging
	}
	exportFormat struct {
		inventory.Query
		Format string `json:"format,omitempty"` // json, jsonl or csv
	}
	ofAccount struct {
		Account string `json:"account,omitempty"`
	}
)

// route is an operation and what serves it. Its Role is the least that may use
// it.
type route struct {
	openapi.Route
	serve http.Handler
}

func get(path string, role Role, summary string, query, result any, serve http.Handler) route {
	return newRoute(http.MethodGet, path, role, summary, query, nil, result, serve)
}

func post(path string, role Role, summary string, body, result any, serve http.Handler) route {
	return newRoute(http.MethodPost, path, role, summary, nil, body, result, serve)
}

// newRoute makes a route that can answer what all can, and what follows from
// what is sent to it.
func newRoute(method, path string, role Role, summary string, query, body, result any, serve http.Handler) route {
	made := route{openapi.Route{
		Method: method, Path: Prefix + path, Summary: summary, Query: query, Request: body, Response: result,
		Problem: Error{}, Role: string(role),
	}, serve}.also(
		http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusServiceUnavailable)
	if strings.Contains(path, "{") {
		made = made.also(http.StatusNotFound)
	}
	switch {
	case body != nil:
		made = made.also(http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge)
	case query != nil:
		made = made.also(http.StatusBadRequest)
	}
	return made
}

// also is the route with further statuses that it can answer.
func (r route) also(statuses ...int) route {
	r.Errors = slices.Clone(r.Errors)
	for _, status := range statuses {
		r.Errors = append(r.Errors, openapi.Problem{Status: status, Type: typePrefix + typeOf(status)})
	}
	return r
}

// routes are all that the API serves; there is no other way in.
func (a *api) routes() []route {
	return slices.Concat(a.inventoryRoutes(), a.acmeRoutes(), a.serverRoutes(), a.tokenRoutes(), a.provisionerRoutes())
}

func (a *api) inventoryRoutes() []route {
	return []route{
		get("/certificates", Viewer, "List certificates, newest first",
			certificatePaging{}, page[Certificate]{}, endpoint(a.listCertificates)).also(http.StatusNotFound, http.StatusConflict),
		get("/certificates/count", Viewer, "Count certificates by their status",
			inventory.Query{}, CertificateCounts{}, endpoint(a.countCertificates)).also(http.StatusNotFound, http.StatusConflict),
		get("/certificates/export", Viewer, "Send all certificates that a query selects",
			exportFormat{}, []byte(nil), http.HandlerFunc(a.exportCertificates)).also(http.StatusNotFound, http.StatusConflict),
		get("/certificates/{serial}", Viewer, "Show a certificate, by serial number or SHA-256 fingerprint",
			nil, Certificate{}, endpoint(a.showCertificate)).also(http.StatusBadRequest, http.StatusConflict),
		post("/certificates/{serial}/revoke", Operator, "Revoke a certificate",
			revocation{}, Certificate{}, endpoint(a.revokeCertificate)).also(http.StatusConflict),
		post("/certificates/revoke", Operator, "Revoke all certificates that a query selects, or show which",
			BulkRevocation{}, BulkRevoked{}, http.HandlerFunc(a.revokeCertificates)).also(http.StatusNotFound, http.StatusConflict),
		get("/services", Viewer, "List services: the certificates of the same names, one after the other",
			servicePaging{}, page[Service]{}, endpoint(a.listServices)),
		get("/services/{id}", Viewer, "Show a service, by id or by one of its names",
			nil, Service{}, endpoint(a.showService)).also(http.StatusConflict),
		get("/issuers", Viewer, "List what signs, and what has signed",
			nil, page[Issuer]{}, endpoint(a.listIssuers)),
		get("/incidents", Viewer, "List incidents, newest first",
			nil, page[Incident]{}, endpoint(a.listIncidents)),
		post("/incidents", Operator, "Have the clients of certificates renew them early",
			NewIncident{}, Incident{}, endpoint(a.openIncident)).also(http.StatusNotFound, http.StatusConflict),
		get("/incidents/{id}", Viewer, "Show an incident, and how many certificates have been renewed",
			nil, Incident{}, endpoint(a.showIncident)),
		get("/incidents/{id}/remaining", Viewer, "List the certificates of an incident that have not been renewed",
			paging{}, page[Certificate]{}, endpoint(a.listRemaining)),
		post("/incidents/{id}/close", Operator, "Close an incident",
			nil, Incident{}, endpoint(a.closeIncident)).also(http.StatusConflict),
	}
}

func (a *api) acmeRoutes() []route {
	return []route{
		get("/orders", Viewer, "List ACME orders, newest first",
			orderPaging{}, page[Order]{}, endpoint(a.listOrders)),
		get("/orders/{id}", Viewer, "Show an order, with the transcript of each validation",
			nil, Order{}, endpoint(a.showOrder)),
		get("/accounts", Viewer, "List ACME accounts, newest first",
			accountPaging{}, page[Account]{}, endpoint(a.listAccounts)),
		get("/accounts/{id}", Viewer, "Show an account",
			nil, Account{}, endpoint(a.showAccount)),
		post("/accounts/{id}/deactivate", Operator, "Close an account for good",
			nil, Account{}, endpoint(a.closeAccount)).also(http.StatusConflict),
		get("/eab", Viewer, "List the keys for external account binding, without their secrets",
			BindingQuery{}, page[Binding]{}, endpoint(a.listBindings)),
		post("/eab", Operator, "Make a key; this answer is the only one with its secret",
			NewBinding{}, Binding{}, endpoint(a.createBinding)),
		get("/eab/{kid}", Viewer, "Show a key and what it grants",
			nil, Binding{}, endpoint(a.showBinding)),
		newRoute(http.MethodPatch, "/eab/{kid}", Operator, "Change a key and what it grants",
			nil, BindingChange{}, Binding{}, endpoint(a.updateBinding)).also(http.StatusConflict),
		post("/eab/{kid}/revoke", Operator, "End a key",
			nil, Binding{}, endpoint(a.revokeBinding)).also(http.StatusConflict),
		post("/policy/test", Viewer, "Ask whether names would be issued, and by which rule",
			PolicyQuestion{}, PolicyAnswer{}, endpoint(a.testPolicy)).also(http.StatusNotFound),
		get("/limits", Viewer, "Show the limits in force, or how much of them an account has used",
			ofAccount{}, Limits{}, endpoint(a.showLimits)).also(http.StatusNotFound),
	}
}

func (a *api) serverRoutes() []route {
	return []route{
		get("/status", Viewer, "Say how the server does",
			nil, Status{}, endpoint(a.status)),
		get("/cluster", Viewer, "Show the nodes that share the database, their jobs, and what is wrong with them",
			nil, cluster.Status{}, endpoint(a.cluster)),
		post("/reload", Admin, "Read the configuration again",
			nil, Reloaded{}, endpoint(a.reload)).also(http.StatusBadRequest),
		get("/backup", Admin, "Send a backup of the whole CA, with its keys",
			nil, []byte(nil), http.HandlerFunc(a.backup)),
	}
}

func (a *api) tokenRoutes() []route {
	return []route{
		get("/tokens", Admin, "List the tokens for this API, without their secrets",
			nil, page[Token]{}, endpoint(a.listTokens)),
		post("/tokens", Admin, "Make a token; this answer is the only one with its secret",
			NewToken{}, Token{}, endpoint(a.createToken)),
		post("/tokens/{id}/revoke", Admin, "End a token",
			nil, Token{}, endpoint(a.revokeToken)).also(http.StatusConflict),
	}
}
