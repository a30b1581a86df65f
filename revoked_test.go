package omca_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"omca"
	"omca/crl"
	"omca/pki"
	"omca/pki/lint"
)

// serialOf is the serial number that a client shows.
func serialOf(t *testing.T, c *http.Client) pki.Serial {
	t.Helper()
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	leaf, err := x509.ParseCertificate(transport.TLSClientConfig.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return pki.SerialOf(leaf)
}

// asks says how a client fares: the status, or 0 when there is no connection.
func asks(c *http.Client, address string) int {
	answer, err := c.Get("https://" + address + "/whoami")
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0
	}
	return answer.StatusCode
}

// streams opens a connection, asks once over it, and returns it with a channel
// that is closed when the other side has closed it.
func streams(t *testing.T, c *http.Client, address string) (ended <-chan struct{}) {
	t.Helper()
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	conn, err := tls.Dial("tcp", address, transport.TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte("GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	if n, err := conn.Read(buffer); err != nil || !bytes.HasPrefix(buffer[:n], []byte("HTTP/1.1 200")) {
		t.Fatalf("%q, %v", buffer[:n], err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := conn.Read(buffer); err != nil {
				return
			}
		}
	}()
	return done
}

func within(t *testing.T, limit time.Duration, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(limit):
		t.Errorf("%s: not within %v", what, limit)
	}
}

// Revoking one certificate ends its connections and no other's: full
// handshakes, resumed ones and what is open.
func TestRevokedAtOnce(t *testing.T) {
	r := runServer(t, omca.Config{})
	alice, bob := r.client(t, "alice", "guest:ns1"), r.client(t, "bob", "guest:ns1")
	for _, c := range []*http.Client{alice, bob} {
		if transport, ok := c.Transport.(*http.Transport); ok {
			transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		}
		if got := asks(c, r.address); got != http.StatusOK {
			t.Fatalf("before: %d", got)
		}
	}
	var alices, bobs []<-chan struct{}
	for range 20 {
		alices, bobs = append(alices, streams(t, alice, r.address)), append(bobs, streams(t, bob, r.address))
	}
	local(t, r.Server, "POST", "/api/certificate/"+string(serialOf(t, alice))+"/revoke", map[string]string{"reason": "cessationOfOperation"})
	for _, ended := range alices {
		within(t, 5*time.Second, "the end of a connection of alice", ended)
	}
	alice.CloseIdleConnections() // the next handshake may resume
	if got := asks(alice, r.address); got == http.StatusOK {
		t.Error("a revoked certificate got in")
	}
	for _, ended := range bobs {
		select {
		case <-ended:
			t.Error("a connection of bob was ended")
		default:
		}
	}
	if got := asks(bob, r.address); got != http.StatusOK {
		t.Errorf("bob: %d", got)
	}
	// Once more changes nothing, and a new certificate lets the user in again.
	local(t, r.Server, "POST", "/api/certificate/"+string(serialOf(t, alice))+"/revoke", map[string]string{"reason": "superseded"})
	local(t, r.Server, "POST", "/api/object/path/system/usr/alice/certificate", map[string]any{})
	if got := asks(r.client(t, "alice", "guest:ns1"), r.address); got != http.StatusOK {
		t.Errorf("alice with a new certificate: %d", got)
	}
}

// A revocation outlives the process, and is in force before the first connection.
func TestRevokedAfterARestart(t *testing.T) {
	home := t.TempDir() + "/home"
	first := runServer(t, omca.Config{Home: home})
	path := "/api/object/path/system/usr/alice"
	local(t, first.Server, "POST", path, map[string]any{"keywords": []string{"grant=root"}})
	chain := local(t, first.Server, "GET", path+"/data/key?name=certificate_chain", nil)
	key := local(t, first.Server, "GET", path+"/data/key?name=private_key", nil)
	local(t, first.Server, "POST", path+"/certificate/revoke", map[string]string{"reason": "keyCompromise"})
	// Else the second start makes one, and a change of a CA has the revocations read as well.
	until(t, "the OCSP responder was made", func() bool {
		status, _ := try(t, first.Server, "GET", "/api/object/path/system/sec/ocsp", nil)
		return status == http.StatusOK
	})
	first.stop()
	r := runServer(t, omca.Config{Home: home})
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}}}}
	defer c.CloseIdleConnections()
	if got := asks(c, r.address); got == http.StatusOK {
		t.Error("a certificate that was revoked before the restart got in")
	}
}

