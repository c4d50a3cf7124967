package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/hierarchy"
	"chancery/internal/keys"
	"chancery/internal/store"
)

// listedIssuer is one generation of an issuer.
type listedIssuer struct {
	Name       string     `json:"name"` // "" for one that is not configured any more
	Generation int        `json:"generation,omitempty"`
	Signs      bool       `json:"signs"` // it is the one that signs
	ID         string     `json:"id"`
	Subject    string     `json:"subject"`
	KeyType    string     `json:"key_type,omitempty"`
	Key        string     `json:"key,omitempty"` // the file, or the URI
	NotAfter   time.Time  `json:"not_after"`
	Alternates int        `json:"alternates,omitempty"`
	Unexpired  int        `json:"unexpired"`           // certificates, revoked ones included
	LastEnds   *time.Time `json:"last_ends,omitempty"` // when the last of them expires
}

func viewGeneration(name string, g *hierarchy.Generation, signs bool) listedIssuer {
	certificate := g.Issuer()
	return listedIssuer{
		Name: name, Generation: g.Number, Signs: signs, ID: store.IssuerID(certificate.SubjectKeyId),
		Subject: certificate.Subject.CommonName, KeyType: keys.TypeOf(certificate.PublicKey), Key: g.Key,
		NotAfter: certificate.NotAfter.UTC(), Alternates: len(g.Alternates),
	}
}

func newIssuerList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what signs, and what signed before, with how many certificates of each are still good",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.listIssuers(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printArray(a.Out, each(list))
			}
			return printTable(a.Out, a.Err, "ISSUER GENERATION ID SIGNS CERTIFICATE KEY UNTIL UNEXPIRED LAST-ENDS", each(list), func(i listedIssuer) []string {
				signs := "no"
				if i.Signs {
					signs = "yes"
				}
				return []string{i.Name, fmt.Sprint(i.Generation), i.ID, signs, i.Subject, i.KeyType, when(i.NotAfter), fmt.Sprint(i.Unexpired), whenSet(i.LastEnds)}
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return a.reaching(cmd)[0]
}

// listIssuers puts together what the directory, if it is on this machine, and
// the inventory know.
func (a *app) listIssuers(ctx context.Context) (list []listedIssuer, err error) {
	if a.remote == (remoteFlags{}) {
		if list, err = a.listGenerations(); err != nil {
			return nil, err
		}
	}
	err = a.withClient(ctx, func(client *admin.Client) error {
		list, err = withCounts(list, client.Issuers(ctx))
		return err
	})
	return list, err
}

func (a *app) listGenerations() ([]listedIssuer, error) {
	c, err := a.offlineConfig()
	if err != nil {
		return nil, err
	}
	var list []listedIssuer
	for _, name := range c.IssuerNames() {
		generations, err := hierarchy.LoadIssuer(c.IssuerFiles(name))
		if errors.Is(err, fs.ErrNotExist) && name != hierarchy.DefaultIssuer {
			fmt.Fprintf(a.Err, "chancery: %v\n", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		for i, generation := range generations {
			list = append(list, viewGeneration(name, generation, i == len(generations)-1))
		}
	}
	return list, nil
}

// withCounts adds how many certificates each issuer has, and the issuers that
// only the inventory knows.
func withCounts(list []listedIssuer, known iter.Seq2[admin.Issuer, error]) ([]listedIssuer, error) {
	for issuer, err := range known {
		if err != nil {
			return nil, err
		}
		found := false
		for i := range list {
			if list[i].ID == issuer.ID {
				list[i].Unexpired, list[i].LastEnds, found = issuer.Unexpired, issuer.LastEnds, true
			}
		}
		if !found {
			list = append(list, listedIssuer{
				Name: issuer.Name, Generation: issuer.Generation, Signs: issuer.Signs, ID: issuer.ID, Subject: issuer.Subject,
				KeyType: issuer.KeyType, NotAfter: issuer.NotAfter, Unexpired: issuer.Unexpired, LastEnds: issuer.LastEnds,
			})
		}
	}
	return list, nil
}

// each is a list as the printers take it.
func each[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range list {
			if !yield(item, nil) {
				return
			}
		}
	}
}
