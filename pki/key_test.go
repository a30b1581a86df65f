package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"go.step.sm/crypto/pemutil"

	"omca/pki"
)

func TestParseKeyType(t *testing.T) {
	for in, want := range map[string]pki.KeyType{"": pki.ECP256, "ec-p256": pki.ECP256, "rsa-4096": pki.RSA4096, "ed25519": pki.Ed25519} {
		if got, err := pki.ParseKeyType(in); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	if _, err := pki.ParseKeyType("dsa"); !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), "rsa-3072") {
		t.Errorf("dsa: %v: want the known types named", err)
	}
}

func TestKeysThereAndBack(t *testing.T) {
	for kind, want := range map[pki.KeyType]string{
		"": "EC P-256", pki.ECP256: "EC P-256", pki.ECP384: "EC P-384", pki.Ed25519: "Ed25519", pki.RSA2048: "RSA 2048",
	} {
		k := key(t, kind)
		if got := pki.DescribeKey(k.Public()); got != want {
			t.Errorf("%s: described as %q, want %q", kind, got, want)
		}
		text := must[[]byte](t)(pki.EncodePrivateKey(k))
		if !bytes.HasPrefix(text, []byte("-----BEGIN PRIVATE KEY-----\n")) {
			t.Errorf("%s: encoded as %.40q, want PKCS #8", kind, text)
		}
		crlf := bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
		back := must[crypto.Signer](t)(pki.ParsePrivateKey(crlf, nil))
		if !pki.SameKey(k.Public(), back.Public()) || pki.SameKey(k.Public(), key(t, pki.ECP384).Public()) {
			t.Errorf("%s: another key came back", kind)
		}
	}
	if _, err := pki.GenerateKey("dsa"); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("dsa: %v", err)
	}
}