// otherPKI is a CA that omca knows only by its certificate and its lists.
type otherPKI struct {
	cert    *x509.Certificate
	key     crypto.Signer
	issuer  *pki.Issuer
	builder *crl.Builder
	list    atomic.Pointer[[]byte]
	number  int64
}

func newOtherPKI(t *testing.T) *otherPKI {
	t.Helper()
	p := &otherPKI{}
	var err error
	if p.key, err = pki.GenerateKey(pki.ECP384); err != nil {
		t.Fatal(err)
	}
	root, err := pki.NewRoot(p.key, lint.New())
	if err != nil {
		t.Fatal(err)
	}
	p.cert = p.sign(t, root, "ca", "MyCorp Root", p.key.Public())
	if p.issuer, err = pki.NewIssuer([]*x509.Certificate{p.cert}, p.key, lint.New()); err != nil {
		t.Fatal(err)
	}
	if p.builder, err = crl.NewBuilder(crl.BuilderConfig{Issuer: p.cert, Key: p.key}); err != nil {
		t.Fatal(err)
	}
	p.publish(t)
	return p
}

func (p *otherPKI) sign(t *testing.T, issuer *pki.Issuer, profile, cn string, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	known, err := pki.LookupProfile(profile)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := pki.NewSerial(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.NewRequest(pub, pki.Subject{CommonName: cn}, pki.Names{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	draft, err := issuer.Draft(request, pki.Terms{Profile: known, Serial: serial, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issuer.Sign(draft)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// publish puts out the next list, with the revoked certificates added.
func (p *otherPKI) publish(t *testing.T, revoked ...*x509.Certificate) {
	t.Helper()
	for _, cert := range revoked {
		entry := crl.Revocation{NotAfter: cert.NotAfter}
		entry.Serial, entry.At, entry.Reason = pki.SerialOf(cert), time.Now(), crl.KeyCompromise
		if err := p.builder.Add(entry); err != nil {
			t.Fatal(err)
		}
	}
	p.number++
	published, err := p.builder.Build(big.NewInt(p.number), time.Now().Add(-time.Second), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	p.list.Store(&published.DER)
}

// client is that of a user whom this PKI certifies.
func (p *otherPKI) client(t *testing.T, r *running, cn string) (*http.Client, *x509.Certificate) {
	t.Helper()
	key, err := pki.GenerateKey(pki.ECP256)
	if err != nil {
		t.Fatal(err)
	}
	cert := p.sign(t, p.issuer, "usr", cn, key.Public())
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: r.pool, ServerName: "localhost",
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
	}}}
	t.Cleanup(c.CloseIdleConnections)
	return c, cert
}

// Under a company's PKI: its users, its list, its revocations.
func TestExternalList(t *testing.T) {
	r := runServer(t, omca.Config{})
	other := newOtherPKI(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if list := other.list.Load(); list != nil {
			_, _ = w.Write(*list) // who asked sees when it is cut off
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer web.Close()
	local(t, r.Server, "POST", "/api/object/path/system/usr/carol", map[string]any{"keywords": []string{"grant=guest:ns1"}})
	local(t, r.Server, "POST", "/api/object/path/system/usr/dave", map[string]any{"keywords": []string{"grant=guest:ns1"}})
	carol, cert := other.client(t, r, "carol")
	dave, _ := other.client(t, r, "dave")
	if got := asks(carol, r.address); got == http.StatusOK {
		t.Fatal("a CA that nobody trusts was believed")
	}
	carol.CloseIdleConnections() // crypto/tls sends no certificate to a server that would not believe it

	local(t, r.Server, "POST", "/api/object/path/system/sec/ca-external", map[string]any{})
	local(t, r.Server, "PATCH", "/api/object/path/system/sec/ca-external/data", []map[string]string{{
		"action": "add", "name": "certificate_chain", "string": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.cert.Raw})),
	}})
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-external", nil)
	if got := asks(carol, r.address); got != http.StatusOK {
		t.Fatalf("a user of a trusted CA without lists: %d", got)
	}
	ended := streams(t, carol, r.address)

	// A source that never gave anything: nobody knows whom it speaks for, so
	// whoever is not ours is refused, or let in with a warning.
	list := other.list.Swap(nil)
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.crl%3D"+web.URL+"/list.crl", nil)
	within(t, 5*time.Second, "the end of the connection of whom a list may name", ended)
	carol.CloseIdleConnections()
	if got := asks(carol, r.address); got == http.StatusOK {
		t.Error("with a list that never came, and the policy hard, got in")
	}
	local(t, r.Server, "PATCH", "/api/cluster/config?set=listener.crl_policy%3Dsoft", nil)
	if got := asks(carol, r.address); got != http.StatusOK {
		t.Errorf("with a list that never came, and the policy soft: %d", got)
	}
	local(t, r.Server, "PATCH", "/api/cluster/config?set=listener.crl_policy%3Dhard", nil)
	other.list.Store(list)
	refresh := func() int {
		t.Helper()
		status, _ := try(t, r.Server, "POST", "/api/crl/refresh", map[string]string{"source": web.URL + "/list.crl"})
		return status
	}
	for deadline := time.Now().Add(10 * time.Second); refresh() != http.StatusNoContent; { // until the keyword has been seen
		if time.Now().After(deadline) {
			t.Fatal("the list never came")
		}
	}
	if got := asks(carol, r.address); got != http.StatusOK {
		t.Fatalf("with a current list: %d", got)
	}
	ended = streams(t, carol, r.address)
	other.publish(t, cert)
	if status := refresh(); status != http.StatusNoContent {
		t.Fatalf("refresh: %d", status)
	}
	within(t, 5*time.Second, "the end of the connection of whom the list names", ended)
	carol.CloseIdleConnections()
	if got := asks(carol, r.address); got == http.StatusOK {
		t.Error("whom the list names got in")
	}
	if got := asks(dave, r.address); got != http.StatusOK {
		t.Errorf("whom it does not name: %d", got)
	}
	var lists struct {
		Items []struct{ Source, State string }
	}
	if err := json.Unmarshal(local(t, r.Server, "GET", "/api/crl", nil), &lists); err != nil {
		t.Fatal(err)
	}
	fresh := 0
	for _, l := range lists.Items {
		if l.State == "fresh" {
			fresh++
		}
	}
	if fresh != 2 { // ours, and theirs
		t.Errorf("lists %+v", lists.Items)
	}

	// A CA that leaves cluster.ca speaks for nobody, at once.
	ended = streams(t, dave, r.address)
	local(t, r.Server, "PATCH", "/api/cluster/config?unset=cluster.ca", nil)
	within(t, 5*time.Second, "the end of a connection whose CA was taken out", ended)
	dave.CloseIdleConnections()
	if got := asks(dave, r.address); got == http.StatusOK {
		t.Error("a CA that was taken out was believed")
	}
}

// TestExternalListAfterARestart: what another PKI took back is in force before the
// first connection, though its list cannot be had any more.
func TestExternalListAfterARestart(t *testing.T) {
	home := t.TempDir() + "/home"
	r := runServer(t, omca.Config{Home: home})
	other := newOtherPKI(t)
	carol, cert := other.client(t, r, "carol")
	dave, _ := other.client(t, r, "dave")
	other.publish(t, cert)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(*other.list.Load()) // who asked sees when it is cut off
	}))
	defer web.Close()
	for _, user := range []string{"carol", "dave"} {
		local(t, r.Server, "POST", "/api/object/path/system/usr/"+user, map[string]any{"keywords": []string{"grant=guest:ns1"}})
	}
	local(t, r.Server, "POST", "/api/object/path/system/sec/ca-external", map[string]any{})
	local(t, r.Server, "PATCH", "/api/object/path/system/sec/ca-external/data", []map[string]string{{
		"action": "add", "name": "certificate_chain", "string": string(pki.EncodeCertificates(other.cert)),
	}})
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.ca%3Dsystem/sec/ca-external&set=cluster.crl%3D"+web.URL, nil)
	until(t, "the list came", func() bool {
		status, _ := try(t, r.Server, "POST", "/api/crl/refresh", map[string]string{"source": web.URL})
		return status == http.StatusNoContent
	})
	r.stop()
	web.Close()
	r = runServer(t, omca.Config{Home: home})
	if got := asks(carol, r.address); got != 0 {
		t.Errorf("a certificate that was listed before the restart got in: %d", got)
	}
	if got := asks(dave, r.address); got != http.StatusOK {
		t.Errorf("whom the last good copy does not name: %d", got)
	}
}

