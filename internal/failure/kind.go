package failure

import "fmt"

// kindNames are the kinds as they are stored and logged; they never change.
var kindNames = [...]string{
	Internal:          "internal",
	Unavailable:       "unavailable",
	Malformed:         "malformed",
	Unauthorized:      "unauthorized",
	NotFound:          "not-found",
	Conflict:          "conflict",
	NotReady:          "not-ready",
	BadCSR:            "bad-csr",
	BadKey:            "bad-key",
	Rejected:          "rejected",
	Unsupported:       "unsupported",
	BadProfile:        "bad-profile",
	AlreadyRevoked:    "already-revoked",
	BadReason:         "bad-reason",
	RateLimited:       "rate-limited",
	Connection:        "connection",
	DNS:               "dns",
	TLS:               "tls",
	IncorrectResponse: "incorrect-response",
	CAA:               "caa",
	BadAttestation:    "bad-attestation",
}

// String is the kind's name in logs, metrics and the store.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. A name it does not know,
// written by a newer version, reads as Internal.
func (k *Kind) UnmarshalText(text []byte) error {
	*k = Internal
	for i, name := range kindNames {
		if name == string(text) {
			*k = Kind(i)
		}
	}
	return nil
}
