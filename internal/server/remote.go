package server

import (
	"net/http"

	"chancery/internal/admin"
	"chancery/internal/archive"
	"chancery/internal/config"
	"chancery/internal/hierarchy"
	"chancery/internal/identifier"
	"chancery/internal/store"
)

// adminRoutes are what admin.sock serves.
func (s *Server) adminRoutes() http.Handler { return s.requests().Wrap(admin.New(s.adminDeps())) }

// remoteAdmin is the same for those who come by HTTPS and say who they are.
func (s *Server) remoteAdmin() http.Handler {
	return admin.Remote(s.adminDeps(), admin.Callers{
		Certificate: s.adminCertificate,
		Clients:     func() []admin.Named { return adminClients(s.Config()) },
	})
}

func (s *Server) adminDeps() admin.Deps {
	return admin.Deps{
		Store:            s.store,
		Backup:           backupOf(s.database),
		Files:            func() ([]archive.Source, error) { return archive.Collect(s.Config()) },
		Dir:              s.options.Config.Dir,
		Reload:           s.Reload,
		Status:           s.status,
		Cluster:          clusterOf(s.database),
		AccountClosed:    s.door.ForgetAccount,
		GrantChanged:     s.grants.Forget,
		IncidentsChanged: s.incidents.Forget,
		Generations:      func() []admin.Generation { return generations(s.Config()) },
		Decide:           s.authority.Decide,
		Profile:          func(name string) (string, error) { return profileNamed(s.Config(), name) },
		Limits:           s.limits,
		Provisioners:     provisionerDeps(s.Config, s.provisionersChanged),
		Auditor:          s.auditor,
		Now:              s.now,
	}
}

// adminClients are the names with a role.
func adminClients(c *config.Config) []admin.Named {
	var clients []admin.Named
	for _, client := range c.Admin.Clients {
		if name, err := identifier.ParseText(client.Name); err == nil { // checked when it was read
			clients = append(clients, admin.Named{Name: name, Role: admin.Role(client.Role)})
		}
	}
	return clients
}

// generations are those of the configured issuers, as far as they can be read.
func generations(c *config.Config) []admin.Generation {
	var list []admin.Generation
	for _, name := range c.IssuerNames() {
		found, err := hierarchy.LoadIssuer(c.IssuerFiles(name))
		if err != nil {
			continue
		}
		for i, g := range found {
			list = append(list, admin.Generation{
				Name: name, Number: g.Number, Signs: i == len(found)-1, ID: store.IssuerID(g.Issuer().SubjectKeyId),
			})
		}
	}
	return list
}
