package profile

import (
	"crypto"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"chancery/internal/failure"
	"chancery/internal/keys"
)

// The RSA sizes that are certified, in bits.
const (
	minRSA = 2048
	maxRSA = 8192
)

// class sorts keys by what their algorithm can do, and so by the key usages
// they can have.
type class uint8

const (
	classEC class = iota
	classEd25519
	classRSA
	classes
)

// String is what messages call the keys of the class.
func (c class) String() string { return [classes]string{"P-256, P-384 and P-521", "Ed25519", "RSA"}[c] }

func allKeyTypes() []string { return []string{"P-256", "P-384", "P-521", "Ed25519", "RSA"} }

// CheckKey returns a failure of kind BadCSR unless the profile certifies keys
// of pub's type and size. It says nothing about the quality of the key.
func (p *Profile) CheckKey(pub crypto.PublicKey) error {
	kind := keys.TypeOf(pub)
	if slices.Contains(p.Spec.KeyTypes, kind) {
		return nil
	}
	if bits, ok := rsaBits(kind); ok && bits >= minRSA && bits <= maxRSA && slices.Contains(p.Spec.KeyTypes, "RSA") {
		return nil
	}
	if kind == "" {
		kind = fmt.Sprintf("of type %T", pub)
	}
	return failure.New(failure.BadCSR, "the key is %s; the profile %s takes %s",
		kind, p.Name, strings.Join(p.Spec.KeyTypes, ", "))
}

// classOf sorts a name out of key_types, or reports that it is none.
func classOf(kind string) (class, bool) {
	switch kind {
	case "P-256", "P-384", "P-521":
		return classEC, true
	case "Ed25519":
		return classEd25519, true
	case "RSA":
		return classRSA, true
	}
	bits, ok := rsaBits(kind)
	return classRSA, ok && bits >= minRSA && bits <= maxRSA
}

func rsaBits(kind string) (int, bool) {
	digits, found := strings.CutPrefix(kind, "RSA-")
	bits, err := strconv.Atoi(digits)
	return bits, found && err == nil && strconv.Itoa(bits) == digits
}
