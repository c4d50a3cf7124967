package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"

	"chancery/internal/expr"
)

// algorithms are those that tokens may be signed by: none that needs a shared
// secret, so that nobody can sign with a public key as one, and never "none".
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	}
}

// jwt is a JSON Web Token (RFC 7519) in the compact form of RFC 7515 §7.1.
// Nothing in it can be trusted before verify has succeeded.
type jwt struct {
	header jose.Header
	claims expr.Claims
	signed *jose.JSONWebSignature
}

// parseJWT reads a token strictly: no line breaks in base64url, which decoders
// pass over; no extension that must be understood; no key that the token brings
// along; and no member twice.
func parseJWT(token string) (*jwt, error) {
	if len(token) > MaxToken {
		return nil, malformed("the token has %d octets; at most %d are read", len(token), MaxToken)
	}
	if strings.ContainsFunc(token, isForeign) || strings.Count(token, ".") != 2 {
		return nil, malformed("the token is no JWT: three parts of base64url without padding, dots between them, and nothing else")
	}
	signed, err := jose.ParseSignedCompact(token, algorithms())
	if wrong, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, unauthorized("the token is signed by the algorithm %.20q; accepted are %s", wrong.Got, algorithmNames())
	}
	if err != nil {
		return nil, malformed("the token is no JWT that can be read").Because(err)
	}
	header := signed.Signatures[0].Protected
	for _, name := range []jose.HeaderKey{"crit", "b64", "jku", "x5u"} {
		if _, found := header.ExtraHeaders[name]; found {
			return nil, malformed("the token's header has %q, which is not accepted", name)
		}
	}
	if header.JSONWebKey != nil {
		return nil, malformed(`the token's header has "jwk"; keys are taken from the provisioner alone`)
	}
	claims, err := parseClaims(signed.UnsafePayloadWithoutVerification())
	return &jwt{header, claims, signed}, err
}

// isForeign reports whether no compact JWS has such a character.
func isForeign(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

func algorithmNames() string {
	var names []string
	for _, name := range algorithms() {
		names = append(names, string(name))
	}
	return strings.Join(names, ", ")
}

// parseClaims reads a payload. No object in it may name a member twice, for
// readers disagree on which of the two counts, and no number be beyond a
// float64.
func parseClaims(payload []byte) (expr.Claims, error) {
	var claims expr.Claims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, malformed("the token's claims are no JSON object").Because(err)
	}
	var once map[string]any
	if err := strict.Unmarshal(payload, &once); err != nil {
		return nil, malformed("the token's claims can't be read, or one is there twice").Because(err)
	}
	return claims, nil
}

// verify checks the signature by the keys there are.
func (t *jwt) verify(ctx context.Context, keys keySet) error {
	_, err := keys.verify(ctx, t.signed)
	return err
}
