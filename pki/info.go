package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/cloudflare/cfssl/certinfo"
)

// CertificateInfo is the JSON view of a certificate: cfssl's, with what it leaves out.
type CertificateInfo struct {
	certinfo.Certificate          // serial_number is decimal here; sans hold every kind of name
	Serial               Serial   `json:"serial"`
	Fingerprint          string   `json:"sha256_fingerprint"` // lower-case hexadecimal, of the DER
	Key                  string   `json:"key"`                // as DescribeKey
	IsCA                 bool     `json:"is_ca"`
	KeyUsage             string   `json:"key_usage"`
	ExtKeyUsage          []string `json:"ext_key_usage"`
}

// Info returns the JSON view of any certificate.
func Info(cert *x509.Certificate) CertificateInfo {
	info := CertificateInfo{
		Certificate: *certinfo.ParseCertificate(cert),
		Serial:      SerialOf(cert),
		Fingerprint: Fingerprint(cert),
		Key:         DescribeKey(cert.PublicKey),
		IsCA:        cert.BasicConstraintsValid && cert.IsCA,
	}
	info.KeyUsage, info.ExtKeyUsage = Uses(cert)
	// certinfo lists DNS names and addresses only.
	names := NamesOf(cert)
	info.SANs = slices.Concat(info.SANs, names.Email, names.URI)
	return info
}

// Uses returns what the key of a certificate may be used for, as RFC 5280 names
// it: the key usage, comma separated, and the extended ones.
func Uses(cert *x509.Certificate) (usage string, extended []string) {
	extended = []string{}
	for _, use := range cert.ExtKeyUsage {
		extended = append(extended, use.String())
	}
	return describeKeyUsage(cert.KeyUsage), extended
}

// Fingerprint returns the SHA-256 hash of a certificate's DER, in lower-case
// hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// describeKeyUsage names the bits of a key usage as RFC 5280, 4.2.1.3 does, comma
// separated: x509.KeyUsage.String knows them one at a time.
func describeKeyUsage(usage x509.KeyUsage) string {
	var names []string
	for bit := x509.KeyUsageDigitalSignature; bit <= x509.KeyUsageDecipherOnly; bit <<= 1 {
		if usage&bit != 0 {
			names = append(names, bit.String())
		}
	}
	return strings.Join(names, ", ")
}
