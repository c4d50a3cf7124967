package provisioner

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"chancery/internal/expr"
	"chancery/internal/identifier"
)

// awsVerifier takes the identity documents of EC2 instances, as the metadata
// service answers at /latest/dynamic/instance-identity/rsa2048. Whoever reads
// one on the instance can bring it, for as long as the instance runs: so an
// instance gets one certificate, unless the spec says otherwise.
type awsVerifier struct {
	accounts, regions []string
	certificates      map[string]*x509.Certificate // by region
	now               func() time.Time
	age, skew         time.Duration // age: the longest since the instance was launched; 0 for any
}

var awsAccount = regexp.MustCompile(`^[0-9]{12}$`)

func newAWS(_ string, spec Spec, deps Deps) (Verifier, error) {
	var errs []error
	if len(spec.Accounts) == 0 {
		errs = append(errs, mistake("accounts", "name the accounts whose instances may ask"))
	}
	for i, account := range spec.Accounts {
		if !awsAccount.MatchString(account) {
			errs = append(errs, mistake(fmt.Sprintf("accounts[%d]", i), "%.60q is no account; write its 12 digits, in quotes", account))
		}
	}
	certificates, err := deps.awsCertificates(spec)
	for i, region := range spec.Regions {
		if err == nil && certificates[region] == nil {
			errs = append(errs, mistake(fmt.Sprintf("regions[%d]", i), "the certificate of %.60q is not built in; add it in certificates", region))
		}
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	return &awsVerifier{spec.Accounts, spec.Regions, certificates, deps.Now, spec.Lifetime.Std(), spec.Skew.Std()}, nil
}

// Verify implements Verifier.
func (v *awsVerifier) Verify(_ context.Context, token string) (Identity, error) {
	document, err := readDocument(token)
	if err != nil {
		return Identity{}, malformed("the token is no signed instance identity document: %v; send what the metadata service has at /latest/dynamic/instance-identity/rsa2048", err)
	}
	claims, err := parseClaims(document.content)
	if err != nil {
		return Identity{}, err
	}
	if err := v.checkSignature(document, claims); err != nil {
		return Identity{}, err
	}
	return v.identify(claims)
}

// readDocument reads base64 as the metadata service gives it, or as openssl
// wants it, between lines of BEGIN and END.
func readDocument(token string) (*signedDocument, error) {
	var text strings.Builder
	for line := range strings.Lines(token) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
			text.WriteString(line)
		}
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text.String())
	if err != nil {
		return nil, errors.New("it is no base64")
	}
	der, rest, err := readBER(data, deepestBER)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, errBER
	}
	return parseSigned(der)
}

// checkSignature checks it by the certificate of the region that the document
// names, and no other.
func (v *awsVerifier) checkSignature(document *signedDocument, claims expr.Claims) error {
	region, err := neededText(claims, "region")
	if err != nil {
		return err
	}
	certificate := v.certificates[region]
	if certificate == nil {
		return unauthorized("the document is of the region %.60q, whose certificate is not known here; add it to certificates of the provisioner", region)
	}
	if now := v.now(); now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
		return unauthorized("the certificate of the region %s is good from %s to %s, and it is %s here; add the present one to certificates of the provisioner", region, stamp(certificate.NotBefore), stamp(certificate.NotAfter), stamp(now))
	}
	return document.verify(certificate, region)
}

// identify reads a document whose signature is good.
func (v *awsVerifier) identify(claims expr.Claims) (Identity, error) {
	facts := make(map[string]string)
	for _, name := range []string{"accountId", "region", "instanceId", "privateIp", "pendingTime"} {
		fact, err := neededText(claims, name)
		if err != nil {
			return Identity{}, err
		}
		facts[name] = fact
	}
	account, instance := facts["accountId"], facts["instanceId"]
	if !slices.Contains(v.accounts, account) {
		return Identity{}, unauthorized("the instance is of the account %.60q; this provisioner serves %s", account, strings.Join(v.accounts, ", "))
	}
	if len(v.regions) > 0 && !slices.Contains(v.regions, facts["region"]) {
		return Identity{}, unauthorized("the instance is in the region %.60q; this provisioner serves %s", facts["region"], strings.Join(v.regions, ", "))
	}
	if err := v.checkAge(facts["pendingTime"]); err != nil {
		return Identity{}, err
	}
	address, err := identifier.Parse(identifier.IP, facts["privateIp"])
	if err != nil {
		return Identity{}, malformed("the document's privateIp %.60q is no address: %v", facts["privateIp"], err)
	}
	return Identity{
		Subject: account + "/" + instance, Names: []identifier.Identifier{address}, Claims: claims,
		Spend: digest(account, instance),
	}, nil
}

// checkAge refuses instances that were launched too long ago, or will be.
func (v *awsVerifier) checkAge(pending string) error {
	launched, err := time.Parse(time.RFC3339, pending)
	now := v.now()
	switch {
	case err != nil:
		return malformed("the document's pendingTime %.60q is no time; expected is one like 2026-01-31T10:00:00Z", pending)
	case launched.After(now.Add(v.skew)):
		return unauthorized("the instance is launched at %s, and it is %s here; set the clocks right", stamp(launched), stamp(now))
	case v.age > 0 && now.Sub(launched) > v.age+v.skew:
		return unauthorized("the instance was launched at %s, %s ago; this provisioner takes %s at most; stop and start it to have a new document", stamp(launched), now.Sub(launched).Round(time.Second), v.age)
	}
	return nil
}
