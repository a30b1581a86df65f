package omca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"omca/ca"
	"omca/internal/interop/lab"
	"omca/pki"
)

// cell is one cell of the table: a cluster with a CA, and certificates below it.
type cell struct {
	t      *testing.T
	column tableColumn
	nodes  []*running     // changes are made at the first, observations at the last
	roots  *x509.CertPool // for what the nodes present
	bare   *http.Client   // without a certificate
	public string         // HOST:PORT of plain HTTP; "" on several nodes, which share this machine

	ca      authority // whose object the event is at
	victim  *bearer
	others  []*bearer // that are accepted in any case
	trusted int       // CAs in cluster.ca
	backup  []byte    // decrypted
}

// authority is a CA, and what made its object.
type authority struct {
	path     string
	keywords []string
	cert     *x509.Certificate
	key      crypto.Signer // nil when it was made by omca
}

// bearer is a user with a certificate.
type bearer struct {
	name       string
	pair       tls.Certificate
	cert       *x509.Certificate // of its chain, that which is revoked or not: its own, or its CA's
	ca         authority         // that signed cert
	unrecorded bool              // signed elsewhere with the key of an imported CA
	revoked    bool
	got        []gains
}

// first is the node that changes are made at.
func (c *cell) first() *running { return c.nodes[0] }

// last is the node that observations are made at.
func (c *cell) last() *running { return c.nodes[len(c.nodes)-1] }

// all is every bearer, the victim first.
func (c *cell) all() []*bearer { return append([]*bearer{c.victim}, c.others...) }

// post makes a change as root, which gets the status want.
func (c *cell) post(want int, method, path string, body any) []byte {
	c.t.Helper()
	status, answer := try(c.t, c.first().Server, method, path, body)
	if status != want {
		c.t.Fatalf("%s %s: %d, expected %d: %s", method, path, status, want, answer)
	}
	return answer
}

func objectAt(path string) string { return "/api/object/path/" + path }

// set changes a keyword of the cluster.
func (c *cell) set(expression string) {
	c.t.Helper()
	c.post(http.StatusOK, "PATCH", "/api/cluster/config?set="+url.QueryEscape(expression), nil)
}

// prepare has the cluster speak TLS 1.2 and, where one node serves, plain HTTP.
func (c *cell) prepare() {
	c.t.Helper()
	c.set("listener.tls_min_version=1.2")
	if len(c.nodes) == 1 {
		c.public = net.JoinHostPort("127.0.0.1", lab.FreePort(c.t))
		c.set("listener.http_addr=" + c.public)
		awaitPort(c.t, c.public)
	}
	c.meet()
	if len(c.nodes) > 1 {
		eventually(c.t, "TLS 1.2 on the other node", func() bool {
			conn, err := tls.Dial("tcp", c.last().address, &tls.Config{RootCAs: c.roots, ServerName: "localhost", MaxVersion: tls.VersionTLS12})
			return err == nil && conn.Close() == nil
		})
	}
}

