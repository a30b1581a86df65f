package flockertest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"

	"omca/pki"
)

// Lifetime is that of every certificate.
const Lifetime = 20 * 365 * 24 * time.Hour

// A Holder is a certificate, DER, with its key.
type Holder struct {
	DER []byte
	Key crypto.Signer
}

// An Authority is a CA as Flocker made them.
type Authority struct {
	Holder
	t       testing.TB
	start   time.Time
	name    string
	cluster string
	keyID   []byte
}

// New makes the CA of a cluster with that name and UUID, whose certificates all
// begin at start.
func New(t testing.TB, name, cluster string, start time.Time) *Authority {
	t.Helper()
	a := &Authority{t: t, start: start, name: name, cluster: cluster}
	a.Key = a.key()
	var err error
	if a.keyID, err = pki.SubjectKeyID(a.Key.Public()); err != nil {
		t.Fatal(err)
	}
	a.DER = a.sign(name, a.Key, func(b *cryptobyte.Builder) {
		extension(b, []int{2, 5, 29, 19}, true, func(b *cryptobyte.Builder) { // CA:TRUE, pathlen:0
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Boolean(true)
				b.AddASN1Int64(0)
			})
		})
		extension(b, []int{2, 5, 29, 15}, true, func(b *cryptobyte.Builder) { // keyCertSign, cRLSign
			b.AddASN1(cryptobyte_asn1.BIT_STRING, func(b *cryptobyte.Builder) { b.AddBytes([]byte{1, 0x06}) })
		})
		extension(b, []int{2, 5, 29, 14}, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(a.keyID) })
		extension(b, []int{2, 5, 29, 35}, false, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cryptobyte_asn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(a.keyID) })
			})
		})
	})
	return a
}

// Control makes the certificate of the control service on a host: its only
// extension are its names.
func (a *Authority) Control(host string) Holder {
	return a.holder("control-service", func(b *cryptobyte.Builder) {
		extension(b, []int{2, 5, 29, 17}, false, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				dns := cryptobyte_asn1.Tag(2).ContextSpecific()
				b.AddASN1(dns, func(b *cryptobyte.Builder) { b.AddBytes([]byte("control-service")) })
				if ip, err := netip.ParseAddr(host); err == nil {
					b.AddASN1(cryptobyte_asn1.Tag(7).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(ip.AsSlice()) })
					return
				}
				b.AddASN1(dns, func(b *cryptobyte.Builder) { b.AddBytes([]byte(host)) })
			})
		})
	})
}

// Node makes the certificate of a node: it has no extension.
func (a *Authority) Node(id string) Holder { return a.holder("node-"+id, nil) }

// User makes the certificate of a user: its only extension is clientAuth.
func (a *Authority) User(name string) Holder {
	return a.holder("user-"+name, func(b *cryptobyte.Builder) {
		extension(b, []int{2, 5, 29, 37}, false, func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2})
			})
		})
	})
}

func (a *Authority) holder(cn string, extensions func(*cryptobyte.Builder)) Holder {
	key := a.key()
	return Holder{a.sign(cn, key, extensions), key}
}

func (a *Authority) key() crypto.Signer {
	key, err := pki.GenerateKey(pki.RSA2048)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

// sign makes a certificate for cn, nil extensions for none.
func (a *Authority) sign(cn string, key crypto.Signer, extensions func(*cryptobyte.Builder)) []byte {
	a.t.Helper()
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		a.t.Fatal(err)
	}
	serial := make([]byte, 16)
	rand.Read(serial) // never fails
	var b cryptobyte.Builder
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) { // no version: it is 1
		b.AddASN1BigInt(new(big.Int).SetBytes(serial))
		sha256WithRSA(b)
		a.distinguishedName(b, a.name)
		b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1GeneralizedTime(a.start.UTC())
			b.AddASN1GeneralizedTime(a.start.UTC().Add(Lifetime))
		})
		a.distinguishedName(b, cn)
		b.AddBytes(public)
		if extensions != nil {
			b.AddASN1(cryptobyte_asn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
				b.AddASN1(cryptobyte_asn1.SEQUENCE, extensions)
			})
		}
	})
	tbs, err := b.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	sum := sha256.Sum256(tbs)
	signature, err := a.Key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		a.t.Fatal(err)
	}
	var whole cryptobyte.Builder
	whole.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		sha256WithRSA(b)
		b.AddASN1BitString(signature)
	})
	der, err := whole.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func sha256WithRSA(b *cryptobyte.Builder) {
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11})
		b.AddASN1NULL()
	})
}

// distinguishedName adds the cluster's unit and a common name, as UTF8String.
func (a *Authority) distinguishedName(b *cryptobyte.Builder, cn string) {
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, part := range []struct {
			id    asn1.ObjectIdentifier
			value string
		}{{[]int{2, 5, 4, 11}, a.cluster}, {[]int{2, 5, 4, 3}, cn}} {
			b.AddASN1(cryptobyte_asn1.SET, func(b *cryptobyte.Builder) {
				b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(part.id)
					b.AddASN1(cryptobyte_asn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(part.value)) })
				})
			})
		}
	})
}

func extension(b *cryptobyte.Builder, id asn1.ObjectIdentifier, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(cryptobyte_asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(id)
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(cryptobyte_asn1.OCTET_STRING, value)
	})
}

// Certificate returns the certificate as PEM.
func (h Holder) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.DER})
}

// Write writes name.crt and name.key to dir.
func (h Holder) Write(t testing.TB, dir, name string) {
	t.Helper()
	key, err := pki.EncodePrivateKey(h.Key)
	if err != nil {
		t.Fatal(err)
	}
	for ending, text := range map[string][]byte{".crt": h.Certificate(), ".key": key} {
		if err := os.WriteFile(filepath.Join(dir, name+ending), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
