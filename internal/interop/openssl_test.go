package interop_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/internal/interop/lab"
)

// specimen is a certificate that omca made, with what OpenSSL must say of it.
type specimen struct {
	name    string
	chain   string   // PEM, leaf first, down to the root
	purpose []string // of openssl verify
	usage   string   // the line under X509v3 Key Usage
	extUsed string   // the line under X509v3 Extended Key Usage; "" for none
	id      string   // what follows the trust domain in the SPIFFE ID; "" for none
	key     string   // on the line of the public key
}

// TestOpenSSL has OpenSSL, at its strictest, look at every kind of certificate
// that omca makes, over every type of key.
func TestOpenSSL(t *testing.T) {
	lab.Require(t, "openssl")
	home := lab.NewHome(t)
	home.Run(t, "init")
	root := home.Run(t, "system/sec/ca", "key", "decode", "--name", "certificate")
	seen := map[string]string{}
	for _, s := range append(specimens(t, home), specimen{
		name: "the cluster's CA", chain: root, purpose: []string{"crlsign"}, usage: "Certificate Sign, CRL Sign", key: "id-ecPublicKey",
	}) {
		t.Run(s.name, func(t *testing.T) {
			verify(t, home, s, root)
			describe(t, home, s)
			leaf := parse(t, s.chain)[0]
			id := leaf.Issuer.String() + " " + leaf.SerialNumber.Text(16)
			if other := seen[id]; other != "" {
				t.Errorf("issuer and serial %s are also those of %s", id, other)
			}
			seen[id] = s.name
		})
	}
	records := strings.Count(home.Run(t, "certificate", "ls", "-o", "jsonl"), "\n")
	if want := len(seen) + 1; records != want { // and the listener's, which the first start made
		t.Errorf("the inventory has %d certificates, expected %d", records, want)
	}
}

// specimens makes one certificate of each kind over each type of key.
func specimens(t *testing.T, home lab.Home) []specimen {
	var all []specimen
	add := func(s specimen, path string) {
		s.name = path
		s.chain = home.Run(t, path, "key", "decode", "--name", "certificate_chain")
		all = append(all, s)
	}
	for _, k := range []struct{ name, shown, wraps, request string }{
		{"ec-p256", "id-ecPublicKey", "", "EC -pkeyopt ec_paramgen_curve:P-256"},
		{"ec-p384", "id-ecPublicKey", "", "EC -pkeyopt ec_paramgen_curve:P-384"},
		{"ed25519", "ED25519", "", "ED25519"},
		{"rsa-2048", "rsaEncryption", ", Key Encipherment", "RSA -pkeyopt rsa_keygen_bits:2048"},
		{"rsa-3072", "rsaEncryption", ", Key Encipherment", "RSA -pkeyopt rsa_keygen_bits:3072"},
		{"rsa-4096", "rsaEncryption", ", Key Encipherment", ""}, // slow to make: one is enough
	} {
		const both = "TLS Web Server Authentication, TLS Web Client Authentication"
		ca := "system/sec/ca-" + k.name
		home.Run(t, ca, "create", "--kw", "ca=system/sec/ca", "--kw", "cn=Intermediate "+k.name, "--kw", "key_type="+k.name)
		home.Run(t, ca, "certificate", "create")
		add(specimen{purpose: []string{"crlsign"}, usage: "Certificate Sign, CRL Sign", key: k.shown}, ca)
		if k.request == "" {
			continue
		}

		web := "ns1/sec/web-" + k.name
		home.Run(t, web, "create", "--kw", "ca="+ca, "--kw", "cn=web.example.com", "--kw", "key_type="+k.name,
			"--kw", "alt_names=*.web.example.com 192.0.2.1 2001:db8::1")
		home.Run(t, web, "certificate", "create")
		add(specimen{purpose: []string{"sslserver", "sslclient"}, usage: "Digital Signature" + k.wraps, extUsed: both,
			id: "/ns/ns1/sec/web-" + k.name, key: k.shown}, web)

		user := "system/usr/u-" + k.name
		home.Run(t, user, "create", "--kw", "key_type="+k.name, "--kw", "email=u@example.com", "--kw", "o=Example", "--kw", "c=FR")
		add(specimen{purpose: []string{"sslclient"}, usage: "Digital Signature", extUsed: "TLS Web Client Authentication",
			id: "/usr/u-" + k.name, key: k.shown}, user)

		node := "ns1/sec/node-" + k.name
		home.Run(t, node, "create", "--kw", "profile=node", "--kw", "cn=node1.example.com", "--kw", "key_type="+k.name)
		home.Run(t, node, "certificate", "create")
		add(specimen{purpose: []string{"sslserver", "sslclient"}, usage: "Digital Signature" + k.wraps, extUsed: both,
			id: "/node/node-" + k.name, key: k.shown}, node)

		request := home.File(t, k.name+".csr", "")
		lab.Tool(t, "openssl", slices.Concat([]string{"req", "-new", "-noenc", "-keyout", os.DevNull, "-out", request, "-subj", "/CN=csr-" + k.name + ".example.com", "-newkey"},
			strings.Fields(k.request))...)
		all = append(all, specimen{
			name: "request over " + k.name, chain: home.Run(t, "certificate", "sign", request, "--profile", "listener", "--validity", "30d"),
			purpose: []string{"sslserver", "sslclient"}, usage: "Digital Signature" + k.wraps, extUsed: both,
			id: "/listener/csr-" + k.name + ".example.com", key: k.shown,
		})
	}
	return all
}

