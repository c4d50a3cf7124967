package main

import (
	"encoding/json"
	"strings"

	"chancery/internal/cloudkms"
	"chancery/internal/keyhelper/wire"
)

// serviceError is what the service answered instead of what was asked: of
// which kind, and why. Kinds that are not known are told by the status.
func serviceError(operation string, answer cloudkms.Answer) error {
	kind, message := parseError(answer)
	told := wire.Errorf(cloudkms.Code(answer.Status), "AWS KMS refuses %s: %s (HTTP %d): %s", operation, kind, answer.Status, message)
	switch kind {
	case "ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException", "LimitExceededException",
		"KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException",
		"InternalFailure", "InternalServerError", "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout":
		told.Code = wire.Unavailable
	case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId":
		return cloudkms.Stale(told)
	}
	return told
}

// parseError reads an error of the JSON protocol: its kind is in a header or in
// __type, perhaps with a namespace before # and a URL after a colon.
func parseError(answer cloudkms.Answer) (kind, message string) {
	var body struct {
		Type    string `json:"__type"`
		Message string `json:"message"` // or Message: members are matched without regard to case
	}
	_ = json.Unmarshal(answer.Body, &body) // a proxy may have answered
	kind = body.Type
	if kind == "" {
		kind = answer.Header.Get("X-Amzn-Errortype")
	}
	if _, after, found := strings.Cut(kind, "#"); found {
		kind = after
	}
	kind, _, _ = strings.Cut(kind, ":")
	if kind == "" {
		return "an error of no known form", ""
	}
	return cloudkms.Say(kind), cloudkms.Say(body.Message)
}
