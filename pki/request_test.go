package pki_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/pki"
)

// hostile returns a request that asks for everything a CA must not give.
func hostile(t testing.TB) []byte {
	t.Helper()
	ext := func(oid asn1.ObjectIdentifier, value any) pkix.Extension {
		return pkix.Extension{Id: oid, Critical: true, Value: must[[]byte](t)(asn1.Marshal(value))}
	}
	der := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "alice", SerialNumber: "dropped", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 12}, Value: "King"}}},
		DNSNames: []string{"Alice.Example.com"},
		ExtraExtensions: []pkix.Extension{
			ext(asn1.ObjectIdentifier{2, 5, 29, 19}, struct{ CA bool }{true}),
			ext(asn1.ObjectIdentifier{2, 5, 29, 15}, asn1.BitString{Bytes: []byte{0x06}, BitLength: 7}), // keyCertSign, cRLSign
			ext(asn1.ObjectIdentifier{2, 5, 29, 37}, []asn1.ObjectIdentifier{{2, 5, 29, 37, 0}}),        // anyExtendedKeyUsage
			ext(asn1.ObjectIdentifier{2, 5, 29, 14}, []byte("a key identifier of their choice")),
			ext(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 37476, 9000, 64, 1}, "a provisioner"),
		},
	}, key(t, pki.ECP256)))
	return encode("CERTIFICATE REQUEST", der)
}

func TestHostileRequestGivesAnOrdinaryLeaf(t *testing.T) {
	ca := root(t, pki.ECP256, nil)
	r := must[pki.Request](t)(pki.ParseRequest(hostile(t)))
	if diff := cmp.Diff(pki.Subject{CommonName: "alice"}, r.Subject()); diff != "" {
		t.Errorf("subject (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"DNS:alice.example.com"}, r.Names().Strings()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"serialNumber", "title"}, r.LeftOut()); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	cert := issue(t, ca, r, terms(t, "usr"))
	if cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature || !cmp.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("CA %t, key usage %s, extended %s", cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage)
	}
	if !bytes.Equal(cert.SubjectKeyId, must[[]byte](t)(pki.SubjectKeyID(r.PublicKey()))) {
		t.Errorf("subject key identifier %x is theirs", cert.SubjectKeyId)
	}
	var got []string
	for _, e := range cert.Extensions {
		got = append(got, e.Id.String())
	}
	if diff := cmp.Diff([]string{"2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.14", "2.5.29.35", "2.5.29.17"}, got); diff != "" {
		t.Errorf("extensions (-want +got):\n%s", diff)
	}
	for _, p := range []string{"2.5.4.12", "2.5.4.5"} {
		if strings.Contains(cert.Subject.String(), p) {
			t.Errorf("subject %s holds %s", cert.Subject, p)
		}
	}
}

func TestSigningRequestThereAndBack(t *testing.T) {
	for _, kind := range []pki.KeyType{pki.ECP256, pki.ECP384, pki.Ed25519, pki.RSA2048} {
		k := key(t, kind)
		subject := pki.Subject{CommonName: "vip.example.com", Country: "FR", Province: "IDF", Locality: "Paris", Organization: "MyCorp", OrganizationalUnit: "Support", Email: "support@mycorp"}
		names := must[pki.Names](t)(pki.ParseNames([]string{"n1", "10.0.0.1", "https://www.example.com/"}))
		text := must[[]byte](t)(pki.CreateSigningRequest(k, subject, names))
		r, err := pki.ParseRequest(text)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		want := []string{"DNS:vip.example.com", "DNS:n1", "IP:10.0.0.1", "URI:https://www.example.com/", "email:support@mycorp"}
		if diff := cmp.Diff(want, r.Names().Strings()); diff != "" || !pki.SameKey(r.PublicKey(), k.Public()) {
			t.Errorf("%s: names (-want +got):\n%s", kind, diff)
		}
		subject.Email = "" // it is among the names
		if diff := cmp.Diff(subject, r.Subject()); diff != "" {
			t.Errorf("%s: subject (-want +got):\n%s", kind, diff)
		}
		out := openssl(t, "req", "-verify", "-noout", "-text", "-in", write(t, "r.csr", text))
		if !strings.Contains(out, "email:support@mycorp") || !strings.Contains(out, "DNS:vip.example.com") {
			t.Errorf("%s: openssl prints\n%s", kind, out)
		}
	}
}

func TestEmailInTheSubjectBecomesAName(t *testing.T) {
	der := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{
		CommonName: "alice", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "Alice@mycorp"}},
	}}, key(t, pki.ECP256)))
	r := must[pki.Request](t)(pki.ParseRequest(encode("NEW CERTIFICATE REQUEST", der)))
	if diff := cmp.Diff([]string{"email:alice@mycorp"}, r.Names().Strings()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	cert := issue(t, root(t, pki.ECP256, nil), r, terms(t, "usr"))
	if got := cert.Subject.String(); got != "CN=alice" {
		t.Errorf("subject %s, want CN=alice", got)
	}
}

