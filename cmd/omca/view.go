package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// certificateView is what there is to say about a certificate that came from anywhere.
type certificateView struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	State     string    `json:"state"` // valid, expired, not yet valid
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"`
	Key       string    `json:"key_type"`
	Usages    []string  `json:"usages"`
	CA        bool      `json:"ca"`
	Signature string    `json:"signature_algorithm"`
	SHA256    string    `json:"sha256"`
	PEM       string    `json:"certificate"`
}

// explain holds back what there is to say about every certificate of a file: PEM, or one DER.
func (c *call) explain(text []byte) error {
	certs, err := parseCertificates(text)
	if err != nil {
		return err
	}
	views := make([]certificateView, len(certs))
	for i, cert := range certs {
		views[i] = view(cert, c.now())
	}
	if c.format != "table" {
		return emit(c.printer, views, viewColumns())
	}
	for i, v := range views {
		if i > 0 {
			c.print("\n")
		}
		if err := emitOne(c.printer, v, viewColumns()); err != nil {
			return err
		}
	}
	return nil
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		cert, err := x509.ParseCertificate(text)
		if err != nil {
			return nil, errors.New("neither a PEM nor a DER certificate")
		}
		return []*x509.Certificate{cert}, nil
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in the PEM text")
	}
	return certs, nil
}

func view(cert *x509.Certificate, now time.Time) certificateView {
	sum := sha256.Sum256(cert.Raw)
	v := certificateView{
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Serial: fmt.Sprintf("%x", cert.SerialNumber),
		State: "valid", NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(),
		DaysLeft: max(0, int(cert.NotAfter.Sub(now)/(24*time.Hour))),
		Key:      keyText(cert), Usages: usages(cert), CA: cert.IsCA,
		Signature: cert.SignatureAlgorithm.String(), SHA256: hex.EncodeToString(sum[:]),
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
	}
	switch {
	case now.After(cert.NotAfter):
		v.State = "expired"
	case now.Before(cert.NotBefore):
		v.State = "not yet valid"
	}
	v.Names = sans(cert)
	return v
}

// sans are the subject alternative names, written as keyword alt_names takes them.
func sans(cert *x509.Certificate) []string {
	names := []string{}
	for _, name := range cert.DNSNames {
		names = append(names, "DNS:"+name)
	}
	for _, ip := range cert.IPAddresses {
		names = append(names, "IP:"+ip.String())
	}
	for _, u := range cert.URIs {
		names = append(names, "URI:"+u.String())
	}
	for _, address := range cert.EmailAddresses {
		names = append(names, "email:"+address)
	}
	return names
}

func keyText(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "EC " + key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return cert.PublicKeyAlgorithm.String()
}

func usages(cert *x509.Certificate) []string {
	var list []string
	for bit := x509.KeyUsageDigitalSignature; bit <= x509.KeyUsageDecipherOnly; bit <<= 1 {
		if cert.KeyUsage&bit != 0 {
			list = append(list, bit.String())
		}
	}
	for _, usage := range cert.ExtKeyUsage {
		list = append(list, usage.String())
	}
	for _, oid := range cert.UnknownExtKeyUsage {
		list = append(list, oid.String())
	}
	return list
}

func viewColumns() []column[certificateView] {
	return []column[certificateView]{
		{name: "SUBJECT", text: func(v certificateView) string { return v.Subject }},
		{name: "NAMES", text: func(v certificateView) string { return strings.Join(v.Names, " ") }},
		{name: "ISSUER", text: func(v certificateView) string { return v.Issuer }},
		{name: "SERIAL", text: func(v certificateView) string { return v.Serial }},
		{name: "STATE", text: func(v certificateView) string { return v.State }},
		{name: "NOT BEFORE", text: func(v certificateView) string { return instant(v.NotBefore) }},
		{name: "NOT AFTER", text: func(v certificateView) string { return instant(v.NotAfter) }},
		{name: "DAYS LEFT", text: func(v certificateView) string { return fmt.Sprint(v.DaysLeft) }},
		{name: "KEY", text: func(v certificateView) string { return v.Key }},
		{name: "USAGES", text: func(v certificateView) string { return strings.Join(v.Usages, " ") }},
		{name: "CA", text: func(v certificateView) string {
			if v.CA {
				return "yes"
			}
			return "no"
		}},
		{name: "SHA256", text: func(v certificateView) string { return v.SHA256 }},
	}
}
