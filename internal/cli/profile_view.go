package cli

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"chancery/internal/identifier"
	"chancery/internal/keys"
	"chancery/internal/profile"
)

// trialFacts are the facts about a certificate, as printFields takes them.
func trialFacts(cert *x509.Certificate, names []identifier.Identifier) []string {
	facts := []string{
		"subject", cert.Subject.String(),
		"issuer", cert.Issuer.String(),
		"valid", when(cert.NotBefore) + " to " + when(cert.NotAfter),
		"key", keys.TypeOf(cert.PublicKey),
	}
	for _, name := range names {
		facts = append(facts, "name", name.String())
	}
	facts = append(facts, "key usages", keyUsagesOf(cert.KeyUsage))
	for _, extension := range cert.Extensions {
		name := extensionName(extension.Id.String())
		if name == "" {
			continue
		}
		value := hex.EncodeToString(extension.Value)
		switch name {
		case "basic constraints":
			value = caOf(cert)
		case "extended key usages":
			value = purposesOf(cert)
		}
		if extension.Critical {
			value += " (critical)"
		}
		facts = append(facts, name, value)
	}
	return facts
}

// extensionName is what an extension is called, or "" for one that is shown
// elsewhere or is the same in all certificates.
func extensionName(oid string) string {
	switch oid {
	case "2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.35":
		return ""
	case "2.5.29.19":
		return "basic constraints"
	case "2.5.29.30":
		return "name constraints"
	case "2.5.29.31":
		return "CRL distribution points"
	case "2.5.29.32":
		return "policies"
	case "2.5.29.37":
		return "extended key usages"
	case "2.5.29.56":
		return "no revocation"
	case "1.3.6.1.5.5.7.1.1":
		return "authority information"
	case "1.3.6.1.5.5.7.1.24":
		return "must staple"
	}
	return oid
}

func caOf(cert *x509.Certificate) string {
	switch {
	case !cert.IsCA:
		return "no CA"
	case cert.MaxPathLen < 0:
		return "CA"
	}
	return "CA, path length " + strconv.Itoa(cert.MaxPathLen)
}

func keyUsagesOf(usage x509.KeyUsage) string {
	var names []string
	for i, name := range profile.KeyUsages() {
		if usage&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

func purposesOf(cert *x509.Certificate) string {
	var names []string
	for _, usage := range cert.ExtKeyUsage {
		names = append(names, usage.String())
	}
	for _, oid := range cert.UnknownExtKeyUsage {
		names = append(names, fmt.Sprint(oid))
	}
	return strings.Join(names, " ")
}
