package pki_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/pki"
)

func TestPeriodIncludesItsLastSecond(t *testing.T) {
	from, to := pki.Period(epoch, 24*time.Hour)
	if got := to.Add(time.Second).Sub(from); got != 24*time.Hour {
		t.Errorf("from the first second to the end of the last: %s, want 24h", got)
	}
}

func TestLeafHasWhatTheSpecSays(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	id := must[*url.URL](t)(url.Parse("spiffe://cluster/listener/cert"))
	subject := pki.Subject{CommonName: "vip.example.com", Country: "FR", Organization: "MyCorp", Email: "Support@mycorp"}
	names := must[pki.Names](t)(pki.ParseNames([]string{"n1", "10.0.0.1", "::1"}))
	r := must[pki.Request](t)(pki.NewRequest(key(t, pki.ECP256).Public(), subject, names))
	terms := terms(t, "listener")
	terms.ID = id
	terms.CRL, terms.OCSP, terms.IssuerURL = []string{"http://ca.example.com/ca.crl"}, []string{"http://ca.example.com/ocsp"}, []string{"http://ca.example.com/ca.pem"}
	cert := issue(t, ca, r, terms)

	type view struct {
		Subject, Serial           string
		DNS, Email, CRL, OCSP     []string
		IPs, URIs                 int
		KU                        x509.KeyUsage
		EKU                       []x509.ExtKeyUsage
		CA, Basic                 bool
		SKI, AKI                  []byte
		NotBefore, NotAfter       time.Time
		Algorithm                 x509.SignatureAlgorithm
		BasicCritical, KUCritical bool
	}
	got := view{
		Subject: cert.Subject.String(), Serial: string(pki.SerialOf(cert)),
		DNS: cert.DNSNames, Email: cert.EmailAddresses, CRL: cert.CRLDistributionPoints, OCSP: cert.OCSPServer,
		IPs: len(cert.IPAddresses), URIs: len(cert.URIs), KU: cert.KeyUsage, EKU: cert.ExtKeyUsage,
		CA: cert.IsCA, Basic: cert.BasicConstraintsValid, SKI: cert.SubjectKeyId, AKI: cert.AuthorityKeyId,
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, Algorithm: cert.SignatureAlgorithm,
	}
	for _, e := range cert.Extensions {
		switch e.Id.String() {
		case "2.5.29.19":
			got.BasicCritical = e.Critical
		case "2.5.29.15":
			got.KUCritical = e.Critical
		}
	}
	want := view{
		Subject: "CN=vip.example.com,O=MyCorp,C=FR", Serial: string(terms.Serial),
		DNS: []string{"vip.example.com", "n1"}, Email: []string{"support@mycorp"}, CRL: terms.CRL, OCSP: terms.OCSP,
		IPs: 2, URIs: 1, KU: x509.KeyUsageDigitalSignature,
		EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, Basic: true,
		SKI: must[[]byte](t)(pki.SubjectKeyID(r.PublicKey())), AKI: ca.Certificate().SubjectKeyId,
		NotBefore: epoch, NotAfter: epoch.Add(30*day - time.Second), Algorithm: x509.ECDSAWithSHA256,
		BasicCritical: true, KUCritical: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("leaf (-want +got):\n%s", diff)
	}
	if cert.URIs[0].String() != id.String() {
		t.Errorf("URI %s, want %s", cert.URIs[0], id)
	}
}

