package cli

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"chancery/internal/acmeclient"
	"chancery/internal/keys"
	"chancery/internal/serial"
)

// certView is a certificate or a certificate signing request, as it is shown.
type certView struct {
	Kind        string      `json:"kind"` // "certificate" or "request"
	Subject     string      `json:"subject,omitempty"`
	Names       []string    `json:"names"`
	Serial      string      `json:"serial,omitempty"` // 40 lower-case hexadecimal digits
	Status      string      `json:"status,omitempty"` // where the inventory was asked, as is Profile
	RevokedAt   time.Time   `json:"revoked_at,omitzero"`
	Reason      string      `json:"reason,omitempty"`
	Profile     string      `json:"profile,omitempty"`
	Issuer      string      `json:"issuer,omitempty"`
	NotBefore   time.Time   `json:"not_before,omitzero"`
	NotAfter    time.Time   `json:"not_after,omitzero"`
	Key         string      `json:"key"`
	KeyHash     string      `json:"key_sha256"` // of the SubjectPublicKeyInfo
	Signature   string      `json:"signature"`
	CA          bool        `json:"ca"`
	Usages      []string    `json:"usages,omitempty"`
	Fingerprint string      `json:"fingerprint,omitempty"` // SHA-256 in hexadecimal
	PEM         string      `json:"pem"`
	Chain       []*certView `json:"chain,omitempty"` // what came with it
	TLS         *tlsView    `json:"tls,omitempty"`   // where a server was asked
}

// tlsView is what a handshake has shown.
type tlsView struct {
	Address string `json:"address"`
	Version string `json:"version"`
	Cipher  string `json:"cipher"`
	Trusted bool   `json:"trusted"`
	Reason  string `json:"reason,omitempty"` // why it is not trusted
}

func viewX509(c *x509.Certificate) *certView {
	hash := sha256.Sum256(c.Raw)
	view := &certView{
		Kind: "certificate", Subject: c.Subject.String(), Issuer: c.Issuer.String(),
		Names:     namesOf(c.DNSNames, c.IPAddresses, c.EmailAddresses, c.URIs),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		Signature: c.SignatureAlgorithm.String(), CA: c.IsCA, Usages: usagesOf(c),
		Serial: c.SerialNumber.Text(16), Fingerprint: hex.EncodeToString(hash[:]), PEM: encodeBlock("CERTIFICATE", c.Raw),
	}
	if number, ok := serial.FromBig(c.SerialNumber); ok {
		view.Serial = number.String()
	}
	view.setKey(c.PublicKey, c.RawSubjectPublicKeyInfo)
	return view
}

func viewRequest(r *x509.CertificateRequest) *certView {
	view := &certView{
		Kind: "request", Subject: r.Subject.String(), Names: namesOf(r.DNSNames, r.IPAddresses, r.EmailAddresses, r.URIs),
		Signature: r.SignatureAlgorithm.String(), PEM: encodeBlock("CERTIFICATE REQUEST", r.Raw),
	}
	if r.CheckSignature() != nil {
		view.Signature += ", which is wrong"
	}
	view.setKey(r.PublicKey, r.RawSubjectPublicKeyInfo)
	return view
}

func (v *certView) setKey(public crypto.PublicKey, info []byte) {
	hash := sha256.Sum256(info)
	v.Key, v.KeyHash = keys.TypeOf(public), hex.EncodeToString(hash[:])
}

