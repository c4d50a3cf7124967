package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"chancery/internal/expr"
	"chancery/internal/identifier"
)

// googleKeys is where Google publishes the keys of its identity tokens. It has
// new ones every few days, so they can't be built in.
const googleKeys = "https://www.googleapis.com/oauth2/v3/certs"

func googleIssuers() []string {
	return []string{"https://accounts.google.com", "accounts.google.com"}
}

// gcpVerifier takes the identity tokens that the metadata server of Compute
// Engine gives to instances, in the format "full", which says what instance it
// is. An instance gets one certificate, unless the spec says otherwise.
type gcpVerifier struct {
	audiences func() []string
	projects  []string
	keys      keySet
	clock     clock
}

func newGCP(name string, spec Spec, deps Deps) (Verifier, error) {
	v := &gcpVerifier{
		audiences: deps.Audiences, projects: spec.Projects,
		clock: clock{deps.Now, cmp.Or(spec.Lifetime.Std(), othersLifetime), spec.Skew.Std()},
	}
	if len(spec.Audience) > 0 {
		v.audiences = func() []string { return spec.Audience }
	}
	var errs []error
	if len(spec.Projects) == 0 {
		errs = append(errs, mistake("projects", "name the projects (their IDs) whose instances may ask"))
	}
	keys, err := deps.cloudKeys(name, spec, cmp.Or(spec.JWKSURL, googleKeys))
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	v.keys = keys
	return v, nil
}

// cloudKeys are those in the files of the spec, or else those at a URL.
func (d Deps) cloudKeys(name string, spec Spec, address string) (keySet, error) {
	if len(spec.Certificates) > 0 {
		listed, err := d.listedKeys("certificates", spec.Certificates)
		return knownKeys{listed, "the keys of the provisioner " + name}, err
	}
	if !isSafe(address) {
		return nil, mistake("jwks_url", "%.100q is no https URL", address)
	}
	client, err := d.client(spec)
	if err != nil {
		return nil, err
	}
	return newRemoteKeys(client, address, nil, d), nil
}

// Verify implements Verifier.
func (v *gcpVerifier) Verify(ctx context.Context, token string) (Identity, error) {
	t, err := parseJWT(token)
	if err == nil {
		err = t.verify(ctx, v.keys)
	}
	if err == nil {
		err = checkIssuer(t.claims, googleIssuers()...)
	}
	if err == nil {
		err = checkAudience(t.claims, v.audiences())
	}
	if err == nil {
		_, err = v.clock.check(t.claims)
	}
	if err != nil {
		return Identity{}, err
	}
	return v.identify(t.claims)
}

// Recognizes implements Recognizer.
func (v *gcpVerifier) Recognizes(claims expr.Claims) bool {
	return checkIssuer(claims, googleIssuers()...) == nil && computeEngine(claims) != nil
}

// computeEngine are the claims about the instance; nil when there are none.
func computeEngine(claims expr.Claims) expr.Claims {
	google, _ := claims["google"].(map[string]any)
	instance, _ := google["compute_engine"].(map[string]any)
	return instance
}

// identify reads which instance a token is of.
func (v *gcpVerifier) identify(claims expr.Claims) (Identity, error) {
	instance := computeEngine(claims)
	if instance == nil {
		return Identity{}, unauthorized(`the token has no claim "google.compute_engine", so it is of no instance; ask the metadata server for one with format=full`)
	}
	facts := make(map[string]string)
	for _, name := range []string{"project_id", "zone", "instance_id", "instance_name"} {
		fact, err := neededText(instance, name)
		if err != nil {
			return Identity{}, err
		}
		facts[name] = fact
	}
	project, zone, name := facts["project_id"], facts["zone"], facts["instance_name"]
	if !slices.Contains(v.projects, project) {
		return Identity{}, unauthorized("the instance is of the project %.100q; this provisioner serves %s", project, strings.Join(v.projects, ", "))
	}
	identity := Identity{Subject: project + "/" + zone + "/" + name, Claims: claims, Spend: digest(project, facts["instance_id"])}
	for _, host := range []string{name + ".c.", name + "." + zone + ".c."} {
		host, err := identifier.Parse(identifier.DNS, host+internalDomain(project))
		if err != nil || host.IsWildcard() {
			return Identity{}, malformed("the instance %.200q has a name that is none of DNS", identity.Subject).Because(err)
		}
		identity.Names = append(identity.Names, host)
	}
	return identity, nil
}

// internalDomain is what the internal DNS names of a project's instances end
// in. A project of a domain is called DOMAIN:PROJECT.
func internalDomain(project string) string {
	if domain, name, found := strings.Cut(project, ":"); found {
		return fmt.Sprintf("%s.%s.internal", name, domain)
	}
	return project + ".internal"
}
