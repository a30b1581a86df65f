package pki_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"

	"omca/pki"
)

// raw signs a template with no check of ours in the way.
func raw(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, parent, pub, signer))
	return must[*x509.Certificate](t)(x509.ParseCertificate(der))
}

func serial() *big.Int { return new(big.Int).Lsh(big.NewInt(0x5a5a5a5a), 96) }

func caTemplate(t testing.TB, cn string, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: cn}, NotBefore: epoch, NotAfter: epoch.Add(100 * day),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId: must[[]byte](t)(pki.SubjectKeyID(pub)), MaxPathLen: -1,
	}
}

func leafTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: epoch, NotAfter: epoch.Add(10 * day),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		SubjectKeyId: []byte("a key identifier"), DNSNames: []string{name},
	}
}

func names(findings []pki.Finding) string {
	var list []string
	for _, f := range findings {
		if f.Severity == pki.SeverityError {
			list = append(list, f.Lint)
		}
	}
	return strings.Join(list, " ")
}

// TestOwnLints has a bad sample for each of our lints; the unedited templates
// are the good one for all of them.
func TestOwnLints(t *testing.T) {
	caKey := key(t, pki.ECP256)
	ca := raw(t, caTemplate(t, "test CA", caKey.Public()), caTemplate(t, "test CA", caKey.Public()), caKey.Public(), caKey)
	pub := key(t, pki.ECP256).Public()
	sign := func(edit func(*x509.Certificate)) *x509.Certificate {
		template := leafTemplate("n1.example.com")
		edit(template)
		return raw(t, template, ca, pub, caKey)
	}
	listener := profile(t, "listener")
	if f := pki.Lint(linter(), sign(func(*x509.Certificate) {}), ca, listener); len(f) > 0 {
		t.Fatalf("a good leaf: %v", f)
	}
	if f := pki.Lint(linter(), ca, ca, profile(t, "ca")); len(f) > 0 {
		t.Fatalf("a good CA: %v", f)
	}
	basicNotCritical := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 0}}
	for name, tt := range map[string]struct {
		edit func(*x509.Certificate)
		want string
	}{
		"a short serial":           {func(c *x509.Certificate) { c.SerialNumber = big.NewInt(77) }, "omca_serial"},
		"an empty RDN":             {func(c *x509.Certificate) { c.Subject.Organization = []string{""} }, "omca_empty_rdn"},
		"an end before the start":  {func(c *x509.Certificate) { c.NotAfter = epoch.Add(-day) }, "omca_validity_order"},
		"no SKI":                   {func(c *x509.Certificate) { c.SubjectKeyId = nil }, "omca_key_identifiers"},
		"a life after the CA's":    {func(c *x509.Certificate) { c.NotAfter = epoch.Add(101 * day) }, "omca_life_within_issuer"},
		"a life before the CA's":   {func(c *x509.Certificate) { c.NotBefore = epoch.Add(-day) }, "omca_life_within_issuer"},
		"the CA's name":            {func(c *x509.Certificate) { c.Subject.CommonName = "test CA" }, "omca_issuer_differs"},
		"CA:TRUE":                  {func(c *x509.Certificate) { c.IsCA = true }, "omca_basic_constraints"},
		"no basicConstraints":      {func(c *x509.Certificate) { c.BasicConstraintsValid = false }, "omca_basic_constraints"},
		"it is not critical":       {func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{basicNotCritical} }, "omca_basic_constraints"},
		"more key usage":           {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "omca_key_usage_by_profile"},
		"less extended key usage":  {func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "omca_eku_by_profile"},
		"more of it":               {func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }, "omca_eku_by_profile"},
		"an unknown one":           {func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, "omca_eku_by_profile"},
		"no name":                  {func(c *x509.Certificate) { c.DNSNames = nil }, "omca_san_by_profile"},
		"a host name in CN only":   {func(c *x509.Certificate) { c.DNSNames = []string{"n2.example.com"} }, "omca_san_by_profile"},
		"zlint: a relative URI":    {func(c *x509.Certificate) { c.URIs = uris(t, "path") }, "e_ext_san_uri_relative"},
		"zlint: a URI's bare host": {func(c *x509.Certificate) { c.URIs = uris(t, "https://intranet/") }, "e_ext_san_uri_host_not_fqdn_or_ip"},
	} {
		if got := names(pki.Lint(linter(), sign(tt.edit), ca, listener)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: found %q, want %s", name, got, tt.want)
		}
	}
	answers := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }
	noCheck := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: asn1.NullBytes}}
	}
	if got := names(pki.Lint(linter(), sign(noCheck), ca, listener)); got != "omca_no_check_by_profile" {
		t.Errorf("a listener that nobody asks about: found %q", got)
	}
	if got := names(pki.Lint(linter(), sign(answers), ca, profile(t, "ocsp"))); got != "omca_no_check_by_profile" {
		t.Errorf("a responder that is asked about itself: found %q", got)
	}
	if f := pki.Lint(linter(), sign(func(c *x509.Certificate) { answers(c); noCheck(c) }), ca, profile(t, "ocsp")); len(f) > 0 {
		t.Errorf("a good responder: %v", f)
	}
	spiffe := sign(func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://cluster/listener/cert") })
	if f := pki.Lint(linter(), spiffe, ca, listener); len(f) > 0 {
		t.Errorf("a SPIFFE ID with a single label: %v", f)
	}
	otherKey := key(t, pki.ECP256)
	other := raw(t, caTemplate(t, "test CA", otherKey.Public()), caTemplate(t, "test CA", otherKey.Public()), otherKey.Public(), otherKey)
	if got := names(pki.Lint(linter(), sign(func(*x509.Certificate) {}), other, listener)); got != "omca_key_identifiers" {
		t.Errorf("another issuer of the same name: found %q", got)
	}
	if f := pki.Lint(linter(), sign(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), nil, pki.Profile{}); len(f) > 0 {
		t.Errorf("a foreign certificate, nothing known of it: %v", f)
	}
}