// verify has OpenSSL build the chain for each purpose, and refuse the others.
func verify(t *testing.T, home lab.Home, s specimen, root string) {
	leaf, between := home.File(t, "leaf.pem", s.chain), home.File(t, "between.pem", s.chain)
	anchor := home.File(t, "root.pem", root)
	for _, purpose := range []string{"sslserver", "sslclient", "crlsign"} {
		r := lab.TryTool(t, "openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", anchor, "-untrusted", between, leaf)
		if want := slices.Contains(s.purpose, purpose); want != (r.Status == 0) {
			t.Errorf("openssl verify -purpose %s: exit status %d, expected success %v\n%s", purpose, r.Status, want, r.Stderr)
		}
	}
}

// describe reads what OpenSSL shows of the leaf.
func describe(t *testing.T, home lab.Home, s specimen) {
	text := lab.Tool(t, "openssl", "x509", "-in", home.File(t, "leaf.pem", s.chain), "-noout", "-text", "-nameopt", "RFC2253")
	lines := strings.Split(text, "\n")
	behind := func(title string) string {
		for i, line := range lines[:len(lines)-1] {
			if strings.HasPrefix(strings.TrimSpace(line), title) {
				return strings.TrimSpace(lines[i+1])
			}
		}
		return ""
	}
	leaf := parse(t, s.chain)[0]
	basic := "CA:FALSE"
	if leaf.IsCA {
		basic = "CA:TRUE"
	}
	if got := behind("X509v3 Basic Constraints: critical"); got != basic && !strings.HasPrefix(got, basic+",") {
		t.Errorf("critical basic constraints: %q, expected %q", got, basic)
	}
	if got := behind("X509v3 Key Usage: critical"); got != s.usage {
		t.Errorf("critical key usage: %q, expected %q", got, s.usage)
	}
	if got := behind("X509v3 Extended Key Usage"); got != s.extUsed {
		t.Errorf("extended key usage: %q, expected %q", got, s.extUsed)
	}
	names := behind("X509v3 Subject Alternative Name")
	if i := strings.Index(names, "URI:spiffe://"); s.id != "" && (i < 0 || !strings.HasSuffix(strings.SplitN(names[i:], ",", 2)[0], s.id)) {
		t.Errorf("alternative names: %q, expected a SPIFFE ID that ends with %q", names, s.id)
	}
	if cn := leaf.Subject.CommonName; strings.Contains(cn, ".") && !strings.Contains(names, "DNS:"+cn) {
		t.Errorf("alternative names: %q, expected the common name %q among them", names, cn)
	}
	selfSigned := len(parse(t, s.chain)) == 1
	for _, want := range []string{"Version: 3 (0x2)", "Public Key Algorithm: " + s.key, "X509v3 Subject Key Identifier:"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if !selfSigned && !strings.Contains(text, "X509v3 Authority Key Identifier:") {
		t.Errorf("no authority key identifier in\n%s", text)
	}
	if !selfSigned && leaf.Subject.String() == leaf.Issuer.String() {
		t.Errorf("subject and issuer are both %q", leaf.Subject)
	}
	bounds(t, s)
}

// bounds checks the serial number and the times of a chain.
func bounds(t *testing.T, s specimen) {
	chain := parse(t, s.chain)
	leaf := chain[0]
	if bits := leaf.SerialNumber.BitLen(); leaf.SerialNumber.Sign() <= 0 || bits <= 152 || bits > 159 {
		t.Errorf("serial number %x: %d bits, expected a positive one of 20 octets", leaf.SerialNumber, bits)
	}
	if age := time.Since(leaf.NotBefore); age < time.Minute-time.Second || age > lab.Patience+2*time.Minute {
		t.Errorf("it begins %v ago, expected a minute before it was made", age)
	}
	for i, issuer := range chain[1:] {
		if chain[i].NotAfter.After(issuer.NotAfter) {
			t.Errorf("%q lives until %v, its issuer until %v", chain[i].Subject, chain[i].NotAfter, issuer.NotAfter)
		}
	}
	for _, part := range leaf.Subject.Names {
		if fmt.Sprint(part.Value) == "" {
			t.Errorf("the subject %q has an empty part", leaf.Subject)
		}
	}
}

// parse returns the certificates of a PEM text: at least one.
func parse(t *testing.T, text string) []*x509.Certificate {
	t.Helper()
	var all []*x509.Certificate
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		t.Fatalf("no certificate in %q", text)
	}
	return all
}

// TestPKCS12 has OpenSSL open the two kinds of PKCS #12 files.
func TestPKCS12(t *testing.T) {
	lab.Require(t, "openssl")
	home := lab.NewHome(t)
	home.Run(t, "init")
	home.Run(t, "system/usr/alice", "create")
	password := home.File(t, "password", "correct horse\n")
	for name, options := range map[string][2][]string{
		"modern": {nil, nil},
		"legacy": {{"--legacy"}, {"-legacy"}},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := os.Open(password)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			c := home.Command(t.Context(), t, append([]string{"system/usr/alice", "certificate", "pkcs12"}, options[0]...)...)
			c.Stdin = in
			made := lab.Finish(t, c)
			if made.Status != 0 {
				t.Fatalf("exit status %d: %s", made.Status, made.Stderr)
			}
			file := home.File(t, filepath.Base(name)+".p12", made.Stdout)
			out := lab.Tool(t, "openssl", append([]string{"pkcs12", "-in", file, "-noenc", "-passin", "file:" + password}, options[1]...)...)
			if n := strings.Count(out, "BEGIN CERTIFICATE"); n != 2 || !strings.Contains(out, "BEGIN PRIVATE KEY") {
				t.Errorf("%d certificates, expected the leaf, its CA and the key:\n%s", n, out)
			}
			r := lab.TryTool(t, "openssl", append([]string{"pkcs12", "-in", file, "-noenc", "-passin", "pass:wrong"}, options[1]...)...)
			if r.Status == 0 {
				t.Error("it opens with a wrong password")
			}
		})
	}
}
