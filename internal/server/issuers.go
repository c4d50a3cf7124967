package server

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"

	"chancery/internal/ca"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/identifier"
	"chancery/internal/issuer"
	"chancery/internal/keyhelper"
	"chancery/internal/profile"
	"chancery/internal/store"
)

// issuers are the CA's issuers as they are configured and on disk. Nobody
// changes them; a reload makes new ones.
type issuers struct {
	current map[string]*issuer.Local // by name
	former  map[string]*issuer.Local // earlier generations that have their key and have not expired, by ID
	all     []store.Issuer           // of all generations
}

// byName are the current issuers as the road takes them.
func (i *issuers) byName() map[string]ca.Issuer {
	byName := make(map[string]ca.Issuer, len(i.current))
	for name, local := range i.current {
		byName[name] = local
	}
	return byName
}

// byID are the earlier generations as the road takes them.
func (i *issuers) byID() map[string]ca.Issuer {
	byID := make(map[string]ca.Issuer, len(i.former))
	for id, local := range i.former {
		byID[id] = local
	}
	return byID
}

// of is the issuer of a profile.
func (i *issuers) of(p *profile.Profile) *issuer.Local {
	if p != nil {
		if found := i.current[p.Spec.Issuer]; found != nil {
			return found
		}
	}
	return i.current[hierarchy.DefaultIssuer]
}

// chainOf is what is sent after a leaf of an issuer: DER, without the root.
func (i *issuers) chainOf(issuerID string) [][]byte {
	for _, known := range i.all {
		if known.ID == issuerID {
			return known.Chain[:max(1, len(known.Chain)-1)]
		}
	}
	return nil
}

// changed lists the settings whose issuer signs with another certificate than
// before.
func (i *issuers) changed(before *issuers) (keys []string) {
	for _, name := range slices.Sorted(maps.Keys(i.current)) {
		old := before.current[name]
		if old != nil && !old.Certificate().Equal(i.current[name].Certificate()) {
			keys = append(keys, "issuers."+name)
		}
	}
	return keys
}

// loadIssuers reads all issuers and the keys of those that sign now, and makes
// them known to the store. Keys that helpers hold are opened by and by.
func (s *Server) loadIssuers(ctx context.Context, c *config.Config) (*issuers, error) {
	loaded := &issuers{current: map[string]*issuer.Local{}, former: map[string]*issuer.Local{}}
	for _, name := range c.IssuerNames() {
		generations, err := hierarchy.LoadIssuer(c.IssuerFiles(name))
		if err != nil {
			return nil, err
		}
		for _, generation := range generations {
			loaded.all = append(loaded.all, issuer.Record(generation.Chain, generation.Alternates))
		}
		newest := len(generations) - 1
		if loaded.current[name], err = s.openGeneration(c, name, generations[newest]); err != nil {
			return nil, fmt.Errorf("couldn't use the issuer %s: %w", name, err)
		}
		for _, generation := range generations[:newest] {
			s.addFormer(c, name, generation, loaded)
		}
	}
	for _, record := range loaded.all {
		if err := s.store.RegisterIssuer(ctx, record); err != nil {
			return nil, fmt.Errorf("couldn't register the issuer: %w", err)
		}
	}
	if s.shared != nil {
		return loaded, s.addKnown(ctx, loaded)
	}
	return loaded, nil
}

// openGeneration opens the key of a generation.
func (s *Server) openGeneration(c *config.Config, name string, generation *hierarchy.Generation) (*issuer.Local, error) {
	signer, err := generation.Signer(func(uri string, public crypto.PublicKey) (crypto.Signer, error) {
		return s.helperKey(c, name, uri, public)
	})
	if err != nil {
		return nil, err
	}
	return issuer.NewLocal(signer, generation.Chain, generation.Alternates...)
}

// addFormer opens an earlier generation, which goes on to sign revocation lists
// while its certificates live. Without its key they can't be revoked so that
// anybody sees it; all else goes on.
func (s *Server) addFormer(c *config.Config, name string, generation *hierarchy.Generation, loaded *issuers) {
	if s.now().After(generation.Issuer().NotAfter) {
		return
	}
	local, err := s.openGeneration(c, name, generation)
	if err != nil {
		s.log.Warn("the key of an earlier issuing certificate is not at hand, so revocations of what it signed can't be published",
			"issuer", name, "generation", generation.Number, "until", generation.Issuer().NotAfter, "error", err)
		return
	}
	loaded.former[local.ID()] = local
}

// helperKey returns the key of an issuer that a helper holds. Helpers run until
// the server ends, for what has begun may still need them.
func (s *Server) helperKey(c *config.Config, name, uri string, public crypto.PublicKey) (crypto.Signer, error) {
	options, err := keyhelper.FromURI(uri, c.Issuers[name].Helper, c.Dir)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	id := options.Path + "\n" + uri + "\n" + string(encoded)
	if running := s.helpers[id]; running != nil {
		return running, nil
	}
	options.Public, options.Log = public, s.log
	key := keyhelper.Start(options)
	s.helpers[id] = key
	return key, nil
}

// closeHelpers ends all helpers.
func (s *Server) closeHelpers() error {
	var errs []error
	for _, key := range s.helpers {
		errs = append(errs, key.Close())
	}
	return errors.Join(errs...)
}

// useIssuers puts issuers in force.
func (s *Server) useIssuers(loaded *issuers) {
	s.issuers.Store(loaded)
	s.setJobs(loaded)
	for name, local := range loaded.current {
		label := "intermediate"
		if name != hierarchy.DefaultIssuer {
			label = "issuer " + name
		}
		s.metrics.Expiry(label, local.Certificate().NotAfter)
	}
}

// permits asks the name constraints of the certificates above a profile's.
func (s *Server) permits(profileName string, ids []identifier.Identifier) error {
	return hierarchy.Permits(s.issuers.Load().of(s.authority.Profiles()[profileName]).Chain(), ids)
}