// What is left out of a subject is named, in bounds: the request is a stranger's.
func TestLeftOutIsBounded(t *testing.T) {
	name := pkix.Name{CommonName: "alice"}
	for i := range 100 {
		name.ExtraNames = append(name.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 1, i}, Value: "x"})
	}
	long := slices.Repeat([]int{1 << 30}, 1000)
	name.ExtraNames = append([]pkix.AttributeTypeAndValue{{Type: append(asn1.ObjectIdentifier{1, 3}, long...), Value: "x"}}, name.ExtraNames...)
	der := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: name}, key(t, pki.ECP256)))
	left := must[pki.Request](t)(pki.ParseRequest(encode("CERTIFICATE REQUEST", der))).LeftOut()
	if len(left) != 10 || len(left[0]) > 70 || left[1] != "1.3.6.1.4.1.1.0" {
		t.Errorf("left out: %d, %.100q", len(left), left)
	}
}

// signedRequest signs a CertificationRequestInfo with these attributes (RFC 2986, 4.1).
func signedRequest(t testing.TB, attributes ...asn1.RawValue) []byte {
	t.Helper()
	k := key(t, pki.Ed25519)
	type algorithm struct{ OID asn1.ObjectIdentifier }
	type request struct {
		Info      asn1.RawValue
		Algorithm algorithm
		Signature asn1.BitString
	}
	info := must[[]byte](t)(asn1.Marshal(struct {
		Version    int
		Subject    pkix.RDNSequence
		Key        asn1.RawValue
		Attributes []asn1.RawValue `asn1:"tag:0,set"`
	}{0, pkix.Name{CommonName: "alice"}.ToRDNSequence(), asn1.RawValue{FullBytes: must[[]byte](t)(x509.MarshalPKIXPublicKey(k.Public()))}, attributes}))
	signature := must[[]byte](t)(k.Sign(rand.Reader, info, crypto.Hash(0)))
	return encode("CERTIFICATE REQUEST", must[[]byte](t)(asn1.Marshal(request{
		asn1.RawValue{FullBytes: info}, algorithm{asn1.ObjectIdentifier{1, 3, 101, 112}}, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	})))
}

func TestParseRequestRefuses(t *testing.T) {
	good := hostile(t)
	block, _ := pem.Decode(good)
	tampered := bytes.Replace(block.Bytes, []byte("alice"), []byte("bobby"), 1)
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	csr := func(r *x509.CertificateRequest) []byte {
		return encode("CERTIFICATE REQUEST", must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, r, key(t, pki.ECP256))))
	}
	// challengePassword, as a set of one UTF8String
	password := asn1.RawValue{FullBytes: must[[]byte](t)(asn1.Marshal(struct {
		OID    asn1.ObjectIdentifier
		Values []string `asn1:"set"`
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}, []string{"secret"}}))}
	if _, err := pki.ParseRequest(signedRequest(t, password)); err != nil {
		t.Errorf("a challenge password: %v, want it ignored", err)
	}
	for name, tt := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":                {nil, "no PEM block"},
		"DER":                    {block.Bytes, "no PEM block"},
		"too long":               {append(bytes.Repeat([]byte("\n"), 64<<10), good...), "at most"},
		"another block":          {encode("CERTIFICATE", block.Bytes), "CERTIFICATE"},
		"two requests":           {append(bytes.Clone(good), good...), "follows"},
		"cut off":                {encode("CERTIFICATE REQUEST", block.Bytes[:50]), "certificate request"},
		"another subject":        {encode("CERTIFICATE REQUEST", tampered), "own key"},
		"a weak key":             {encode("CERTIFICATE REQUEST", must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{SignatureAlgorithm: x509.SHA256WithRSA}, small))), "1024"},
		"a bad name":             {csr(&x509.CertificateRequest{DNSNames: []string{"a..b"}}), "a..b"},
		"a comma in a name":      {csr(&x509.CertificateRequest{DNSNames: []string{"a,DNS:b"}}), "a,DNS:b"},
		"two common names":       {csr(&x509.CertificateRequest{Subject: pkix.Name{CommonName: "alice", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "bob"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "eve"}}}}), "twice"},
		"two organization units": {csr(&x509.CertificateRequest{Subject: pkix.Name{OrganizationalUnit: []string{"a", "b"}}}), "twice"},
		"a repeated attribute":   {signedRequest(t, password, password), "twice"},
	} {
		_, err := pki.ParseRequest(tt.text)
		if !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestNewRequestChecks(t *testing.T) {
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	pub := key(t, pki.ECP256).Public()
	good := request(t, pub, "alice")
	if _, err := pki.NewRequest(small.Public(), pki.Subject{}, pki.Names{}); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a weak key: %v", err)
	}
	if _, err := good.WithNames(pki.Subject{Country: "FRA"}, pki.Names{}); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a bad subject: %v", err)
	}
	if _, err := good.WithNames(pki.Subject{}, pki.Names{DNS: []string{"a..b"}}); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("a bad name: %v", err)
	}
	other := must[pki.Request](t)(good.WithNames(pki.Subject{CommonName: "*.Example.com"}, pki.Names{DNS: []string{"B.example.com"}}))
	if diff := cmp.Diff([]string{"*.example.com", "b.example.com"}, other.Names().DNS); diff != "" || !pki.SameKey(other.PublicKey(), pub) {
		t.Errorf("other names (-want +got):\n%s", diff)
	}
}