func TestUsesByProfileAndKey(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	for _, tt := range []struct {
		profile string
		kind    pki.KeyType
		ku      x509.KeyUsage
		eku     []x509.ExtKeyUsage
	}{
		{"usr", pki.ECP256, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		{"usr", pki.Ed25519, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		{"usr", pki.RSA2048, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		{"node", pki.RSA2048, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}},
		{"ocsp", pki.RSA2048, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}},
		{"ca", pki.ECP384, x509.KeyUsageCertSign | x509.KeyUsageCRLSign, nil},
	} {
		cert := issue(t, ca, request(t, key(t, tt.kind).Public(), "alice"), terms(t, tt.profile))
		if cert.KeyUsage != tt.ku || !cmp.Equal(cert.ExtKeyUsage, tt.eku) || cert.IsCA != (tt.profile == "ca") {
			t.Errorf("%s, %s: key usage %s, extended %s, CA %t", tt.profile, tt.kind, cert.KeyUsage, cert.ExtKeyUsage, cert.IsCA)
		}
	}
}

func TestSignatureAlgorithmFollowsTheIssuer(t *testing.T) {
	for kind, want := range map[pki.KeyType]x509.SignatureAlgorithm{
		pki.ECP256: x509.ECDSAWithSHA256, pki.ECP384: x509.ECDSAWithSHA384,
		pki.RSA2048: x509.SHA256WithRSA, pki.Ed25519: x509.PureEd25519,
	} {
		ca := root(t, kind, nil)
		leaf := issue(t, ca, request(t, key(t, pki.ECP256).Public(), "alice"), terms(t, "usr"))
		if leaf.SignatureAlgorithm != want {
			t.Errorf("%s: signed with %s, want %s", kind, leaf.SignatureAlgorithm, want)
		}
		if err := leaf.CheckSignatureFrom(ca.Certificate()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestSignedBytesAreTheDrafts(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	draft := must[pki.Draft](t)(ca.Draft(request(t, key(t, pki.ECP256).Public(), "alice"), terms(t, "usr")))
	cert := must[*x509.Certificate](t)(ca.Sign(draft))
	if !bytes.Equal(cert.RawTBSCertificate, draft.TBS()) || draft.Serial() != pki.SerialOf(cert) || !draft.NotAfter().Equal(cert.NotAfter) {
		t.Error("the certificate is not the draft's")
	}
	if _, err := ca.Sign(draft); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("signed twice: %v", err)
	}
}

func TestSignRefusesForeignDrafts(t *testing.T) {
	ca, other := root(t, pki.ECP256, nil), root(t, pki.ECP256, nil)
	draft := must[pki.Draft](t)(ca.Draft(request(t, key(t, pki.ECP256).Public(), "alice"), terms(t, "usr")))
	for name, d := range map[string]pki.Draft{"another issuer's": draft, "the zero draft": {}} {
		if _, err := other.Sign(d); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A faultyKey signs something else than it was asked to, when told.
type faultyKey struct {
	crypto.Signer
	faulty bool
}

func (k *faultyKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.faulty {
		digest = bytes.Clone(digest)
		digest[0] ^= 1
	}
	return k.Signer.Sign(r, digest, opts)
}

func TestSignNeverReturnsABadSignature(t *testing.T) {
	k := &faultyKey{Signer: key(t, pki.ECP256)}
	self := must[*pki.Issuer](t)(pki.NewRoot(k, linter()))
	draft := must[pki.Draft](t)(self.Draft(request(t, k.Public(), "test CA"), terms(t, "ca")))
	k.faulty = true
	if cert, err := self.Sign(draft); err == nil || cert != nil || !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("certificate %v, error %v", cert != nil, err)
	}
}

func TestLeafStaysWithinItsIssuer(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	own := ca.Certificate()
	long := terms(t, "usr")
	long.NotBefore, long.NotAfter = own.NotBefore.Add(-day), own.NotAfter.Add(day)
	cert := issue(t, ca, request(t, key(t, pki.ECP256).Public(), "alice"), long)
	if !cert.NotBefore.Equal(own.NotBefore) || !cert.NotAfter.Equal(own.NotAfter) {
		t.Errorf("valid from %s to %s, want %s to %s", cert.NotBefore, cert.NotAfter, own.NotBefore, own.NotAfter)
	}
	late := terms(t, "usr")
	late.NotBefore, late.NotAfter = own.NotAfter.Add(day), own.NotAfter.Add(2*day)
	if _, err := ca.Draft(request(t, key(t, pki.ECP256).Public(), "alice"), late); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("drafted under an expired issuer: %v", err)
	}
}

func TestDraftRefuses(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	pub := key(t, pki.ECP256).Public()
	alice := request(t, pub, "alice")
	for name, tt := range map[string]struct {
		request pki.Request
		edit    func(*pki.Terms)
		want    error
	}{
		"the zero request":             {pki.Request{}, nil, pki.ErrInvalid},
		"the zero profile":             {alice, func(t *pki.Terms) { t.Profile = pki.Profile{} }, pki.ErrInvalid},
		"an altered profile":           {alice, func(t *pki.Terms) { t.Profile.IsCA = true }, pki.ErrInvalid},
		"no serial":                    {alice, func(t *pki.Terms) { t.Serial = "" }, pki.ErrInvalid},
		"a short serial":               {alice, func(t *pki.Terms) { t.Serial = "abcd" }, pki.ErrInvalid},
		"a serial of 21 octets":        {alice, func(t *pki.Terms) { t.Serial = pki.Serial(strings.Repeat("f", 40)) }, pki.ErrInvalid},
		"a validity that ends first":   {alice, func(t *pki.Terms) { t.NotAfter = t.NotBefore.Add(-day) }, pki.ErrInvalid},
		"no start":                     {alice, func(t *pki.Terms) { t.NotBefore = time.Time{} }, pki.ErrInvalid},
		"a listener without a name":    {alice, func(t *pki.Terms) { t.Profile.Name = "listener" }, pki.ErrInvalid},
		"nobody":                       {request(t, pub, ""), nil, pki.ErrInvalid},
		"the issuer's own name":        {request(t, pub, "test CA"), nil, pki.ErrInvalid},
		"a path length for a leaf":     {alice, func(t *pki.Terms) { t.PathLen = new(0) }, pki.ErrInvalid},
		"name constraints for a leaf":  {alice, func(t *pki.Terms) { t.Constraints.Allow = []string{"a.b"} }, pki.ErrInvalid},
		"a SPIFFE ID in the request":   {request(t, pub, "alice", "spiffe://cluster/usr/root"), nil, pki.ErrNotAllowed},
		"another SPIFFE ID than given": {request(t, pub, "alice", "spiffe://cluster/usr/root"), func(t *pki.Terms) { t.ID = &url.URL{Scheme: "spiffe", Host: "cluster", Path: "/usr/alice"} }, pki.ErrNotAllowed},
	} {
		terms := terms(t, "usr")
		if tt.edit != nil {
			tt.edit(&terms)
		}
		if _, err := ca.Draft(tt.request, terms); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	terms := terms(t, "listener")
	if _, err := ca.Draft(alice, terms); err == nil || !strings.Contains(err.Error(), `"DNS:alice"`) {
		t.Errorf("a listener without a name: %v: want the name to add", err)
	}
}

func TestRootSignsOnlyItself(t *testing.T) {
	k := key(t, pki.ECP256)
	self := must[*pki.Issuer](t)(pki.NewRoot(k, linter()))
	if _, err := self.Draft(request(t, k.Public(), "alice"), terms(t, "usr")); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a leaf: %v", err)
	}
	if _, err := self.Draft(request(t, key(t, pki.ECP256).Public(), "other CA"), terms(t, "ca")); err == nil || !strings.Contains(err.Error(), "signs nothing but its own") {
		t.Errorf("another key: %v", err)
	}
	if _, err := self.Draft(request(t, k.Public(), "", "ca.example.com"), terms(t, "ca")); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("no common name: %v", err)
	}
}

// subordinate makes a CA below ca.
func subordinate(t *testing.T, ca *pki.Issuer, cn string, edit func(*pki.Terms)) (*pki.Issuer, error) {
	t.Helper()
	k := key(t, pki.ECP256)
	terms := terms(t, "ca")
	if edit != nil {
		edit(&terms)
	}
	draft, err := ca.Draft(request(t, k.Public(), cn), terms)
	if err != nil {
		return nil, err
	}
	cert := must[*x509.Certificate](t)(ca.Sign(draft))
	return pki.NewIssuer(append([]*x509.Certificate{cert}, ca.Chain()...), k, linter())
}

func TestPathLengthShrinks(t *testing.T) {
	ca := root(t, pki.ECP256, func(t *pki.Terms) { t.PathLen = new(1) })
	sub := must[*pki.Issuer](t)(subordinate(t, ca, "sub CA", nil))
	if c := sub.Certificate(); c.MaxPathLen != 0 || !c.MaxPathLenZero {
		t.Errorf("path length %d, want 0 below 1", c.MaxPathLen)
	}
	if _, err := sub.Draft(request(t, key(t, pki.ECP256).Public(), "sub sub CA"), terms(t, "ca")); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a CA below path length 0: %v", err)
	}
	if _, err := subordinate(t, ca, "sub CA", func(t *pki.Terms) { t.PathLen = new(-1) }); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a negative path length: %v", err)
	}
	free := must[*pki.Issuer](t)(subordinate(t, root(t, pki.ECP256, nil), "sub CA", nil))
	if c := free.Certificate(); c.MaxPathLen != -1 {
		t.Errorf("path length %d, want none", c.MaxPathLen)
	}
}

