package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/internal/admin"
	"chancery/internal/inventory"
)

// revocationFlags are how certificates are revoked.
type revocationFlags struct {
	selected    queryFlags
	reason      string
	dryRun, yes bool
	json        bool
}

func newCertsRevoke(a *app) *cobra.Command {
	var f revocationFlags
	cmd := &cobra.Command{
		Use:   "revoke [SERIAL...]",
		Short: "Revoke certificates: some, or all that the flags select",
		Long: `Revoke certificates: those with the serial numbers or SHA-256 fingerprints given,
or all valid ones that the flags select. Their clients are told to renew them.

--dry-run prints what would be revoked, and nothing happens. On a terminal the
command asks before it revokes what flags select, and then revokes nothing that
was issued after it asked; without a terminal, or with --yes, it does not ask.`,
		Example: `  chancery certs revoke 01a2b3c4 --reason keyCompromise
  chancery certs revoke --name '*.old.corp' --dry-run`,
		RunE: func(cmd *cobra.Command, serials []string) error {
			wish, err := f.wish(serials)
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *admin.Client) error {
				return a.revokeCertificates(cmd.Context(), c, wish, &f)
			})
		},
	}
	f.selected.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "why: "+strings.Join(admin.Reasons(), ", ")+" (default unspecified)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only print what would be revoked")
	flags.BoolVarP(&f.yes, "yes", "y", false, "don't ask")
	flags.BoolVar(&f.json, "json", false, "print a JSON array of what was revoked")
	reasons := cobra.FixedCompletions(admin.Reasons(), cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("reason", reasons) // fails only for flags there are not
	return cmd
}

func (f *revocationFlags) wish(serials []string) (wish admin.BulkRevocation, err error) {
	query, err := f.selected.resolve(time.Now())
	if err != nil {
		return wish, err
	}
	if _, err := admin.ParseReason(f.reason); err != nil {
		return wish, usagef("%v", err)
	}
	selector := query
	selector.Status = ""
	switch {
	case len(serials) > 0 && query != inventory.Query{}:
		return wish, usagef("give serial numbers or flags that select certificates, not both")
	case len(serials) == 0 && selector.IsZero():
		return wish, usagef("nothing says which certificates are to be revoked; give serial numbers, or %s flag that selects", queryFlagNames)
	}
	return admin.BulkRevocation{Serials: serials, Query: query, Reason: f.reason, DryRun: f.dryRun}, nil
}

func (a *app) revokeCertificates(ctx context.Context, c *admin.Client, wish admin.BulkRevocation, f *revocationFlags) error {
	if err := findService(ctx, c, &wish.Query); err != nil {
		return err
	}
	if !f.dryRun && !f.yes && len(wish.Serials) == 0 && isTerminal(a.In) {
		if err := a.confirmRevocation(ctx, c, &wish); err != nil {
			return err
		}
	}
	_, list, err := c.RevokeCertificates(ctx, wish)
	if err != nil {
		return err
	}
	count := 0
	if err := a.printCertificates(counted(list, &count), f.json, false); err != nil {
		return err
	}
	done := "revoked"
	if f.dryRun {
		done = "would be revoked"
	}
	if count > 0 {
		fmt.Fprintf(a.Err, "%s %s\n", countOf(count, "certificate"), done)
	}
	return nil
}

// confirmRevocation shows how many certificates there are, asks, and narrows
// the wish to them.
func (a *app) confirmRevocation(ctx context.Context, c *admin.Client, wish *admin.BulkRevocation) error {
	preview := *wish
	preview.DryRun = true
	asOf, list, err := c.RevokeCertificates(ctx, preview)
	if err != nil {
		return err
	}
	count := 0
	for _, err := range counted(list, &count) {
		if err != nil {
			return err
		}
	}
	if wish.Query.IssuedBefore.IsZero() || wish.Query.IssuedBefore.After(asOf) {
		wish.Query.IssuedBefore = asOf
	}
	if count == 0 {
		return nil
	}
	fmt.Fprintf(a.Err, "Revoke %s? [y/N] ", countOf(count, "certificate"))
	answer, _ := bufio.NewReader(a.In).ReadString('\n') // no answer is no
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was revoked")
	}
	return nil
}

// counted counts a listing while it is walked.
func counted[T any](list iter.Seq2[T, error], count *int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for item, err := range list {
			if err == nil {
				*count++
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

func countOf(count int, thing string) string {
	if count == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", count, thing)
}