func encodeBlock(typ string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

func namesOf(hosts []string, addresses []net.IP, emails []string, uris []*url.URL) []string {
	names := append([]string{}, hosts...)
	for _, address := range addresses {
		names = append(names, address.String())
	}
	names = append(names, emails...)
	for _, uri := range uris {
		names = append(names, uri.String())
	}
	return names
}

// usagesOf names the key usages and extended key usages as RFC 5280 §4.2.1.3
// and §4.2.1.12 do.
func usagesOf(c *x509.Certificate) []string {
	var names []string
	for i, name := range [...]string{
		"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
		"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
	} {
		if c.KeyUsage&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	known := map[x509.ExtKeyUsage]string{
		x509.ExtKeyUsageAny: "anyExtendedKeyUsage", x509.ExtKeyUsageServerAuth: "serverAuth",
		x509.ExtKeyUsageClientAuth: "clientAuth", x509.ExtKeyUsageCodeSigning: "codeSigning",
		x509.ExtKeyUsageEmailProtection: "emailProtection", x509.ExtKeyUsageTimeStamping: "timeStamping",
		x509.ExtKeyUsageOCSPSigning: "OCSPSigning",
	}
	for _, usage := range c.ExtKeyUsage {
		if name := known[usage]; name != "" {
			names = append(names, name)
		}
	}
	for _, usage := range c.UnknownExtKeyUsage {
		names = append(names, usage.String())
	}
	return names
}

// print writes a certificate for people.
func (v *certView) print(w io.Writer, now time.Time) error {
	fields := []string{
		"kind", v.Kind,
		"subject", v.Subject,
		"names", strings.Join(v.Names, " "),
		"serial", v.Serial,
		"status", v.Status,
		"revoked", when(v.RevokedAt),
		"reason", v.Reason,
		"profile", v.Profile,
		"issuer", v.Issuer,
	}
	if !v.NotAfter.IsZero() {
		fields = append(fields, "valid from", when(v.NotBefore), "valid until", when(v.NotAfter)+" ("+v.expiry(now)+")")
	}
	if v.CA {
		fields = append(fields, "CA", "yes")
	}
	fields = append(fields,
		"key", v.Key,
		"signature", v.Signature,
		"usages", strings.Join(v.Usages, " "),
		"SHA-256", v.Fingerprint,
		"key SHA-256", v.KeyHash,
	)
	for i, above := range v.Chain {
		fields = append(fields, fmt.Sprintf("chain %d", i+1), above.Subject+", "+above.expiry(now))
	}
	if v.TLS != nil {
		fields = append(fields, "TLS", v.TLS.Version+" "+v.TLS.Cipher+" at "+v.TLS.Address, "trusted", v.TLS.trust())
	}
	return printFields(w, fields...)
}

func (v *certView) expiry(now time.Time) string {
	switch {
	case now.Before(v.NotBefore):
		return "begins " + distance(v.NotBefore, now)
	case now.After(v.NotAfter):
		return "expired " + distance(v.NotAfter, now)
	default:
		return "expires " + distance(v.NotAfter, now)
	}
}

func (t *tlsView) trust() string {
	if t.Trusted {
		return "yes"
	}
	return "no: " + t.Reason
}

// certResult is what "cert issue" and "cert renew" tell.
type certResult struct {
	Dir             string    `json:"dir"`
	Renewed         bool      `json:"renewed"`
	RenewAfter      time.Time `json:"renew_after"` // when renewing will be due, to the best of our knowledge
	Certificate     *certView `json:"certificate,omitempty"`
	Files           []string  `json:"files,omitempty"`
	P12PasswordFile string    `json:"p12_password_file,omitempty"`
	Error           string    `json:"error,omitempty"`
}

func viewResult(r *acmeclient.Result) certResult {
	return certResult{
		Dir: r.Dir, Renewed: r.Renewed, RenewAfter: r.Due.UTC(), Files: r.Files, P12PasswordFile: r.P12PasswordFile,
		Certificate: viewX509(r.Chain[0]),
	}
}

func printResult(w io.Writer, r certResult) error {
	leaf := r.Certificate
	fields := []string{
		"names", strings.Join(leaf.Names, " "),
		"serial", leaf.Serial,
		"valid until", when(leaf.NotAfter) + " (" + distance(leaf.NotAfter, time.Now()) + ")",
	}
	for i, file := range r.Files {
		label := ""
		if i == 0 {
			label = "written"
		}
		fields = append(fields, label, file)
	}
	if err := printFields(w, append(fields, "password in", r.P12PasswordFile)...); err != nil {
		return err
	}
	from, advice, command := r.RenewAfter.Format(time.DateOnly), "run this daily, it does nothing until then", "renew"
	if leaf.NotAfter.Sub(r.RenewAfter) < 36*time.Hour { // once a day may be too late
		from, advice, command = when(r.RenewAfter), "keep this running", "renew --daemon"
	}
	_, err := fmt.Fprintf(w, "\nRenew it from %s on; %s:\n\n  chancery cert %s %s\n", from, advice, command, shellWord(r.Dir))
	return err
}

// distance says how far a time is from now.
func distance(t, now time.Time) string {
	d := t.Sub(now)
	past := d < 0
	if past {
		d = -d
	}
	var text string
	switch {
	case d >= 48*time.Hour:
		text = fmt.Sprintf("%.0f days", d.Hours()/24)
	case d >= 2*time.Hour:
		text = fmt.Sprintf("%.0f hours", d.Hours())
	default:
		text = fmt.Sprintf("%.0f minutes", d.Minutes())
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}
