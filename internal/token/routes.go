package token

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	strict "github.com/go-jose/go-jose/v4/json"

	"chancery/internal/openapi"
)

const (
	prefix  = "/api/v1/"
	maxBody = 256 << 10 // a token of the greatest length, and a CSR for 100 long names, fit
)

// handler serves one route. Its result is written as JSON.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// route is a route and what serves it.
type route struct {
	openapi.Route
	serve handler
}

// table is all the door serves.
func (d *Door) table() []route {
	and := func(list []string, more ...string) []string { return slices.Concat(list, more) }
	ours := []string{serverInternal, unavailable} // of all that asks the store
	sent := and(ours, malformed, requestTimeout, tooLarge, unauthorized)
	issued := and(sent, badCSR, invalidProfile, rateLimited, rejectedIdentifier, unsupportedIdentifier)
	return []route{
		{openapi.Route{
			Method: http.MethodPost, Path: prefix + "sign", Summary: "Get a certificate by a token",
			Request: SignRequest{}, Response: Certificate{}, Status: http.StatusCreated, Errors: problems(and(issued, tokenUsed)...),
		}, d.sign},
		{openapi.Route{
			Method: http.MethodPost, Path: prefix + "renew", Summary: "Renew the certificate of the connection, with the same names and profile",
			Request: RenewRequest{}, Response: Certificate{}, Status: http.StatusCreated, Errors: problems(issued...), Role: openapi.Client,
		}, d.renew},
		{openapi.Route{
			Method: http.MethodPost, Path: prefix + "revoke", Summary: "Revoke a certificate, by itself or by a token of the provisioner that it was issued for",
			Request: RevokeRequest{}, Response: Revoked{}, Errors: problems(and(sent, alreadyRevoked, badRevocationReason, notFound)...),
		}, d.revoke},
		{openapi.Route{Method: http.MethodGet, Path: prefix + "roots", Summary: "The root certificates", Response: Roots{}, Errors: problems(ours...)}, d.roots},
		{openapi.Route{Method: http.MethodGet, Path: prefix + "profiles", Summary: "The profiles that tokens can have", Response: Profiles{}}, d.profiles},
		{openapi.Route{Method: http.MethodGet, Path: prefix + "provisioners", Summary: "Who vouches for tokens", Response: Provisioners{}}, d.provisioners},
		{openapi.Route{
			Method: http.MethodGet, Path: prefix + "renewal/{id}", Summary: "When a certificate should be renewed, by its serial number or its identifier of RFC 9773",
			Response: Renewal{}, Errors: problems(and(ours, malformed, notFound)...),
		}, d.renewal},
		{openapi.Route{Method: http.MethodGet, Path: prefix + "openapi.json", Summary: "This description", Response: map[string]any{}}, d.document},
	}
}

// newRoutes serves the table. Other methods on its paths are told which there
// are.
func (d *Door) newRoutes() http.Handler {
	mux, methods := http.NewServeMux(), map[string][]string{}
	for _, route := range d.table() {
		mux.Handle(route.Method+" "+route.Path, d.adapt(route))
		methods[route.Path] = append(methods[route.Path], route.Method)
	}
	for path, allowed := range methods {
		if slices.Contains(allowed, http.MethodGet) {
			allowed = append(allowed, http.MethodHead)
		}
		mux.Handle(path, d.adapt(route{openapi.Route{Path: path}, func(w http.ResponseWriter, r *http.Request) (any, error) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return nil, newProblem(methodNotAllowed, fmt.Sprintf("%.20s is not served here; use %s", r.Method, strings.Join(allowed, " or ")))
		}}))
	}
	mux.Handle(prefix, d.adapt(route{openapi.Route{Path: prefix + "unknown"}, func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return nil, newProblem(notFound, fmt.Sprintf("there is no resource %.100q; %sopenapi.json describes those there are", r.URL.Path, prefix))
	}}))
	return mux
}

// adapt makes an http.Handler of a route: it writes what that returns.
func (d *Door) adapt(route route) http.HandlerFunc {
	resource := "api/" + strings.TrimPrefix(route.Path, prefix)
	return func(w http.ResponseWriter, r *http.Request) {
		d.deps.Annotate(r.Context(), "resource", resource)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		body, err := route.answer(w, r)
		if err != nil {
			d.writeProblem(w, r, problemOf(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(max(route.Status, http.StatusOK))
		_, _ = w.Write(body) //nolint:gosec // JSON, and nobody may take it for anything else; on an error the client is gone
	}
}

// answer serves a request. What browsers send for other sites' pages is
// refused, for they may show a client certificate that nobody meant to show.
func (r *route) answer(w http.ResponseWriter, request *http.Request) ([]byte, error) {
	if err := http.NewCrossOriginProtection().Check(request); err != nil {
		return nil, newProblem(unauthorized, "this is a request of another site's page, which is not answered").because(err)
	}
	result, err := r.serve(w, request)
	if err != nil {
		return nil, err
	}
	return encode(result)
}

func encode(result any) ([]byte, error) {
	if text, ok := result.(json.RawMessage); ok {
		return text, nil
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(result)
	return buffer.Bytes(), err
}

// decode reads a request's body: one JSON object, without members that are not
// known, so that what was misspelled is not passed over, and none twice, for
// readers disagree on which of the two counts.
func decode(r *http.Request, value any) error {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = unmarshal(body, value)
	}
	switch _, large := errors.AsType[*http.MaxBytesError](err); {
	case large:
		return newProblem(tooLarge, fmt.Sprintf("the request has more than %d octets", maxBody)).because(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(requestTimeout, "the request's body took too long to arrive; send it again").because(err)
	case errors.Is(err, io.EOF):
		return newProblem(malformed, "the request has no body; a JSON object is expected")
	case err != nil:
		return newProblem(malformed, fmt.Sprintf("the request's body can't be read: %.200v", err)).because(err)
	}
	return nil
}

func unmarshal(body []byte, value any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	var once map[string]any
	if strict.Unmarshal(body, &once) != nil {
		return errors.New("a member is not as expected, or one is there twice")
	}
	return nil
}

// describe makes the OpenAPI description of the door and the further routes.
func (d *Door) describe(server string) ([]byte, error) {
	var routes []openapi.Route
	for _, route := range d.table() {
		routes = append(routes, route.Route)
	}
	return openapi.Document(openapi.API{
		Title: "Chancery", Version: d.deps.Version, Server: server,
		Description: "Certificates by tokens, and the administration of a Chancery certificate authority. " +
			"Methods and paths that are not listed are answered with 405 and 404, and a problem document.",
		Problem: Problem{},
	}, append(routes, d.deps.Routes...))
}

func (d *Door) document(http.ResponseWriter, *http.Request) (any, error) {
	text, err := d.config.Load().document()
	return json.RawMessage(text), err
}

// issuerOf is the issuer of that id.
func (d *Door) issuerOf(ctx context.Context, id string) (chain [][]byte, err error) {
	issuers, err := d.deps.Store.Issuers(ctx)
	if err != nil {
		return nil, err
	}
	for i := range issuers {
		if issuers[i].ID == id {
			return issuers[i].Chain, nil
		}
	}
	return nil, errors.New("couldn't find the certificate's issuer")
}