func TestNameConstraintsHold(t *testing.T) {
	ca := root(t, pki.ECP256, func(t *pki.Terms) {
		t.Constraints = pki.PolicyRules{
			Allow: []string{"*.example.com", "10.0.0.0/8", "@example.com", "URI:cluster"},
			Deny:  []string{"*.secret.example.com"},
		}
	})
	own := ca.Certificate()
	if diff := cmp.Diff([]string{"example.com"}, own.PermittedDNSDomains); diff != "" || !own.PermittedDNSDomainsCritical {
		t.Errorf("permitted, critical %t: %s", own.PermittedDNSDomainsCritical, diff)
	}
	below := must[*pki.Issuer](t)(subordinate(t, ca, "sub CA", nil))
	for name, ok := range map[string]bool{
		"a.example.com": true, "10.1.2.3": true, "joe@example.com": true,
		"a.example.org": false, "192.0.2.1": false, "joe@example.org": false, "x.secret.example.com": false,
	} {
		for _, issuer := range []*pki.Issuer{ca, below} {
			terms := terms(t, "node")
			terms.ID = &url.URL{Scheme: "spiffe", Host: "cluster", Path: "/node/n1"}
			_, err := issuer.Draft(request(t, key(t, pki.ECP256).Public(), "n1", name), terms)
			if ok && err != nil || !ok && !errors.Is(err, pki.ErrNotAllowed) {
				t.Errorf("%s under %q: %v", name, issuer.Certificate().Subject, err)
			}
		}
	}
}