// encode returns a PEM block.
func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestParsePrivateKeyForms(t *testing.T) {
	ec := key(t, pki.ECP256).(*ecdsa.PrivateKey)
	rsaKey := key(t, pki.RSA2048).(*rsa.PrivateKey)
	sec1 := encode("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(ec)))
	password := []byte("correct horse")
	sealed := must[*pem.Block](t)(pemutil.Serialize(ec, pemutil.WithPKCS8(true), pemutil.WithPassword(password)))
	legacy := must[*pem.Block](t)(pemutil.Serialize(rsaKey, pemutil.WithPassword(password)))
	for name, tt := range map[string]struct {
		text []byte
		want crypto.PublicKey
	}{
		"SEC 1":                    {sec1, ec.Public()},
		"SEC 1 after parameters":   {append(encode("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}), sec1...), ec.Public()},
		"text around":              {append([]byte("Bag Attributes\n"), sec1...), ec.Public()},
		"PKCS #1":                  {encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), rsaKey.Public()},
		"encrypted PKCS #8":        {pem.EncodeToMemory(sealed), ec.Public()},
		"encrypted the legacy way": {pem.EncodeToMemory(legacy), rsaKey.Public()},
	} {
		got, err := pki.ParsePrivateKey(tt.text, password)
		if err != nil || !pki.SameKey(got.Public(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{"PKCS #8": pem.EncodeToMemory(sealed), "legacy": pem.EncodeToMemory(legacy)} {
		if _, err := pki.ParsePrivateKey(text, nil); !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), "no password") {
			t.Errorf("%s without a password: %v", name, err)
		}
		if _, err := pki.ParsePrivateKey(text, []byte("wrong")); !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), "password") {
			t.Errorf("%s with a wrong one: %v", name, err)
		}
	}
}

// pbes2 builds an encrypted PKCS #8 key that asks for iterations and has an IV
// and a cipher text of some length.
func pbes2(t testing.TB, iterations, iv, ciphertext int) []byte {
	t.Helper()
	type algorithm struct {
		OID    asn1.ObjectIdentifier
		Params any
	}
	type kdf struct {
		Salt       []byte
		Iterations int
	}
	type schemes struct{ KDF, Cipher algorithm }
	type info struct {
		Algorithm algorithm
		Data      []byte
	}
	der := must[[]byte](t)(asn1.Marshal(info{
		algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, schemes{
			algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, kdf{[]byte("salt"), iterations}},
			algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, make([]byte, iv)},
		}}, make([]byte, ciphertext)}))
	return encode("ENCRYPTED PRIVATE KEY", der)
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	ec := must[[]byte](t)(pki.EncodePrivateKey(key(t, pki.ECP256)))
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	p224 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	agree := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	block, _ := pem.Decode(ec)
	for name, tt := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":             {nil, "no PEM block"},
		"DER":                 {block.Bytes, "DER"},
		"two keys":            {append(bytes.Clone(ec), ec...), "more than one"},
		"a certificate too":   {append(encode("CERTIFICATE", nil), ec...), "CERTIFICATE"},
		"noise in a block":    {encode("PRIVATE KEY", []byte("noise")), "can be read"},
		"too long":            {bytes.Repeat([]byte("x"), 1<<20), "at most"},
		"RSA 1024":            {must[[]byte](t)(pki.EncodePrivateKey(small)), "1024"},
		"P-224":               {must[[]byte](t)(pki.EncodePrivateKey(p224)), "P-224"},
		"a key to agree with": {encode("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(agree))), "cannot sign"},
		"endless iterations":  {pbes2(t, 2_000_000_000, 16, 32), "iterations"},
		"a few seconds":       {pbes2(t, 1_500_001, 16, 32), "encrypted with 1500001 iterations of PBKDF2, at least 1 and at most 1500000 are accepted"},
		"no iterations":       {pbes2(t, 0, 16, 32), "iterations"},
		"a short IV":          {pbes2(t, 1, 8, 32), "IV"},
		"half a block":        {pbes2(t, 1, 16, 33), "blocks"},
		"no PBES2":            {encode("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), "PBES2"},
	} {
		_, err := pki.ParsePrivateKey(tt.text, []byte("password"))
		if !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestKeyErrorsHoldNoKey(t *testing.T) {
	text := must[[]byte](t)(pki.EncodePrivateKey(key(t, pki.Ed25519)))
	block, _ := pem.Decode(text)
	secret := block.Bytes[len(block.Bytes)-32:]
	for cut := range len(block.Bytes) {
		_, err := pki.ParsePrivateKey(encode("PRIVATE KEY", block.Bytes[:cut]), nil)
		if err == nil {
			t.Fatalf("parsed %d of %d bytes", cut, len(block.Bytes))
		}
		if strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(secret)[:8]) || strings.Contains(err.Error(), string(secret[:4])) {
			t.Fatalf("the key is in %q", err)
		}
	}
}

func TestCheckPublicKey(t *testing.T) {
	n := key(t, pki.RSA2048).Public().(*rsa.PublicKey).N
	for name, pub := range map[string]crypto.PublicKey{
		"RSA 16384":        &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 16383), E: 65537},
		"RSA, exponent 3":  &rsa.PublicKey{N: n, E: 3},
		"RSA, an even one": &rsa.PublicKey{N: n, E: 65538},
		"P-224":            &ecdsa.PublicKey{Curve: elliptic.P224()},
		"no key":           nil,
		"a string":         "key",
	} {
		if err := pki.CheckPublicKey(pub); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSubjectKeyIDIsRFC7093Method1(t *testing.T) {
	pub := key(t, pki.ECP256).Public().(*ecdsa.PublicKey)
	point := must[*ecdh.PublicKey](t)(pub.ECDH()).Bytes()
	sum := sha256.Sum256(point)
	if got := must[[]byte](t)(pki.SubjectKeyID(pub)); !bytes.Equal(got, sum[:20]) {
		t.Errorf("got %x, want %x", got, sum[:20])
	}
	if _, err := pki.SubjectKeyID("key"); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a string: %v", err)
	}
}

func FuzzParsePrivateKey(f *testing.F) {
	f.Add(must[[]byte](f)(pki.EncodePrivateKey(key(f, pki.ECP256))))
	f.Add(must[[]byte](f)(pki.EncodePrivateKey(key(f, pki.Ed25519))))
	f.Add(pbes2(f, 1, 16, 32))
	f.Add(pbes2(f, 1, 0, 7))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := pki.ParsePrivateKey(text, []byte("password"))
		if err != nil {
			if !errors.Is(err, pki.ErrInvalid) {
				t.Fatalf("not ErrInvalid: %v", err)
			}
			return
		}
		if err := pki.CheckPublicKey(k.Public()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestHashKey: the hash of a public key is that of the octets of crypto/x509, and what is no key has none.
func TestHashKey(t *testing.T) {
	keys := map[string]crypto.PublicKey{"p224": must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).Public(), "p521": must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)).Public()}
	for _, kind := range []pki.KeyType{pki.ECP256, pki.ECP384, pki.Ed25519, pki.RSA2048} {
		keys[string(kind)] = must[crypto.Signer](t)(pki.GenerateKey(kind)).Public()
	}
	for name, public := range keys {
		want := sha256.Sum256(must[[]byte](t)(x509.MarshalPKIXPublicKey(public)))
		if got := must[pki.KeyHash](t)(pki.HashKey(public)); got != want {
			t.Errorf("%s: %s, want %x", name, got, want)
		}
	}
	for name, public := range map[string]crypto.PublicKey{
		"on no curve": &ecdsa.PublicKey{},
		"no key":      nil,
		"private":     must[crypto.Signer](t)(pki.GenerateKey(pki.Ed25519)),
	} {
		if got, err := pki.HashKey(public); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}
