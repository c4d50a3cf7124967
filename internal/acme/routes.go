package acme

import (
	"context"
	"net/http"
)

// newRoutes names every resource.
func (d *Door) newRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(prefix, d.adapt("unknown", d.unknown))
	for pattern, serve := range map[string]handler{
		"directory":                     d.anyRead(d.directory),
		"p/{profile}/directory":         d.anyRead(d.directory),
		"p/{profile}/new-order":         d.byAccount(d.newOrder),
		"new-nonce":                     d.anyRead(d.newNonce),
		"new-account":                   d.byKey(d.newAccount),
		"new-order":                     d.byAccount(d.newOrder),
		"new-authz":                     d.byAccount(d.newAuthorization),
		"revoke-cert":                   d.revokeCertificate,
		"key-change":                    d.byAccount(d.changeKey),
		"account/{id}":                  d.byAccount(d.updateAccount),
		"account/{id}/orders":           d.byAccount(reading(d.listOrders)),
		"order/{id}":                    d.byAccount(reading(d.readOrder)),
		"order/{id}/finalize":           d.byAccount(d.finalize),
		"authz/{id}":                    d.byAccount(d.updateAuthorization),
		"challenge/{id}/{method}":       d.byAccount(d.answerChallenge),
		"cert/{issuer}/{serial}":        d.byAccount(reading(d.readCertificate)),
		"cert/{issuer}/{serial}/{form}": d.byAccount(reading(d.readCertificate)),
		"renewal-info/{certid}":         get(d.renewalInfo),
		"profile/{profile}":             get(d.describeProfile),
	} {
		mux.Handle(prefix+pattern, d.adapt(pattern, serve))
	}
	return mux
}

func (d *Door) unknown(_ context.Context, r *request) (*response, error) {
	return nil, notFound("there is no resource %.100q; the directory is at %s", r.URL.Path, r.url("directory"))
}

// anyRead serves GET, HEAD and POST-as-GET (RFC 8555 §6.3).
func (d *Door) anyRead(next handler) handler {
	read, post := get(next), d.byAccount(reading(next))
	return func(ctx context.Context, r *request) (*response, error) {
		if r.Method == http.MethodPost {
			return post(ctx, r)
		}
		return read(ctx, r)
	}
}