func TestNewIssuerRefuses(t *testing.T) {
	ca, other := root(t, pki.ECP256, nil), root(t, pki.ECP256, nil)
	k := key(t, pki.ECP256)
	leaf := issue(t, ca, request(t, k.Public(), "alice"), terms(t, "usr"))
	for name, chain := range map[string][]*x509.Certificate{
		"no certificate": nil, "a leaf": {leaf}, "another key": {ca.Certificate()}, "a foreign issuer": {leaf, other.Certificate()},
	} {
		if _, err := pki.NewIssuer(chain, k, linter()); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewIssuerCountsItself(t *testing.T) {
	top, sub := key(t, pki.ECP256), key(t, pki.ECP256)
	template := caTemplate(t, "top", top.Public())
	template.MaxPathLen, template.MaxPathLenZero = 0, true
	rootCert := raw(t, template, template, top.Public(), top)
	subCert := raw(t, caTemplate(t, "sub", sub.Public()), rootCert, sub.Public(), top)
	if _, err := pki.NewIssuer([]*x509.Certificate{subCert, rootCert}, sub, linter()); !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), "path length 0") {
		t.Errorf("a CA below path length 0: %v", err)
	}
}

// openssl runs openssl, or skips: OMCA_TEST_REQUIRE says when that is a failure.
func openssl(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if strings.Contains(os.Getenv("OMCA_TEST_REQUIRE"), "openssl") {
			t.Fatal("openssl is required and not here")
		}
		t.Skip("openssl is not here")
	}
	out, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestResponder is RFC 6960, 4.2.2.2: what signs for a CA, and nothing else.