// importCompany makes the CA of a company the internal one. It returns that
// company, which has the key too, and where it publishes its list.
func importCompany(t *testing.T, r *running) (other *otherPKI, list string) {
	t.Helper()
	other = newOtherPKI(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(*other.list.Load()) // who asked sees when it is cut off
	}))
	t.Cleanup(web.Close)
	key, err := pki.EncodePrivateKey(other.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{"private_key": key, "certificate_chain": pki.EncodeCertificates(other.cert)} {
		local(t, r.Server, "PATCH", "/api/object/path/system/sec/ca/data", []map[string]string{{"action": "change", "name": name, "string": string(value)}})
	}
	return other, web.URL + "/list.crl"
}

// TestTwoListsOfOneCA: the key of an imported CA signs our list, and that of the
// company which had it before. Whichever is the newer, who is on either is refused.
func TestTwoListsOfOneCA(t *testing.T) {
	r := runServer(t, omca.Config{})
	other, list := importCompany(t, r)
	alice := r.client(t, "alice", "guest:ns1")
	carol, cert := other.client(t, r, "carol")
	refused := func(when string, clients map[string]*http.Client) {
		t.Helper()
		for name, c := range clients {
			c.CloseIdleConnections()
			if got := asks(c, r.address); got != 0 {
				t.Errorf("%s: %s, who is revoked, is let in: %d", when, name, got)
			}
		}
	}
	if got := asks(carol, r.address); got != http.StatusUnauthorized { // a certificate of the CA, and nobody here
		t.Fatalf("before: %d", got)
	}
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.crl%3D"+list, nil)
	refresh := func() bool {
		status, _ := try(t, r.Server, "POST", "/api/crl/refresh", map[string]string{"source": list})
		return status == http.StatusNoContent
	}
	other.publish(t, cert)
	until(t, "the company's list came", refresh)
	refused("on the company's list", map[string]*http.Client{"carol": carol})

	local(t, r.Server, "POST", "/api/certificate/"+string(serialOf(t, alice))+"/revoke", map[string]string{"reason": "keyCompromise"})
	until(t, "our list has the revocation", func() bool { return listed(t, r, "/crl/ca.crl", other.cert) == 1 })
	both := map[string]*http.Client{"alice": alice, "carol": carol}
	refused("with our list the newer", both)

	ours := time.Now().Add(2 * time.Second)
	until(t, "the clock has gone on", func() bool { return time.Now().After(ours) })
	other.number += 1000
	other.publish(t)
	if !refresh() {
		t.Fatal("the company's next list did not come")
	}
	refused("with the company's list the newer", both)
}

