package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// bare is the least that issuing can cost: the standard library alone, in one
// goroutine, nothing checked but the request, nothing kept.
type bare struct {
	ca  *x509.Certificate
	key crypto.Signer
}

func newBare() (*bare, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bare CA"},
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return &bare{ca, key}, err
}

// issue does it once: PEM in, PEM out.
func (b *bare) issue(request []byte) ([]byte, error) {
	block, _ := pem.Decode(request)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: csr.Subject, DNSNames: csr.DNSNames,
		NotBefore: time.Now(), NotAfter: time.Now().AddDate(0, 0, 1), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, b.ca, csr.PublicKey, b.key)
	if err != nil {
		return nil, err
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// cpu returns the processor time of one bare issuance, over the requests.
func (b *bare) cpu(requests [][]byte) (time.Duration, error) {
	before, err := ownCPU()
	if err != nil {
		return 0, err
	}
	for _, r := range requests {
		if _, err := b.issue(r); err != nil {
			return 0, err
		}
	}
	after, err := ownCPU()
	return (after - before) / time.Duration(len(requests)), err
}

// ownCPU is the processor time that this thread's process has used.
func ownCPU() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// makeRequests returns n PKCS #10 requests, each for a key of its own.
func makeRequests(n int) ([][]byte, error) {
	all := make([][]byte, n)
	for i := range all {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("node%d.bench.example", i)
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		}, key)
		if err != nil {
			return nil, err
		}
		all[i] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	return all, nil
}

// syncer writes a page and waits until the disk has it.
type syncer struct {
	file *os.File
	page []byte
	next int64
}

const syncerPages = 1024

func newSyncer(dir, name string) (*syncer, error) {
	f, err := os.Create(filepath.Join(dir, "sync-"+name))
	if err != nil {
		return nil, err
	}
	s := &syncer{file: f, page: make([]byte, 4096)}
	// The file has its size and its blocks before anything is measured, as a journal has.
	if _, err := f.Write(make([]byte, syncerPages*len(s.page))); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, f.Sync()
}

// sync does it once and returns how long that took.
func (s *syncer) sync() (time.Duration, error) {
	begin := time.Now()
	if _, err := s.file.WriteAt(s.page, s.next%syncerPages*int64(len(s.page))); err != nil {
		return 0, err
	}
	s.next++
	err := unix.Fdatasync(int(s.file.Fd()))
	return time.Since(begin), err
}

func (s *syncer) close() error { return s.file.Close() }
