package admin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// reasons are the names of CRLReason (RFC 5280 §5.3.1); 7 is not used.
var reasons = [...]string{
	0: "unspecified", 1: "keyCompromise", 2: "cACompromise", 3: "affiliationChanged", 4: "superseded",
	5: "cessationOfOperation", 6: "certificateHold", 8: "removeFromCRL", 9: "privilegeWithdrawn", 10: "aACompromise",
}

// operatorReasons are those a leaf can be revoked with for good.
var operatorReasons = []int{0, 1, 3, 4, 5, 9}

func reasonName(reason int) string {
	if reason >= 0 && reason < len(reasons) && reasons[reason] != "" {
		return reasons[reason]
	}
	return strconv.Itoa(reason)
}

// ParseReason reads a revocation reason by its name in RFC 5280 §5.3.1, in any
// case and with or without hyphens, or by its number. "" is unspecified.
func ParseReason(text string) (int, error) {
	wanted := strings.ReplaceAll(strings.ToLower(text), "-", "")
	var known []string
	for _, reason := range operatorReasons {
		if wanted == "" || wanted == strings.ToLower(reasons[reason]) || wanted == strconv.Itoa(reason) {
			return reason, nil
		}
		known = append(known, reasons[reason])
	}
	return 0, fmt.Errorf("%.40q is no reason to revoke a certificate; use one of %s", text, strings.Join(known, ", "))
}

// Reasons lists what ParseReason accepts, for help texts.
func Reasons() []string {
	list := make([]string, 0, len(operatorReasons))
	for _, reason := range operatorReasons {
		list = append(list, reasons[reason])
	}
	return slices.Clip(list)
}
