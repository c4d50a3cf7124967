package server

import (
	"context"
	"maps"
	"slices"

	"chancery/internal/config"
	"chancery/internal/store"
)

// tellUnnamed warns of restricted profiles that nobody may use: no key for
// external account binding that still holds names them.
func (s *Server) tellUnnamed(ctx context.Context, c *config.Config) {
	restricted := map[string]bool{}
	for name, compiled := range c.Compiled {
		if doors := compiled.Spec.Doors; compiled.Spec.Restricted && (len(doors) == 0 || slices.Contains(doors, "acme")) {
			restricted[name] = true
		}
	}
	if len(restricted) == 0 {
		return
	}
	bindings, err := s.store.ListBindings(ctx)
	if err != nil {
		s.log.Error("couldn't look for who may use the restricted profiles", "error", err)
		return
	}
	for i := range bindings {
		if s.holds(&bindings[i]) {
			for _, name := range bindings[i].Grant.Profiles {
				delete(restricted, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(restricted)) {
		s.log.Warn("nobody may use a restricted profile: no valid key names it; make one with \"chancery eab create --profiles "+name+"\"",
			"profile", name, "place", c.Place("profiles."+name+".restricted"))
	}
}

// holds reports whether a key's grant is in force.
func (s *Server) holds(binding *store.Binding) bool {
	return binding.Revoked.IsZero() && (binding.Expires.IsZero() || s.now().Before(binding.Expires))
}
