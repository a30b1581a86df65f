package openidtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"time"
)

// Serve serves an issuer by plain HTTP at address, "127.0.0.1:0" for a free port, under the path /realms/clu. Its URL follows from
// that. Stop ends it.
func Serve(address string, c Config) (i *Issuer, stop func() error, err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	c.URL = "http://" + l.Addr().String() + "/realms/clu"
	return serve(l, c)
}

// ServeTLS is [Serve] by HTTPS. The certificate is signed by the CA that is returned, PEM.
func ServeTLS(address string, c Config) (i *Issuer, ca []byte, stop func() error, err error) {
	pair, ca, err := certificate()
	if err != nil {
		return nil, nil, nil, err
	}
	l, err := tls.Listen("tcp", address, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, nil, nil, err
	}
	c.URL = "https://" + l.Addr().String() + "/realms/clu"
	i, stop, err = serve(l, c)
	return i, ca, stop, err
}

func serve(l net.Listener, c Config) (*Issuer, func() error, error) {
	i, err := New(c)
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: i, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with stop
	return i, server.Close, nil
}

// certificate makes a CA, PEM, and a certificate for the loopback signed by it.
func certificate() (pair tls.Certificate, ca []byte, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair, nil, err
	}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer's CA"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: from, NotAfter: until,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		return pair, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), caKey)
	if err != nil {
		return pair, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), nil
}
