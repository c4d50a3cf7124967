package provisioner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"chancery/internal/expr"
	"chancery/internal/identifier"
)

// azureLifetime is the longest that tokens are good for, if nothing is said: a
// day, and the minutes by which Microsoft sets back the time of their making.
const azureLifetime = 25 * time.Hour

var azureID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// azureVerifier takes the access tokens of the managed identities of virtual
// machines, as the instance metadata service gives them. A machine, by its
// resource ID, gets one certificate, unless the spec says otherwise.
type azureVerifier struct {
	audiences     []string
	subscriptions []string
	tenants       []string
	issuer        string            // "" for the two of the public cloud
	keys          map[string]keySet // by tenant
	named         bool              // the spec says which names a token stands for
	clock         clock
}

func newAzure(name string, spec Spec, deps Deps) (Verifier, error) {
	v := &azureVerifier{
		audiences: spec.Audience, issuer: spec.Issuer, keys: make(map[string]keySet), named: len(spec.Names) > 0,
		clock: clock{deps.Now, cmp.Or(spec.Lifetime.Std(), azureLifetime), spec.Skew.Std()},
	}
	var errs []error
	if len(spec.Audience) == 0 {
		errs = append(errs, mistake("audience", "name the application (as in api://chancery) that tokens must be made out for; don't use one that other services take too, such as https://management.azure.com/"))
	}
	if len(spec.Tenants) == 0 {
		errs = append(errs, mistake("tenants", "name the tenants (their IDs) whose instances may ask"))
	}
	var tenantsErr, subscriptionsErr error
	v.tenants, tenantsErr = azureIDs("tenants", spec.Tenants)
	v.subscriptions, subscriptionsErr = azureIDs("subscriptions", spec.Subscriptions)
	if err := errors.Join(append(errs, tenantsErr, subscriptionsErr)...); err != nil {
		return nil, err
	}
	for _, tenant := range v.tenants {
		keys, err := deps.cloudKeys(name, spec, cmp.Or(spec.JWKSURL, "https://login.microsoftonline.com/"+tenant+"/discovery/keys"))
		if err != nil {
			return nil, err
		}
		v.keys[tenant] = keys
	}
	return v, nil
}

func azureIDs(field string, list []string) ([]string, error) {
	var errs []error
	ids := make([]string, len(list))
	for i, id := range list {
		if ids[i] = strings.ToLower(id); !azureID.MatchString(ids[i]) {
			errs = append(errs, mistake(fmt.Sprintf("%s[%d]", field, i), "%.60q is no ID; write one like 72f988bf-86f1-41af-91ab-2d7cd011db47", id))
		}
	}
	return ids, errors.Join(errs...)
}

// issuers are how a tenant is called in the tokens of versions 1.0 and 2.0.
func (v *azureVerifier) issuers(tenant string) []string {
	if v.issuer != "" {
		return []string{v.issuer}
	}
	return []string{"https://sts.windows.net/" + tenant + "/", "https://login.microsoftonline.com/" + tenant + "/v2.0"}
}

// Verify implements Verifier.
func (v *azureVerifier) Verify(ctx context.Context, token string) (Identity, error) {
	t, err := parseJWT(token)
	if err != nil {
		return Identity{}, err
	}
	tenant, err := neededText(t.claims, "tid") // chooses the keys by which it is proven
	if err != nil {
		return Identity{}, err
	}
	keys := v.keys[tenant]
	if keys == nil {
		return Identity{}, unauthorized("the token is of the tenant %.60q; this provisioner serves %s", tenant, strings.Join(v.tenants, ", "))
	}
	err = t.verify(ctx, keys)
	if err == nil {
		err = checkIssuer(t.claims, v.issuers(tenant)...)
	}
	if err == nil {
		err = checkAudience(t.claims, v.audiences)
	}
	if err == nil {
		_, err = v.clock.check(t.claims)
	}
	if err != nil {
		return Identity{}, err
	}
	return v.identify(t.claims, tenant)
}

// Recognizes implements Recognizer.
func (v *azureVerifier) Recognizes(claims expr.Claims) bool {
	tenant, _ := claims["tid"].(string)
	return v.keys[tenant] != nil && checkIssuer(claims, v.issuers(tenant)...) == nil
}

// identify reads which machine a token is of.
func (v *azureVerifier) identify(claims expr.Claims, tenant string) (Identity, error) {
	machine, err := machineOf(claims)
	if err != nil {
		return Identity{}, err
	}
	if len(v.subscriptions) > 0 && !slices.Contains(v.subscriptions, machine.subscription) {
		return Identity{}, unauthorized("the machine is of the subscription %.60q; this provisioner serves %s", machine.subscription, strings.Join(v.subscriptions, ", "))
	}
	claims = maps.Clone(claims)
	claims["vm"] = map[string]any{"subscription": machine.subscription, "resource_group": machine.group, "name": machine.name}
	identity := Identity{
		Subject: machine.subscription + "/" + machine.group + "/" + machine.name, Claims: claims,
		Spend: digest(tenant, machine.subscription, machine.group, machine.name),
	}
	if v.named {
		return identity, nil
	}
	host, err := identifier.Parse(identifier.DNS, machine.name)
	if err != nil || host.IsWildcard() || strings.Contains(host.Value, ".") {
		return Identity{}, unauthorized("the machine's name %.100q is no DNS name of one label; set names in the provisioner to give others", machine.name)
	}
	identity.Names = []identifier.Identifier{host}
	return identity, nil
}

// machine is a virtual machine, in lower case.
type machine struct{ subscription, group, name string }

// machineOf reads the resource ID of the machine: xms_mirid when the identity
// is the machine's own, and xms_az_rid when it is one that is assigned to
// several resources.
func machineOf(claims expr.Claims) (machine, error) {
	own, err := textOf(claims, "xms_mirid")
	if err != nil {
		return machine{}, err
	}
	carrier, err := textOf(claims, "xms_az_rid")
	if err != nil {
		return machine{}, err
	}
	if own == "" {
		return machine{}, unauthorized(`the token has no claim "xms_mirid", so it is of no managed identity; get one from the metadata service of the machine`)
	}
	for _, id := range []string{own, carrier} {
		if found, is := parseMachine(id); is {
			return found, nil
		}
	}
	return machine{}, unauthorized(`the token is of %.300q (used by %.300q), which is no virtual machine; expected is /subscriptions/ID/resourcegroups/GROUP/providers/Microsoft.Compute/virtualMachines/NAME in "xms_mirid" or "xms_az_rid"`, own, carrier)
}

// parseMachine reads a resource ID, in which case does not count.
func parseMachine(id string) (machine, bool) {
	parts := strings.Split(strings.ToLower(id), "/")
	if len(parts) != 9 || parts[0] != "" || slices.Contains(parts[1:], "") {
		return machine{}, false
	}
	is := parts[1] == "subscriptions" && azureID.MatchString(parts[2]) && parts[3] == "resourcegroups" &&
		parts[5] == "providers" && parts[6] == "microsoft.compute" && parts[7] == "virtualmachines"
	return machine{parts[2], parts[4], parts[8]}, is
}