func FuzzParseRequest(f *testing.F) {
	ca := root(f, pki.ECP256, nil)
	f.Add(hostile(f))
	f.Add(signedRequest(f))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := pki.ParseRequest(text)
		if err != nil {
			if !errors.Is(err, pki.ErrInvalid) {
				t.Fatalf("not ErrInvalid: %v", err)
			}
			return
		}
		draft, err := ca.Draft(r, terms(t, "usr"))
		if err != nil {
			return
		}
		if cert, err := ca.Sign(draft); err != nil || cert.IsCA {
			t.Fatalf("signed %v, error %v", cert, err)
		}
	})
}

// The name of a user may read like that of a host. A request can be had without it among the DNS names, and the
// lints take the certificate of a client so, and no other.
func TestWithoutHost(t *testing.T) {
	k := key(t, pki.ECP256)
	for _, tt := range []struct{ cn, names, want string }{
		{"alice.smith", "", ""},
		{"Alice.Smith", "alice.smith", ""},
		{"alice.smith", "www.bank.lan 192.0.2.1", "DNS:www.bank.lan IP:192.0.2.1"},
		{"alice", "alice", "DNS:alice"},
		{"alice", "", ""},
	} {
		r := must[pki.Request](t)(pki.NewRequest(k.Public(), pki.Subject{CommonName: tt.cn}, must[pki.Names](t)(pki.ParseNames(strings.Fields(tt.names)))))
		before := strings.Join(r.Names().Strings(), " ")
		without := r.WithoutHost()
		if got := strings.Join(without.Names().Strings(), " "); got != tt.want {
			t.Errorf("%q with %q: %q, want %q", tt.cn, tt.names, got, tt.want)
		}
		if after := strings.Join(r.Names().Strings(), " "); after != before {
			t.Errorf("the request itself had %q, and has %q", before, after)
		}
		text := must[[]byte](t)(without.Sign(k))
		read := must[pki.Request](t)(pki.ParseRequest(text))
		if read.Subject().CommonName != tt.cn {
			t.Errorf("signed for %q, want %q", read.Subject().CommonName, tt.cn)
		}
	}
	r := must[pki.Request](t)(pki.NewRequest(k.Public(), pki.Subject{CommonName: "alice.smith"}, pki.Names{}))
	if _, err := r.Sign(key(t, pki.ECP256)); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("signed by another key: %v", err)
	}
	ca := root(t, pki.ECP256, nil)
	cert := issue(t, ca, r.WithoutHost(), terms(t, "usr"))
	if len(cert.DNSNames) > 0 || cert.Subject.CommonName != "alice.smith" {
		t.Errorf("the certificate of %q has the DNS names %q", cert.Subject, cert.DNSNames)
	}
	if _, err := ca.Draft(r.WithoutHost(), terms(t, "node")); !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), "omca_san_by_profile") {
		t.Errorf("a server without its name: %v", err)
	}
}