// TestLapsedListOfOurCA: the company that has the key of an imported CA too took
// nothing back for too long. Nobody here knows what it has to say, so the policy
// decides, for our own CA as for any other.
func TestLapsedListOfOurCA(t *testing.T) {
	var ahead atomic.Int64
	r := runServer(t, omca.Config{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	other, list := importCompany(t, r)
	alice := r.client(t, "alice", "guest:ns1")
	other.publish(t)
	local(t, r.Server, "PATCH", "/api/cluster/config?set=cluster.crl%3D"+list, nil)
	until(t, "the company's list is in force", func() bool {
		status, _ := try(t, r.Server, "POST", "/api/crl/refresh", map[string]string{"source": list})
		return status == http.StatusNoContent && asks(alice, r.address) == http.StatusOK
	})
	ahead.Store(int64(2 * time.Hour)) // the list was for one
	alice.CloseIdleConnections()
	if got := asks(alice, r.address); got != 0 {
		t.Errorf("with a list that has lapsed, and the policy hard: %d", got)
	}
	local(t, r.Server, "PATCH", "/api/cluster/config?set=listener.crl_policy%3Dsoft", nil)
	until(t, "the policy is soft", func() bool { alice.CloseIdleConnections(); return asks(alice, r.address) == http.StatusOK })
}
