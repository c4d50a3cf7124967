package admin

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"chancery/internal/failure"
	"chancery/internal/provisioner"
	"chancery/internal/store"
)

// ProvisionerDeps is what the API knows of provisioners.
type ProvisionerDeps struct {
	// Configured are those in the configuration; nil for none.
	Configured func() map[string]provisioner.Spec
	// Check reports what is wrong with a new one.
	Check func(name string, spec provisioner.Spec) error
	// Changed puts those that are stored in force; nil when no server runs.
	Changed func(ctx context.Context) error
}

// configured are the provisioners of the configuration.
func (d *ProvisionerDeps) configured() map[string]provisioner.Spec {
	if d.Configured == nil {
		return nil
	}
	return d.Configured()
}

// NewProvisioner is the wish for a provisioner, kept beside those in the
// configuration.
type NewProvisioner struct {
	Name string           `json:"name"`
	Spec provisioner.Spec `json:"spec" doc:"As in the configuration, but with PEM or JSON in the place of files."`
}

// Provisioner is one who vouches for tokens.
type Provisioner struct {
	Name    string           `json:"name"`
	Source  string           `json:"source" doc:"configuration or stored."`
	Created *time.Time       `json:"created,omitempty"`
	Spec    provisioner.Spec `json:"spec"`
}

// The sources of provisioners.
const (
	fromConfiguration = "configuration"
	fromStore         = "stored"
)

func (a *api) provisionerRoutes() []route {
	return []route{
		get("/provisioners", Viewer, "List who vouches for tokens",
			nil, page[Provisioner]{}, endpoint(a.listProvisioners)),
		post("/provisioners", Admin, "Make a provisioner, in force at once",
			NewProvisioner{}, Provisioner{}, endpoint(a.createProvisioner)).also(http.StatusConflict),
		newRoute(http.MethodDelete, "/provisioners/{name}", Admin, "Remove a provisioner that is stored; its tokens and renewals are refused at once",
			nil, nil, Provisioner{}, endpoint(a.removeProvisioner)).also(http.StatusConflict),
	}
}

func (a *api) createProvisioner(r *http.Request) (any, error) {
	var wish NewProvisioner
	if err := decode(r, &wish); err != nil {
		return nil, err
	}
	if _, taken := a.Provisioners.configured()[wish.Name]; taken {
		return nil, failure.New(failure.Conflict, "the configuration has a provisioner %s; choose another name", wish.Name)
	}
	if err := a.Provisioners.Check(wish.Name, wish.Spec); err != nil {
		return nil, &failure.Error{Kind: failure.Malformed, Op: "make the provisioner", Err: err, Public: err.Error()}
	}
	spec, err := json.Marshal(wish.Spec)
	if err != nil {
		return nil, failure.Wrap("make the provisioner", err)
	}
	made := store.Provisioner{Name: wish.Name, Type: wish.Spec.Type, Spec: spec, Created: a.Now().UTC()}
	err = a.Store.CreateProvisioner(r.Context(), made)
	if errors.Is(err, store.ErrClaimed) {
		return nil, failure.New(failure.Conflict, "there is a provisioner %s; choose another name, or remove it first", wish.Name)
	}
	if err == nil {
		err = a.provisionersChanged(r.Context())
	}
	if err != nil {
		return nil, failure.Wrap("make the provisioner", err)
	}
	a.Auditor.Audit(r.Context(), "provisioner.created", who(r), slog.String("name", wish.Name), slog.String("spec", string(spec)))
	return viewProvisioner(&made)
}

func (a *api) provisionersChanged(ctx context.Context) error {
	if a.Provisioners.Changed == nil {
		return nil
	}
	return a.Provisioners.Changed(ctx)
}

func viewProvisioner(p *store.Provisioner) (Provisioner, error) {
	view := Provisioner{Name: p.Name, Source: fromStore, Created: &p.Created}
	err := json.Unmarshal(p.Spec, &view.Spec)
	return view, failure.Wrap("read the provisioner "+p.Name, err)
}

func (a *api) listProvisioners(r *http.Request) (any, error) {
	stored, err := a.Store.ListProvisioners(r.Context())
	if err != nil {
		return nil, failure.Wrap("list provisioners", err)
	}
	configured, list := a.Provisioners.configured(), page[Provisioner]{Items: []Provisioner{}}
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		list.Items = append(list.Items, Provisioner{Name: name, Source: fromConfiguration, Spec: configured[name]})
	}
	for i := range stored {
		view, err := viewProvisioner(&stored[i])
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, view)
	}
	return list, nil
}

func (a *api) removeProvisioner(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if _, configured := a.Provisioners.configured()[name]; configured {
		return nil, failure.New(failure.Conflict, "the provisioner %s is in the configuration; take it out there and reload", name)
	}
	stored, err := a.Store.ListProvisioners(r.Context())
	if err != nil {
		return nil, failure.Wrap("remove the provisioner", err)
	}
	i := slices.IndexFunc(stored, func(p store.Provisioner) bool { return p.Name == name })
	if i >= 0 {
		err = a.Store.RemoveProvisioner(r.Context(), name)
	}
	if i < 0 || errors.Is(err, store.ErrNotFound) {
		return nil, hinted(failure.New(failure.NotFound, "there is no provisioner %.60q", name), "\"chancery provisioner list\" shows those there are")
	}
	if err == nil {
		err = a.provisionersChanged(r.Context())
	}
	if err != nil {
		return nil, failure.Wrap("remove the provisioner", err)
	}
	a.Auditor.Audit(r.Context(), "provisioner.removed", who(r), slog.String("name", name))
	return viewProvisioner(&stored[i])
}

// Provisioners lists who vouches for tokens: those of the configuration, then
// those that are stored.
func (c *Client) Provisioners(ctx context.Context) iter.Seq2[Provisioner, error] {
	return pages[Provisioner](ctx, c, "/provisioners", url.Values{}, 0)
}

// CreateProvisioner makes a provisioner.
func (c *Client) CreateProvisioner(ctx context.Context, wish NewProvisioner) (Provisioner, error) {
	return call[Provisioner](ctx, c, http.MethodPost, "/provisioners", wish)
}

// RemoveProvisioner removes one that is stored.
func (c *Client) RemoveProvisioner(ctx context.Context, name string) (Provisioner, error) {
	return call[Provisioner](ctx, c, http.MethodDelete, "/provisioners/"+url.PathEscape(name), nil)
}