// A linter that finds what it was given.
type finds []pki.Finding

func (f finds) Lint(*x509.Certificate) []pki.Finding { return f }

// TestNoLinterNoSignature: there is no issuer that signs what nothing looked at, and none that signs what a linter
// has an error against.
func TestNoLinterNoSignature(t *testing.T) {
	k := key(t, pki.ECP256)
	if i, err := pki.NewRoot(k, nil); err == nil || i != nil || !strings.Contains(err.Error(), "needs a linter") {
		t.Errorf("a root without a linter: %v, %v", i, err)
	}
	ca := root(t, pki.ECP256, nil).Certificate()
	for _, chain := range [][]*x509.Certificate{{ca}, {raw(t, caTemplate(t, "test CA", k.Public()), caTemplate(t, "test CA", k.Public()), k.Public(), k)}} {
		if i, err := pki.NewIssuer(chain, k, nil); err == nil || i != nil {
			t.Errorf("an issuer without a linter: %v, %v", i, err)
		}
	}
	if got := names(pki.Lint(nil, ca, ca, profile(t, "ca"))); got != "omca_linted" {
		t.Errorf("a certificate without a linter: found %q", got)
	}
	bad := finds{{Lint: "e_one", Severity: pki.SeverityError, Citation: "X.1", Detail: "it is bad"}}
	self := must[*pki.Issuer](t)(pki.NewRoot(k, bad))
	draft, err := self.Draft(request(t, k.Public(), "test CA"), terms(t, "ca"))
	if !errors.Is(err, pki.ErrInvalid) || !strings.HasSuffix(err.Error(), "e_one: it is bad (X.1)") {
		t.Errorf("a draft that the linter has an error against: %v", err)
	}
	if cert, err := self.Sign(draft); err == nil || cert != nil {
		t.Error("what the linter refused was signed")
	}
	warned := finds{{Lint: "w_one", Severity: pki.SeverityWarning}}
	self = must[*pki.Issuer](t)(pki.NewRoot(k, warned))
	draft = must[pki.Draft](t)(self.Draft(request(t, k.Public(), "test CA"), terms(t, "ca")))
	if f := draft.Findings(); len(f) != 1 || f[0] != warned[0] {
		t.Errorf("findings %v, want those of the linter", f)
	}
}
