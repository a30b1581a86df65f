package crl_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/crl"
	"omca/pki"
)

const hour = time.Hour

// ecdsaWithSHA256 is the AlgorithmIdentifier that the tests sign with.
const ecdsaWithSHA256 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"

// now is the time of every test that does not say otherwise.
func now() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

// must returns a function that gives the value of a call that must not fail.
func must[T any](tb testing.TB) func(T, error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// identity is a certificate with its key.
type identity struct {
	*x509.Certificate
	key crypto.Signer
}

// certOption changes the template of a certificate.
type certOption func(*x509.Certificate)

func serial(n int64) certOption {
	return func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) }
}

func bigSerial(n *big.Int) certOption {
	return func(c *x509.Certificate) { c.SerialNumber = n }
}

// asCA makes a CA that may sign certificates and lists.
func asCA(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid = true, true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
}

func usage(u x509.KeyUsage) certOption {
	return func(c *x509.Certificate) { c.KeyUsage = u }
}

// points gives a certificate CRLDistributionPoints, made of dp.
func points(all ...[]byte) certOption {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{2, 5, 29, 31}, Value: seq(all...)})
	}
}

// certify makes a certificate of name, signed by issuer, which signs itself if nil.
func certify(tb testing.TB, issuer *identity, name string, options ...certOption) *identity {
	tb.Helper()
	return certifyKey(tb, issuer, name, must[crypto.Signer](tb)(pki.GenerateKey(pki.ECP256)), options...)
}

func certifyKey(tb testing.TB, issuer *identity, name string, key crypto.Signer, options ...certOption) *identity {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Test Certificates"}},
		NotBefore: now().Add(-1000 * hour), NotAfter: now().Add(1000 * hour), KeyUsage: x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, SubjectKeyId: must[[]byte](tb)(pki.SubjectKeyID(key.Public())),
	}
	for _, o := range options {
		o(template)
	}
	signer := issuer
	if signer == nil {
		signer = &identity{template, key}
	}
	der := must[[]byte](tb)(x509.CreateCertificate(rand.Reader, template, signer.Certificate, key.Public(), signer.key))
	return &identity{must[*x509.Certificate](tb)(x509.ParseCertificate(der)), key}
}

// draft is a list to be written as it stands, right or wrong.
type draft struct {
	signer     *identity
	issuer     []byte // name, if not the signer's
	number     int64  // none if negative
	base       int64  // makes it a delta if positive
	thisUpdate time.Time
	nextUpdate time.Time // none if zero
	entries    [][]byte
	extensions [][]byte
	noKeyID    bool
	generalized,
	badSignature bool
}

// list is a draft of a list that is right: number 1, one day old, good for another.
func list(signer *identity, entries ...[]byte) draft {
	return draft{signer: signer, number: 1, thisUpdate: now().Add(-24 * hour), nextUpdate: now().Add(24 * hour), entries: entries}
}

func (d draft) with(change func(*draft)) draft {
	d.extensions, d.entries = slices.Clone(d.extensions), slices.Clone(d.entries)
	change(&d)
	return d
}

// idp gives a list a scope.
func (d draft) idp(parts ...[]byte) draft {
	return d.with(func(d *draft) { d.extensions = append(d.extensions, ext("\x55\x1d\x1c", true, seq(parts...))) })
}

func (d draft) numbered(n int64) draft { return d.with(func(d *draft) { d.number = n }) }

// delta makes a list one that has what changed since base.
func (d draft) delta(base int64) draft {
	return d.with(func(d *draft) {
		d.base = base
		d.extensions = append(d.extensions, ext("\x55\x1d\x1b", true, integerDER(base)))
	})
}

func (d draft) der(tb testing.TB) []byte {
	tb.Helper()
	utc := func(t time.Time) []byte {
		if d.generalized {
			return element(asn1.GeneralizedTime, []byte(t.UTC().Format("20060102150405Z")))
		}
		return element(asn1.UTCTime, []byte(t.UTC().Format("060102150405Z")))
	}
	extensions := slices.Clone(d.extensions)
	if !d.noKeyID {
		extensions = append(extensions, ext("\x55\x1d\x23", false, seq(element(0x80, d.signer.SubjectKeyId))))
	}
	if d.number >= 0 {
		extensions = append(extensions, ext("\x55\x1d\x14", false, integerDER(d.number)))
	}
	algorithm := []byte(ecdsaWithSHA256)
	issuer := d.issuer
	if issuer == nil {
		issuer = d.signer.RawSubject
	}
	parts := [][]byte{integerDER(1), algorithm, issuer, utc(d.thisUpdate)}
	if !d.nextUpdate.IsZero() {
		parts = append(parts, utc(d.nextUpdate))
	}
	if len(d.entries) > 0 {
		parts = append(parts, seq(d.entries...))
	}
	if len(extensions) > 0 {
		parts = append(parts, element(0xa0, seq(extensions...)))
	}
	tbs := seq(parts...)
	signature := must[[]byte](tb)(crypto.SignMessage(d.signer.key, rand.Reader, tbs, crypto.SHA256))
	if d.badSignature {
		signature[len(signature)-1] ^= 1
	}
	return seq(tbs, algorithm, element(asn1.BIT_STRING, append([]byte{0}, signature...)))
}

