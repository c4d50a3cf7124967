package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"chancery/internal/admin"
	"chancery/internal/config"
	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/observe"
	"chancery/internal/provisioner"
	"chancery/internal/token"
)

// tokenDoor is the token door and what it is made of.
type tokenDoor struct {
	*token.Door
	set       *provisioner.Set // in force; Open's, and then guarded by the server's mu
	audiences atomic.Pointer[[]string]
}

// openTokenDoor builds the token door.
func (s *Server) openTokenDoor(ctx context.Context) error {
	set, err := s.loadProvisioners(ctx, s.config, nil)
	if err != nil {
		return err
	}
	s.tokens.set = set
	s.setAudiences(s.config)
	s.tokens.Door = token.New(token.Deps{
		Config:            s.tokenConfig(s.config, set),
		Store:             s.store,
		Authority:         s.authority,
		Windows:           s.incidents,
		Limits:            s.limits,
		ClientCertificate: s.clientCertificate,
		Reason:            admin.ParseReason,
		CheckKey:          keys.Check,
		Now:               s.now,
		Auditor:           s.auditor,
		Annotate:          annotateToken,
		Routes:            admin.Routes(),
		Version:           s.options.Version,
	})
	return nil
}

// annotateToken takes what the door says of a request.
func annotateToken(ctx context.Context, key, value string) {
	if key == "resource" {
		observe.SetResource(ctx, value)
		return
	}
	observe.Add(ctx, key, value)
}

func (s *Server) tokenConfig(c *config.Config, set *provisioner.Set) token.Config {
	return token.Config{ExternalURL: s.externalURLOf(c), DefaultProfile: c.DefaultProfile, Provisioners: set}
}

// useProvisioners puts provisioners in force. Who calls it holds mu.
func (s *Server) useProvisioners(c *config.Config, set *provisioner.Set) {
	s.tokens.set = set
	s.setAudiences(c)
	s.tokens.Reconfigure(s.tokenConfig(c, set))
}

// provisionersChanged takes over what is stored.
func (s *Server) provisionersChanged(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, err := s.loadProvisioners(ctx, s.config, s.tokens.set)
	if err != nil {
		return err
	}
	s.useProvisioners(s.config, set)
	return nil
}

// loadProvisioners makes those of the configuration and those that are stored.
// One that is stored and can't be made, by another version perhaps, is left
// out and logged.
func (s *Server) loadProvisioners(ctx context.Context, c *config.Config, former *provisioner.Set) (*provisioner.Set, error) {
	deps := c.ProvisionerDeps()
	deps.Now, deps.Audiences = s.now, func() []string { return *s.tokens.audiences.Load() }
	var list []*provisioner.Provisioner
	for _, name := range slices.Sorted(maps.Keys(c.Provisioners)) {
		made, err := provisioner.Compile(name, c.Provisioners[name], deps)
		if err != nil {
			return nil, fmt.Errorf("%s: provisioners.%s: %w", c.Place("provisioners."+name), name, err)
		}
		list = append(list, made)
	}
	stored, err := s.store.ListProvisioners(ctx)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the provisioners: %w", err)
	}
	deps.Dir = "" // who made them can't see this machine's files
	for _, record := range stored {
		if _, configured := c.Provisioners[record.Name]; configured {
			return nil, fmt.Errorf("%s: provisioners.%s: a provisioner of this name was made with \"chancery provisioner create\"; choose another name, or remove that one first",
				c.Place("provisioners."+record.Name), record.Name)
		}
		made, err := compileStored(record.Name, record.Spec, deps)
		if err != nil {
			s.log.ErrorContext(ctx, "couldn't use a stored provisioner; its tokens are refused", "name", record.Name, "error", err)
			continue
		}
		made.Created = record.Created
		list = append(list, made)
	}
	return provisioner.NewSet(list, former), nil
}

func compileStored(name string, text json.RawMessage, deps provisioner.Deps) (*provisioner.Provisioner, error) {
	spec, err := provisioner.ParseSpec(text)
	if err != nil {
		return nil, err
	}
	return provisioner.Compile(name, spec, deps)
}

// provisionerDeps is what the administrative API knows of provisioners under a
// configuration; changed is nil when no server runs.
func provisionerDeps(current func() *config.Config, changed func(context.Context) error) admin.ProvisionerDeps {
	return admin.ProvisionerDeps{
		Configured: func() map[string]provisioner.Spec { return current().Provisioners },
		Check:      func(name string, spec provisioner.Spec) error { return checkProvisioner(current(), name, spec) },
		Changed:    changed,
	}
}

// checkProvisioner reports what is wrong with a provisioner that is to be
// stored.
func checkProvisioner(c *config.Config, name string, spec provisioner.Spec) error {
	deps := c.ProvisionerDeps()
	deps.Dir = ""
	_, err := provisioner.Compile(name, spec, deps)
	errs := []error{err}
	for _, profile := range spec.Profiles {
		_, err := profileNamed(c, profile)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// setAudiences says which URLs tokens may be made out for: those that clients
// were given, and this machine's own names with the port that it listens on,
// each as such and as the door's.
func (s *Server) setAudiences(c *config.Config) {
	bases := append([]string{s.externalURLOf(c)}, c.FormerURLs...)
	listening := s.listeners.https.Addr()
	_, port, err := net.SplitHostPort(listening.String())
	for _, name := range ownNames(c, listening) {
		if err == nil {
			bases = append(bases, ownURL(name, port))
		}
	}
	var urls []string
	for _, base := range bases {
		if !slices.Contains(urls, base) {
			urls = append(urls, base+"/api/v1/sign", base)
		}
	}
	s.tokens.audiences.Store(&urls)
}

// ownURL is HTTPS at a name, in the form that clients compare.
func ownURL(name identifier.Identifier, port string) string {
	host := name.Value
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	u := url.URL{Scheme: "https", Host: host}
	if port != "443" {
		u.Host += ":" + port
	}
	return strings.TrimSuffix(u.String(), "/")
}
