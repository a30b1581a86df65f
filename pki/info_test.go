package pki

import (
	"crypto/x509"
	"testing"
)

func TestDescribeKeyUsage(t *testing.T) {
	for usage, want := range map[x509.KeyUsage]string{
		0:                             "",
		x509.KeyUsageDigitalSignature: "digitalSignature",
		x509.KeyUsageCertSign | x509.KeyUsageCRLSign:         "keyCertSign, cRLSign",
		x509.KeyUsageDecipherOnly:                            "decipherOnly",
		x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign: "digitalSignature, cRLSign",
	} {
		if got := describeKeyUsage(usage); got != want {
			t.Errorf("%d: %q, want %q", usage, got, want)
		}
	}
}
