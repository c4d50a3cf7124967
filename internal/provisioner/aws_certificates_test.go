package provisioner

import (
	"crypto/rsa"
	"testing"
	"time"
)

// TestAWSCertificates proves the transcription: each certificate is signed by
// its own key, so no octet of it can be another.
func TestAWSCertificates(t *testing.T) {
	certificates, err := parseRegional(awsPEM, "")
	if err != nil {
		t.Fatal(err)
	}
	const regions = 38
	if len(certificates) != regions {
		t.Errorf("%d regions; want %d", len(certificates), regions)
	}
	serials := make(map[string]string)
	for region, c := range certificates {
		if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
			t.Errorf("%s: %v", region, err)
		}
		if got := c.Subject.String(); got != "O=Amazon Web Services LLC,L=Seattle,ST=Washington State,C=US" || c.Issuer.String() != got {
			t.Errorf("%s: it is of %s", region, got)
		}
		if key, _ := c.PublicKey.(*rsa.PublicKey); key == nil || key.N.BitLen() != 2048 {
			t.Errorf("%s: its key is no RSA-2048 key", region)
		}
		if c.NotAfter.Before(time.Date(2190, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: it expires at %s", region, c.NotAfter)
		}
		if other, found := serials[c.SerialNumber.String()]; found {
			t.Errorf("%s has the certificate of %s", region, other)
		}
		serials[c.SerialNumber.String()] = region
	}
}
