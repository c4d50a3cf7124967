package server

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"chancery/internal/config"
	"chancery/internal/provisioner"
	"chancery/internal/store"
)

// tellUnnamed warns of restricted profiles that nobody may use: at none of their
// doors is there anybody who names them.
func (s *Server) tellUnnamed(ctx context.Context, c *config.Config) {
	restricted := map[string][]string{} // with their doors
	for name, compiled := range c.Compiled {
		if compiled.Spec.Restricted {
			restricted[name] = compiled.Spec.Doors
		}
	}
	if len(restricted) == 0 {
		return
	}
	named, err := s.namedProfiles(ctx, c)
	if err != nil {
		s.log.ErrorContext(ctx, "couldn't look for who may use the restricted profiles", "error", err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(restricted)) {
		usable := false
		for door, profiles := range named {
			doors := restricted[name]
			usable = usable || slices.Contains(profiles, name) && (len(doors) == 0 || slices.Contains(doors, door))
		}
		if !usable {
			s.log.WarnContext(ctx, "nobody may use a restricted profile: no valid key and no provisioner names it; make a key with \"chancery eab create --profiles "+name+"\"",
				"profile", name, "place", c.Place("profiles."+name+".restricted"))
		}
	}
}

// namedProfiles are, by door, the profiles that those who open them name: the
// keys for external account binding that hold, and the provisioners.
func (s *Server) namedProfiles(ctx context.Context, c *config.Config) (map[string][]string, error) {
	var byKeys, byProvisioners []string
	bindings, err := s.store.ListBindings(ctx)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the keys for external account binding: %w", err)
	}
	for i := range bindings {
		if s.holds(&bindings[i]) {
			byKeys = append(byKeys, bindings[i].Grant.Profiles...)
		}
	}
	for _, spec := range c.Provisioners {
		byProvisioners = append(byProvisioners, spec.Profiles...)
	}
	stored, err := s.store.ListProvisioners(ctx)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the provisioners: %w", err)
	}
	for _, record := range stored {
		if spec, err := provisioner.ParseSpec(record.Spec); err == nil { // else it is told elsewhere
			byProvisioners = append(byProvisioners, spec.Profiles...)
		}
	}
	return map[string][]string{"acme": byKeys, "token": byProvisioners}, nil
}

// holds reports whether a key's grant is in force.
func (s *Server) holds(binding *store.Binding) bool {
	return binding.Revoked.IsZero() && (binding.Expires.IsZero() || s.now().Before(binding.Expires))
}
