package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"chancery/internal/admin"
)

// Reload reads the configuration again and puts in force what can change while
// the server runs. A configuration that is bad anywhere is refused whole, and
// the running one stays.
func (s *Server) Reload(ctx context.Context) (admin.Reloaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reloaded := admin.Reloaded{Changed: []string{}, Restart: []string{}}
	if s.options.Load == nil {
		return reloaded, errors.New("this server was started without a way to read its configuration again")
	}
	next, err := s.options.Load()
	if err != nil {
		return reloaded, err
	}
	for _, change := range s.config.Changes(next) {
		if !change.Restart {
			reloaded.Changed = append(reloaded.Changed, change.Key)
		}
	}
	for _, change := range s.options.Config.Changes(next) { // what the server was started with
		if change.Restart {
			reloaded.Restart = append(reloaded.Restart, change.Key)
		}
	}
	// All that can fail comes before anything that changes the server.
	issuers, err := s.loadIssuers(ctx, next)
	if err != nil {
		return admin.Reloaded{}, err
	}
	if err := s.lintProfiles(next, issuers); err != nil {
		return admin.Reloaded{}, err
	}
	provisioners, err := s.loadProvisioners(ctx, next, s.tokens.set)
	if err != nil {
		return admin.Reloaded{}, err
	}
	validator, err := s.newValidator(next)
	if err != nil {
		return admin.Reloaded{}, err
	}
	if err := s.setLevel(next.Log.Level); err != nil {
		return admin.Reloaded{}, err
	}
	if err := s.reconfigureRevocation(next, issuers); err != nil { // a new issuer's certificates have lists
		return admin.Reloaded{}, err
	}
	if err := s.authority.SetIssuers(issuers.byName(), issuers.byID()); err != nil {
		return admin.Reloaded{}, err
	}
	reloaded.Changed = append(reloaded.Changed, issuers.changed(s.issuers.Load())...)
	s.useIssuers(issuers)
	s.authority.SetProfiles(next.Compiled)
	s.policy.SetRules(next.Rules)
	s.limits.Reconfigure(next.Rates)
	s.tellWarnings(ctx, next)
	s.door.Reconfigure(s.acmeConfig(next), validator)
	s.useProvisioners(next, provisioners)
	s.own.setNames(ownNames(next, s.listeners.https.Addr()))
	s.config = next
	s.auditor.Audit(ctx, "configuration.reloaded", admin.Requester(ctx),
		slog.Any("changed", reloaded.Changed), slog.Any("restart_needed", reloaded.Restart))
	return reloaded, nil
}

func (s *Server) setLevel(text string) error {
	if s.options.Level == nil {
		return nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("couldn't set the log's level: %w", err)
	}
	s.options.Level.Set(level)
	return nil
}