// parse reads a draft.
func (d draft) parse(tb testing.TB) *crl.List {
	tb.Helper()
	return must[*crl.List](tb)(crl.Parse(d.der(tb), crl.DefaultLimits()))
}

// verify reads a draft and holds it against its signer.
func (d draft) verify(tb testing.TB) *crl.Verified {
	tb.Helper()
	return must[*crl.Verified](tb)(d.parse(tb).Verify(d.signer.Certificate))
}

func element(tag asn1.Tag, content ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(content, nil)) })
	return b.BytesOrPanic()
}

func seq(content ...[]byte) []byte { return element(asn1.SEQUENCE, content...) }

func integerDER(n int64) []byte {
	var b cryptobyte.Builder
	b.AddASN1Int64(n)
	return b.BytesOrPanic()
}

func bigDER(n *big.Int) []byte {
	var b cryptobyte.Builder
	b.AddASN1BigInt(n)
	return b.BytesOrPanic()
}

func ext(id string, critical bool, value []byte) []byte {
	oid := element(asn1.OBJECT_IDENTIFIER, []byte(id))
	if critical {
		return seq(oid, []byte{1, 1, 0xff}, element(asn1.OCTET_STRING, value))
	}
	return seq(oid, element(asn1.OCTET_STRING, value))
}

// entry revokes a serial number an hour before the list, for a reason.
func entry(n int64, reason crl.Reason, more ...[]byte) []byte {
	return bigEntry(big.NewInt(n), reason, more...)
}

func bigEntry(n *big.Int, reason crl.Reason, more ...[]byte) []byte {
	at := element(asn1.UTCTime, []byte(now().Add(-25*hour).Format("060102150405Z")))
	extensions := more
	if reason != crl.Unspecified {
		extensions = append([][]byte{ext("\x55\x1d\x15", false, []byte{0x0a, 1, byte(reason)})}, more...)
	}
	if len(extensions) == 0 {
		return seq(bigDER(n), at)
	}
	return seq(bigDER(n), at, seq(extensions...))
}

// Parts of distribution points.

func uri(s string) []byte { return element(0x86, []byte(s)) }

func dirName(raw []byte) []byte { return element(0xa4, raw) }

// full is a DistributionPointName of full names, in its [0].
func full(names ...[]byte) []byte { return element(0xa0, element(0xa0, names...)) }

// relative is a DistributionPointName relative to the issuer: CN=name.
func relative(name string) []byte {
	return element(0xa0, element(0xa1, seq(element(asn1.OBJECT_IDENTIFIER, []byte("\x55\x04\x03")), element(asn1.UTF8String, []byte(name)))))
}

// flags is ReasonFlags with the bits, under a tag.
func flags(tag asn1.Tag, bits ...int) []byte {
	var octets [2]byte
	for _, n := range bits {
		octets[n/8] |= 0x80 >> (n % 8)
	}
	last := slices.Max(bits)
	octet := octets[:last/8+1]
	return element(tag, append([]byte{byte(7 - last%8)}, octet...))
}

func yes(tag asn1.Tag) []byte { return element(tag, []byte{0xff}) }

// within returns the name of a CN below issuer, as relative means it.
func within(issuer *identity, name string) []byte {
	in := cryptobyte.String(issuer.RawSubject)
	var content cryptobyte.String
	in.ReadASN1(&content, asn1.SEQUENCE)
	return seq(content, element(asn1.SET, seq(element(asn1.OBJECT_IDENTIFIER, []byte("\x55\x04\x03")), element(asn1.UTF8String, []byte(name)))))
}

// require skips a test that needs a program which is not here, or fails it when
// OMCA_TEST_REQUIRE names the program.
func require(tb testing.TB, program string) {
	tb.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), program) {
		tb.Fatalf("%s is required, and is not installed", program)
	}
	tb.Skipf("%s is not installed", program)
}

// openssl runs the program in dir and returns all that it prints.
func openssl(tb testing.TB, dir string, args ...string) (string, error) {
	tb.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// file writes PEM blocks of one type into dir.
func file(tb testing.TB, dir, name, kind string, ders ...[]byte) {
	tb.Helper()
	var text bytes.Buffer
	for _, der := range ders {
		if err := pem.Encode(&text, &pem.Block{Type: kind, Bytes: der}); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, name), text.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
}
