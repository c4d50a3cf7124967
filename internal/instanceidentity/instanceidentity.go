// Package instanceidentity asks the metadata service of a cloud, from an
// instance of it, for the token by which the instance proves who it is to the
// provisioners of the types aws, gcp and azure.
//
// It does not check what it gets, which is for the server to do; and it does
// not find out by itself which cloud it is in.
package instanceidentity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	address = "http://169.254.169.254" // that all of these clouds have the service at
	within  = 5 * time.Second          // an answer comes at once, or there is no service
	largest = 64 << 10                 // octets in an answer
)

// Service is a metadata service. The zero value is that of the cloud which this
// machine is in.
type Service struct {
	// Base is the URL of the service; "" for that of all clouds.
	Base string
}

// AWS returns the signed identity document of an EC2 instance, base64 in one
// line, by way of IMDSv2.
func (s Service) AWS(ctx context.Context) (string, error) {
	session, err := s.ask(ctx, http.MethodPut, "/latest/api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"60"}})
	if err != nil {
		return "", fmt.Errorf("couldn't get the identity document of this EC2 instance: %w", err)
	}
	document, err := s.ask(ctx, http.MethodGet, "/latest/dynamic/instance-identity/rsa2048", http.Header{"X-Aws-Ec2-Metadata-Token": {string(session)}})
	if err != nil {
		return "", fmt.Errorf("couldn't get the identity document of this EC2 instance: %w", err)
	}
	return strings.Join(strings.Fields(string(document)), ""), nil
}

// GCP returns an identity token, a JWT, of the default service account of a
// Compute Engine instance, made out for the audience, which says what instance
// it is.
func (s Service) GCP(ctx context.Context, audience string) (string, error) {
	query := url.Values{"audience": {audience}, "format": {"full"}}
	token, err := s.ask(ctx, http.MethodGet, "/computeMetadata/v1/instance/service-accounts/default/identity?"+query.Encode(), http.Header{"Metadata-Flavor": {"Google"}})
	if err != nil {
		return "", fmt.Errorf("couldn't get the identity token of this Compute Engine instance: %w", err)
	}
	return strings.TrimSpace(string(token)), nil
}

// Azure returns an access token, a JWT, of a managed identity of a virtual
// machine, made out for the audience. The client ID chooses one of several
// identities; it may be "".
func (s Service) Azure(ctx context.Context, audience, clientID string) (string, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {audience}}
	if clientID != "" {
		query.Set("client_id", clientID)
	}
	answer, err := s.ask(ctx, http.MethodGet, "/metadata/identity/oauth2/token?"+query.Encode(), http.Header{"Metadata": {"true"}})
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err == nil {
		err = json.Unmarshal(answer, &token)
	}
	if err == nil && token.AccessToken == "" {
		err = errors.New("the answer has no access_token")
	}
	if err != nil {
		return "", fmt.Errorf("couldn't get the token of a managed identity of this virtual machine: %w", err)
	}
	return token.AccessToken, nil
}

// ask sends a request and returns what is answered. It goes through no proxy
// and follows no redirection: only the machine's own service knows who it is.
func (s Service) ask(ctx context.Context, method, path string, header http.Header) ([]byte, error) {
	base := s.Base
	if base == "" {
		base = address
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header = header
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: largest},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largest+1))
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s%s", request.URL, answer.Status, reason(body))
	case len(body) > largest:
		return nil, fmt.Errorf("%s answered with more than %d octets", request.URL, largest)
	}
	return body, nil
}

// reason is what the service says of an error, if it is short text.
func reason(body []byte) string {
	text := strings.Join(strings.Fields(string(body)), " ")
	if text == "" || len(text) > 1000 || strings.HasPrefix(text, "<") {
		return ""
	}
	return fmt.Sprintf(": %q", text)
}