func TestResponder(t *testing.T) {
	for _, kind := range []pki.KeyType{pki.ECP256, pki.ECP384, pki.Ed25519, pki.RSA2048} {
		ca := root(t, kind, nil)
		terms := terms(t, "ocsp")
		cert := issue(t, ca, request(t, key(t, kind).Public(), "cluster OCSP"), terms)
		var noCheck []byte
		for _, e := range cert.Extensions {
			if e.Id.String() == "1.3.6.1.5.5.7.48.1.5" && !e.Critical {
				noCheck = e.Value
			}
		}
		if !bytes.Equal(noCheck, []byte{5, 0}) || cert.IsCA || !pki.NamesOf(cert).Empty() || terms.Profile.Lifetime != 30*day {
			t.Errorf("%s: id-pkix-ocsp-nocheck is %x, CA %t, names %v, lifetime %s", kind, noCheck, cert.IsCA, pki.NamesOf(cert), terms.Profile.Lifetime)
		}
		roots, file := write(t, "root.pem", pki.EncodeCertificates(ca.Certificate())), write(t, "ocsp.pem", pki.EncodeCertificates(cert))
		openssl(t, "verify", "-x509_strict", "-attime", itoa(epoch.Add(day).Unix()), "-purpose", "ocsphelper", "-CAfile", roots, file)
		if text := openssl(t, "x509", "-in", file, "-noout", "-ext", "extendedKeyUsage,noCheck"); !strings.Contains(text, "OCSP Signing") || !strings.Contains(text, "No Check") {
			t.Errorf("%s: openssl reads %s", kind, text)
		}
	}
}

func TestOpenSSLAcceptsEverythingStrictly(t *testing.T) {
	for _, kind := range []pki.KeyType{pki.ECP256, pki.ECP384, pki.Ed25519, pki.RSA2048} {
		ca := root(t, kind, nil)
		sub := must[*pki.Issuer](t)(subordinate(t, ca, "sub CA", func(t *pki.Terms) {
			t.Constraints = pki.PolicyRules{Allow: []string{"*.example.com", "URI:cluster"}, Deny: []string{"bad.example.com", "10.0.0.0/8"}}
		}))
		roots := write(t, "root.pem", pki.EncodeCertificates(ca.Certificate()))
		chain := write(t, "chain.pem", pki.EncodeCertificates(sub.Chain()...))
		for name, purpose := range map[string]string{"usr": "sslclient", "node": "sslserver", "listener": "sslserver"} {
			terms := terms(t, name)
			terms.ID = &url.URL{Scheme: "spiffe", Host: "cluster", Path: "/" + name + "/n1"}
			terms.CRL = []string{"http://ca.example.com/ca.crl"}
			leaf := issue(t, sub, request(t, key(t, kind).Public(), "n1", "n1.example.com"), terms)
			at := epoch.Add(day).Unix()
			file := write(t, "leaf.pem", pki.EncodeCertificates(leaf))
			openssl(t, "verify", "-x509_strict", "-attime", itoa(at), "-purpose", purpose, "-CAfile", roots, "-untrusted", chain, file)
			if text := openssl(t, "x509", "-in", file, "-noout", "-serial"); !strings.EqualFold(strings.TrimSpace(text), "serial="+string(terms.Serial)) {
				t.Errorf("openssl prints %s, the serial is %s", text, terms.Serial)
			}
		}
	}
}
