package cli

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chancery/internal/config"
	"chancery/internal/hierarchy"
)

// pathLengthFlag says how many CAs may be below a new issuing certificate: as
// many as the profiles need, unless it is given.
type pathLengthFlag struct {
	value int
	flag  *pflag.Flag
}

func (f *pathLengthFlag) add(cmd *cobra.Command) {
	const name = "path-length"
	cmd.Flags().IntVar(&f.value, name, 0, "how many CAs may be below the new certificate (default as many as the profiles need)")
	f.flag = cmd.Flags().Lookup(name)
}

func (f *pathLengthFlag) isSet() bool { return f.flag.Changed }

// of is the path length for a new certificate of an issuer. One that would not
// do for the profiles is refused.
func (f *pathLengthFlag) of(c *config.Config, issuer string) (int, error) {
	needed, name := neededPathLength(c, issuer)
	switch {
	case f.value < 0:
		return 0, usagef("--path-length is below 0")
	case f.isSet() && f.value < needed:
		return 0, fmt.Errorf("%s: the certificates of the profile %s are CAs, and need --path-length %d or more; leave it out, or give the profile another issuer",
			c.Place("profiles."+name), name, needed)
	}
	return max(f.value, needed), nil
}

// neededPathLength is how many CAs must be allowed below an issuer, and for
// which profile: the one whose certificates may have the most below them.
func neededPathLength(c *config.Config, issuer string) (length int, name string) {
	for _, profile := range slices.Sorted(maps.Keys(c.Compiled)) {
		spec := &c.Compiled[profile].Spec
		if needed := spec.BasicConstraints.PathLength + 1; spec.BasicConstraints.CA && needed > length &&
			cmp.Or(spec.Issuer, hierarchy.DefaultIssuer) == issuer {
			length, name = needed, profile
		}
	}
	return length, name
}

// fitsProfiles refuses a certificate of an issuer under which a server would
// refuse its profiles.
func fitsProfiles(c *config.Config, issuer string) hierarchy.Check {
	return func(issuing *x509.Certificate) error {
		needed, name := neededPathLength(c, issuer)
		if issuing.MaxPathLen >= 0 && issuing.MaxPathLen < needed {
			return fmt.Errorf("its path length is %d, and the certificates of the profile %s (%s), which are CAs, need %d or more; have it issued anew, or give the profile another issuer",
				issuing.MaxPathLen, name, c.Place("profiles."+name), needed)
		}
		return nil
	}
}