// meet takes in the CA of what the nodes present.
func (c *cell) meet() {
	c.t.Helper()
	c.roots = c.roots.Clone()
	if !c.roots.AppendCertsFromPEM(local(c.t, c.first().Server, "GET", "/ca.pem", nil)) {
		c.t.Fatal("no CA certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots, ServerName: "localhost"}}
	c.t.Cleanup(transport.CloseIdleConnections)
	c.bare = &http.Client{Transport: transport, Timeout: time.Minute}
}

// chainAt is what the object at path holds.
func (c *cell) chainAt(path string) []*x509.Certificate {
	c.t.Helper()
	chain, err := pki.ParseCertificates(local(c.t, c.first().Server, "GET", objectAt(path)+"/data/key?name="+ca.KeyChain, nil))
	if err != nil {
		c.t.Fatal(err)
	}
	return chain
}

// user makes a user whose certificate a CA signs.
func (c *cell) user(name string, issuer authority) *bearer {
	c.t.Helper()
	c.post(http.StatusCreated, "POST", usersAt+name, map[string]any{"keywords": []string{"grant=guest:ns1", "ca=" + issuer.path}})
	b := &bearer{name: name, pair: *c.first().held(c.t, "system/usr/"+name), ca: issuer}
	b.read(c.t)
	return b
}

func (b *bearer) read(t *testing.T) {
	t.Helper()
	leaf, err := x509.ParseCertificate(b.pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.CheckSignatureFrom(b.ca.cert); err != nil {
		t.Fatalf("%s: not of %q: %v", b.name, b.ca.cert.Subject, err)
	}
	b.cert = leaf
}

// users makes the victim and its neighbour.
func (c *cell) users(issuer authority) {
	c.t.Helper()
	c.ca = issuer
	c.victim = c.user("victim", issuer)
	c.others = append(c.others, c.user("neighbour", issuer))
}

// trust adds a CA to cluster.ca: an object that has its certificate and no key.
func (c *cell) trust(cert *x509.Certificate) {
	c.t.Helper()
	c.trusted++
	path := "system/sec/ca-trusted" + string(rune('0'+c.trusted))
	c.post(http.StatusCreated, "POST", objectAt(path), map[string]any{})
	c.post(http.StatusNoContent, "PATCH", objectAt(path)+"/data", []map[string]string{
		{"action": "add", "name": ca.KeyChain, "string": string(pki.EncodeCertificates(cert))},
	})
	c.set("cluster.ca+=" + path)
}

// madeCA makes a root here, and trusts it.
func (c *cell) madeCA(path, cn string) authority {
	c.t.Helper()
	made := c.make(path, "profile=ca", "cn="+cn)
	c.trust(made.cert)
	return made
}

func (c *cell) make(path string, keywords ...string) authority {
	c.t.Helper()
	c.first().make(c.t, path, keywords...)
	return authority{path: path, keywords: keywords, cert: c.chainAt(path)[0]}
}

// bring imports a CA with its key.
func (c *cell) bring(path string, cert *x509.Certificate, key crypto.Signer) {
	c.t.Helper()
	text, err := pki.EncodePrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	for name, value := range map[string][]byte{ca.KeyPrivate: text, ca.KeyChain: pki.EncodeCertificates(cert)} {
		c.post(http.StatusNoContent, "PATCH", objectAt(path)+"/data", []map[string]string{{"action": "change", "name": name, "string": string(value)}})
	}
	if got := c.chainAt(path); !got[0].Equal(cert) {
		c.t.Fatalf("%s holds %q, not the imported %q", path, got[0].Subject, cert.Subject)
	}
}

// root is a CA of another PKI, which change may change.
func root(t *testing.T, cn string, change func(*x509.Certificate)) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: cn}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	change(template)
	return certify(t, template, template, key.Public(), key), key
}

func certify(t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// withoutSKI has crypto/x509, which gives every CA a subjectKeyIdentifier, not know that
// the certificate is one.
func withoutSKI(template *x509.Certificate) {
	template.BasicConstraintsValid, template.IsCA = false, false
	template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}
}

// importedCA brings a root of another PKI, and trusts it.
func (c *cell) importedCA(path, cn string, changes ...func(*x509.Certificate)) authority {
	c.t.Helper()
	cert, key := root(c.t, cn, func(template *x509.Certificate) {
		for _, change := range changes {
			change(template)
		}
	})
	keywords := []string{"profile=ca", "cn=" + cn}
	c.post(http.StatusCreated, "POST", objectAt(path), map[string]any{"keywords": keywords})
	c.bring(path, cert, key)
	c.trust(cert)
	return authority{path: path, keywords: keywords, cert: cert, key: key}
}

func (c *cell) clusterCA() {
	c.users(authority{path: ca.PathCA, cert: c.chainAt(ca.PathCA)[0]})
}

func (c *cell) subordinate() {
	c.users(c.make("ns1/sec/sub", "profile=ca", "ca="+ca.PathCA, "cn=Sub CA"))
}

func (c *cell) belowSubordinate() {
	c.make("ns1/sec/sub", "profile=ca", "ca="+ca.PathCA, "cn=Sub CA")
	c.users(c.make("ns2/sec/lower", "profile=ca", "ca=ns1/sec/sub", "cn=Lower CA"))
}

// revokedSubordinate has the CA of the victim revoked, and the event at that CA's object.
func (c *cell) revokedSubordinate() {
	upper := c.madeCA("ns1/sec/root", "Root CA")
	c.ca = c.make("ns2/sec/lower", "profile=ca", "ca=ns1/sec/root", "cn=Lower CA")
	c.victim = c.user("victim", c.ca)
	c.victim.cert, c.victim.ca = c.ca.cert, upper
	c.others = append(c.others, c.user("neighbour", upper))
}

// revokedAnchor has the CA of the victim revoked, which is a trust anchor: the root above it
// is not trusted itself.
func (c *cell) revokedAnchor() {
	upper := c.make("ns1/sec/root", "profile=ca", "cn=Root CA")
	c.ca = c.make("ns2/sec/lower", "profile=ca", "ca=ns1/sec/root", "cn=Lower CA")
	beside := c.make("ns2/sec/beside", "profile=ca", "ca=ns1/sec/root", "cn=Beside CA")
	c.trust(c.ca.cert)
	c.trust(beside.cert)
	c.victim = c.user("victim", c.ca)
	c.victim.cert, c.victim.ca = c.ca.cert, upper
	c.others = append(c.others, c.user("neighbour", beside))
}

func (c *cell) formerCA() {
	c.users(c.madeCA("ns1/sec/root", "Root CA"))
	c.post(http.StatusOK, "POST", objectAt("ns1/sec/root")+"/certificate/renew", map[string]any{"rekey": true})
}

func (c *cell) importedWithoutSKI() {
	c.users(c.importedCA("ns1/sec/imported", "Old CA", withoutSKI))
	c.expectSKI(c.ca.cert, nil)
}

func (c *cell) importedClusterCA() {
	cert, key := root(c.t, "Old CA", withoutSKI)
	c.bring(ca.PathCA, cert, key)
	c.expectSKI(cert, nil)
	c.users(authority{path: ca.PathCA, cert: cert, key: key})
}

func (c *cell) expectSKI(cert *x509.Certificate, want []byte) {
	c.t.Helper()
	if !slices.Equal(cert.SubjectKeyId, want) {
		c.t.Fatalf("%q: subjectKeyIdentifier %x, expected %x", cert.Subject, cert.SubjectKeyId, want)
	}
}

func (c *cell) twoWithOneSKI(one authority) {
	c.users(one)
	c.twin(c.importedCA("ns2/sec/other", "Other CA", func(template *x509.Certificate) { template.SubjectKeyId = one.cert.SubjectKeyId }))
	c.expectSKI(c.others[1].ca.cert, one.cert.SubjectKeyId)
}

func (c *cell) twoWithOneName(one authority) {
	c.users(one)
	c.twin(c.importedCA("ns2/sec/other", "", func(template *x509.Certificate) { template.RawSubject = one.cert.RawSubject }))
}

// twin makes users of another CA: one that omca signs for, and one with the serial
// number of the victim, which the holder of that CA's key has signed.
func (c *cell) twin(other authority) {
	c.t.Helper()
	c.others = append(c.others, c.user("twin", other))
	c.post(http.StatusCreated, "POST", usersAt+"double", map[string]any{"keywords": []string{"grant=guest:ns1"}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	double := certify(c.t, &x509.Certificate{
		SerialNumber: c.victim.cert.SerialNumber, Subject: pkix.Name{CommonName: "double"},
		NotBefore: c.victim.cert.NotBefore, NotAfter: c.victim.cert.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, other.cert, key.Public(), other.key)
	b := &bearer{name: "double", pair: tls.Certificate{Certificate: [][]byte{double.Raw}, PrivateKey: key}, ca: other, unrecorded: true}
	b.read(c.t)
	c.others = append(c.others, b)
}
