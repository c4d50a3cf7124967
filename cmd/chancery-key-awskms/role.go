package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"chancery/internal/cloudkms"
	"chancery/internal/keyhelper/wire"
)

// instanceURL is the metadata service of a virtual machine.
const instanceURL = "http://169.254.169.254"

// fromInstance asks the metadata service for the role of the virtual machine
// (IMDSv2: a token first).
func fromInstance(env environment) (source, error) {
	base := env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	if base == "" {
		base = instanceURL
	}
	base = strings.TrimSuffix(base, "/")
	client := cloudkms.NewClient(true)
	get := func(ctx context.Context, method, path string, header http.Header) ([]byte, error) {
		return fetch(ctx, client, method, base+"/latest/"+path, header, "the metadata service of the machine")
	}
	const roles = "meta-data/iam/security-credentials/"
	return func(ctx context.Context) (found credentials, ends time.Time, err error) {
		token, err := get(ctx, http.MethodPut, "api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"300"}})
		if err != nil {
			return found, ends, err
		}
		header := http.Header{"X-Aws-Ec2-Metadata-Token": {string(token)}}
		role, err := get(ctx, http.MethodGet, roles, header)
		if err != nil {
			return found, ends, err
		}
		name, _, _ := strings.Cut(strings.TrimSpace(string(role)), "\n")
		body, err := get(ctx, http.MethodGet, roles+url.PathEscape(name), header)
		if err != nil {
			return found, ends, err
		}
		return parseRole(body)
	}, nil
}

// fromContainer asks the agent of ECS, or of EKS Pod Identity.
func fromContainer(env environment) (source, error) {
	address := env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if relative := env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); relative != "" {
		address = "http://169.254.170.2" + relative
	}
	u, err := url.Parse(address)
	if err != nil || !trustedAgent(u) {
		return nil, fmt.Errorf("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor an address of this machine or of the container's agent: %.100q", address)
	}
	client := cloudkms.NewClient(true)
	return func(ctx context.Context) (found credentials, ends time.Time, err error) {
		token := env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if file := env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
			content, err := os.ReadFile(file)
			if err != nil {
				return found, ends, wire.Errorf(wire.Refused, "couldn't read AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: %v", err)
			}
			token = strings.TrimSpace(string(content))
		}
		header := http.Header{}
		if token != "" {
			header.Set("Authorization", token)
		}
		body, err := fetch(ctx, client, http.MethodGet, u.String(), header, "the container's agent")
		if err != nil {
			return found, ends, err
		}
		return parseRole(body)
	}, nil
}

// trustedAgent reports whether credentials may come from there, and the token
// may go there.
func trustedAgent(u *url.URL) bool {
	if u.Scheme == "https" {
		return u.Host != ""
	}
	address, err := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme != "http" || err != nil:
		return u.Scheme == "http" && u.Hostname() == "localhost"
	case address.IsLoopback():
		return true
	}
	switch address.String() {
	case "169.254.170.2", "169.254.170.23", "fd00:ec2::23":
		return true
	}
	return false
}

// fetch gets a page from what knows the role. What it says is not passed on,
// for it could be a secret.
func fetch(ctx context.Context, client *http.Client, method, address string, header http.Header, who string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return nil, wire.Errorf(wire.Refused, "couldn't ask %s for credentials: %v", who, err)
	}
	request.Header = header
	answer, err := cloudkms.Exchange(client, request)
	if err != nil {
		return nil, cloudkms.Explain("there are no AWS credentials from "+who, err)
	}
	if answer.Status != http.StatusOK {
		return nil, wire.Errorf(cloudkms.Code(answer.Status), "couldn't get AWS credentials: %s answers %s with HTTP %d; is there a role?", who, request.URL.Path, answer.Status)
	}
	return answer.Body, nil
}

// parseRole reads the credentials of a role.
func parseRole(body []byte) (found credentials, ends time.Time, err error) {
	var role struct {
		Code            string // "Success", or left out
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		Expiration      time.Time
	}
	err = json.Unmarshal(body, &role)
	switch {
	case err != nil:
		return found, ends, wire.Errorf(wire.Unavailable, "couldn't read the AWS credentials of the role")
	case role.Code != "" && role.Code != "Success":
		return found, ends, wire.Errorf(wire.Unavailable, "there are no AWS credentials of the role: %s", cloudkms.Say(role.Code))
	case role.AccessKeyID == "" || role.SecretAccessKey == "":
		return found, ends, wire.Errorf(wire.Unavailable, "the AWS credentials of the role are incomplete")
	}
	return credentials{role.AccessKeyID, role.SecretAccessKey, role.Token}, role.Expiration, nil
}

// fromWebIdentity exchanges the token of a Kubernetes service account for
// credentials of a role (AssumeRoleWithWebIdentity), which takes no signature.
func fromWebIdentity(env environment, region string) (source, error) {
	endpoint := env.get("AWS_ENDPOINT_URL_STS")
	if endpoint == "" {
		endpoint = "https://sts." + region + "." + domain(region)
	}
	base, err := cloudkms.ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	role, session := env.get("AWS_ROLE_ARN"), env.get("AWS_ROLE_SESSION_NAME")
	if role == "" {
		return nil, errors.New("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not")
	}
	if session == "" {
		session = "chancery"
	}
	client := cloudkms.NewClient(false)
	return func(ctx context.Context) (found credentials, ends time.Time, err error) {
		token, err := os.ReadFile(env.get("AWS_WEB_IDENTITY_TOKEN_FILE"))
		if err != nil {
			return found, ends, wire.Errorf(wire.Refused, "couldn't read AWS_WEB_IDENTITY_TOKEN_FILE: %v", err)
		}
		form := url.Values{
			"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {role},
			"RoleSessionName": {session}, "WebIdentityToken": {strings.TrimSpace(string(token))},
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, base.String()+"/", strings.NewReader(form.Encode()))
		if err != nil {
			return found, ends, err
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := cloudkms.Exchange(client, request)
		if err != nil {
			return found, ends, cloudkms.Explain("there are no AWS credentials", err)
		}
		return parseAssumed(answer)
	}, nil
}

// parseAssumed reads the answer of AWS STS.
func parseAssumed(answer cloudkms.Answer) (found credentials, ends time.Time, err error) {
	if answer.Status != http.StatusOK {
		var refused struct {
			Code    string `xml:"Error>Code"`
			Message string `xml:"Error>Message"`
		}
		_ = xml.Unmarshal(answer.Body, &refused) // a proxy may have answered
		return found, ends, wire.Errorf(cloudkms.Code(answer.Status), "AWS STS refuses AssumeRoleWithWebIdentity: %s (HTTP %d): %s",
			cloudkms.Say(refused.Code), answer.Status, cloudkms.Say(refused.Message))
	}
	var body struct {
		Assumed struct {
			AccessKeyID     string `xml:"AccessKeyId"`
			SecretAccessKey string
			SessionToken    string
			Expiration      time.Time
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err := xml.Unmarshal(answer.Body, &body); err != nil || body.Assumed.AccessKeyID == "" || body.Assumed.SecretAccessKey == "" {
		return found, ends, wire.Errorf(wire.Unavailable, "couldn't read the answer of AWS STS")
	}
	return credentials{body.Assumed.AccessKeyID, body.Assumed.SecretAccessKey, body.Assumed.SessionToken}, body.Assumed.Expiration, nil
}
