package omca_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ocsp"

	"omca/ca"
	"omca/crl"
	"omca/internal/wire"
	"omca/pki"
)

// gains is what a user got by its certificate while that was good.
type gains struct {
	tickets        map[uint16]*tls.Config // by the version of TLS, with a cache that has one
	open1          *kept1
	open2          *kept2
	token, session string
}

// kept1 is an HTTP/1.1 connection that is left open. It is read by hand: net/http closes
// one whose answer comes early, on a machine that is busy.
type kept1 struct {
	conn *tls.Conn
	in   *bufio.Reader
}

// ask returns the status of one request.
func (k *kept1) ask() (int, error) {
	if err := k.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprint(k.conn, "GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(k.in, nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// ended waits until the other side has closed the connection, at most for a minute.
func (k *kept1) ended() error {
	if err := k.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	_, err := k.in.ReadByte()
	if timeout, ok := errors.AsType[net.Error](err); err == nil || ok && timeout.Timeout() {
		return fmt.Errorf("open after a minute, %w", err)
	}
	return nil
}

// kept2 is an HTTP/2 connection that is left open.
type kept2 struct {
	client *http.Client
	dials  atomic.Int64
	once   sync.Once
	closed chan struct{} // closed with the connection, which is never closed at this end first
}

func (k *kept2) dial(ctx context.Context, network, address string) (net.Conn, error) {
	k.dials.Add(1)
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return &kept2Conn{conn, k}, err
}

// kept2Conn is that connection. net/http always reads from it, and closes it behind the
// end that it finds.
type kept2Conn struct {
	net.Conn
	kept *kept2
}

func (k *kept2Conn) Close() error {
	k.kept.once.Do(func() { close(k.kept.closed) })
	return k.Conn.Close()
}

// tls is a configuration that presents the certificate whatever the node asks for.
func (c *cell) tls(b *bearer, version uint16) *tls.Config {
	return &tls.Config{
		RootCAs: c.roots, ServerName: "localhost", MinVersion: version, MaxVersion: version,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &b.pair, nil },
	}
}

// collect has certificates give what they give.
func (c *cell) collect(bearers ...*bearer) {
	c.t.Helper()
	for _, b := range bearers {
		if len(c.nodes) > 1 {
			eventually(c.t, b.name+" on the other node", func() bool { return c.accepted(b, c.tls(b, tls.VersionTLS13)) })
		}
		got := gains{tickets: make(map[uint16]*tls.Config)}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := c.tls(b, version)
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			if _, err := c.ask(config); err != nil {
				c.t.Fatalf("%s, %s: %v", b.name, tls.VersionName(version), err)
			}
			got.tickets[version] = config
		}
		got.open1, got.open2 = c.keep1(b), c.keep2(b)
		var pair wire.TokenPair
		if err := json.Unmarshal([]byte(c.call(got.open2.client, "POST", "/api/auth/token").body), &pair); err != nil || pair.AccessToken == "" {
			c.t.Fatalf("%s: no token: %v", b.name, err)
		}
		got.token = pair.AccessToken
		if got.session = c.call(got.open2.client, "POST", "/api/auth/login").cookie; got.session == "" {
			c.t.Fatalf("%s: no session", b.name)
		}
		b.got = append(b.got, got)
	}
}

// keep1 opens a connection and asks once over it.
func (c *cell) keep1(b *bearer) *kept1 {
	c.t.Helper()
	conn, err := tls.Dial("tcp", c.last().address, c.tls(b, tls.VersionTLS13))
	if err != nil {
		c.t.Fatalf("%s: %v", b.name, err)
	}
	c.t.Cleanup(func() { conn.Close() })
	k := &kept1{conn, bufio.NewReader(conn)}
	if status, err := k.ask(); err != nil || status != http.StatusOK {
		c.t.Fatalf("%s: %d %v", b.name, status, err)
	}
	return k
}

// keep2 opens a connection and asks once over it.
func (c *cell) keep2(b *bearer) *kept2 {
	c.t.Helper()
	k := &kept2{closed: make(chan struct{})}
	transport := &http.Transport{TLSClientConfig: c.tls(b, tls.VersionTLS13), Protocols: new(http.Protocols), DialContext: k.dial, MaxConnsPerHost: 1}
	transport.Protocols.SetHTTP2(true)
	k.client = &http.Client{Transport: transport, Timeout: time.Minute}
	c.t.Cleanup(transport.CloseIdleConnections)
	if got := c.call(k.client, "GET", "/whoami"); got.status != http.StatusOK {
		c.t.Fatalf("%s: %d %s", b.name, got.status, got.body)
	}
	return k
}

// called is what came of a call; the status is 0 without an answer, and body is the error.
type called struct {
	status       int
	body, cookie string
}

// call calls the last node.
func (c *cell) call(client *http.Client, method, path string, header ...string) called {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "https://"+c.last().address+path, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := client.Do(req)
	if err != nil {
		return called{body: err.Error()}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return called{body: err.Error()}
	}
	got := called{status: answer.StatusCode, body: string(body)}
	for _, cookie := range answer.Cookies() {
		got.cookie = cookie.Name + "=" + cookie.Value
	}
	return got
}

// errRefusal is the error of a certificate that was refused, in the handshake or with 401.
var errRefusal = errors.New("refused")

// ask makes a connection and one request, and reads to the end, where the tickets are.
// An error that is not errRefusal is none of the node's making.
func (c *cell) ask(config *tls.Config) (resumed bool, err error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", c.last().address, config)
	if err != nil {
		return false, asRefusal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return false, err
	}
	if _, err := fmt.Fprint(conn, "GET /whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return false, asRefusal(err)
	}
	answer, err := io.ReadAll(conn)
	switch {
	case bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")):
		return conn.ConnectionState().DidResume, nil
	case bytes.HasPrefix(answer, []byte("HTTP/1.1 401 ")):
		return false, fmt.Errorf("%w: %s", errRefusal, answer[bytes.LastIndexByte(answer, '\n')+1:])
	case err == nil:
		return false, fmt.Errorf("answer %.100q", answer)
	}
	return false, asRefusal(err)
}

// asRefusal tells an alert, or a connection that was cut behind one, from other errors.
func asRefusal(err error) error {
	alert, ok := errors.AsType[*net.OpError](err)
	if ok && alert.Op == "remote error" || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: %w", errRefusal, err)
	}
	return err
}

func (c *cell) accepted(b *bearer, config *tls.Config) bool {
	c.t.Helper()
	_, err := c.ask(config)
	if err != nil && !errors.Is(err, errRefusal) {
		c.t.Fatalf("%s: %v", b.name, err)
	}
	return err == nil
}

// revoke revokes the certificate of the victim, and waits until the last node knows.
func (c *cell) revoke() {
	c.t.Helper()
	serial := string(pki.SerialOf(c.victim.cert))
	c.post(http.StatusOK, "POST", "/api/certificate/"+serial+"/revoke", map[string]string{"reason": crl.KeyCompromise.String()})
	c.victim.revoked = true
	if len(c.nodes) == 1 {
		return
	}
	eventually(c.t, "the revocation on the other node", func() bool { return !c.accepted(c.victim, c.tls(c.victim, tls.VersionTLS13)) })
	for _, got := range c.victim.got {
		eventually(c.t, "the end of the token on the other node", func() bool {
			return c.call(c.bare, "GET", "/whoami", "Authorization", "Bearer "+got.token).status == http.StatusUnauthorized
		})
	}
}

// seeAsk checks that a connection is refused for the revoked, and made for others.
func (c *cell) seeAsk(b *bearer, config *tls.Config) (resumed bool) {
	c.t.Helper()
	resumed, err := c.ask(config)
	switch {
	case b.revoked && err == nil:
		c.t.Errorf("%s, which is revoked, is accepted in %s", b.name, tls.VersionName(config.MinVersion))
	case b.revoked && !errors.Is(err, errRefusal):
		c.t.Errorf("%s, which is revoked: %v, expected a refusal", b.name, err)
	case !b.revoked && err != nil:
		c.t.Errorf("%s, which is not revoked: %v in %s", b.name, err, tls.VersionName(config.MinVersion))
	}
	return resumed
}

func (c *cell) seeHandshake(b *bearer) {
	c.t.Helper()
	c.seeAsk(b, c.tls(b, tls.VersionTLS12))
	c.seeAsk(b, c.tls(b, tls.VersionTLS13))
}

func (c *cell) seeHandshakeAgain(b *bearer) { c.t.Helper(); c.seeAsk(b, c.tls(b, tls.VersionTLS13)) }

func (c *cell) seeResumption12(b *bearer) { c.t.Helper(); c.seeResumption(b, tls.VersionTLS12) }
func (c *cell) seeResumption13(b *bearer) { c.t.Helper(); c.seeResumption(b, tls.VersionTLS13) }

// seeResumption shows the tickets. The last one of a certificate that is good is taken,
// so that a refusal is that of a resumption.
func (c *cell) seeResumption(b *bearer, version uint16) {
	c.t.Helper()
	resumed := false
	for _, got := range b.got {
		resumed = c.seeAsk(b, got.tickets[version])
	}
	if c.column.untouched && !b.revoked && !resumed {
		c.t.Errorf("%s: the ticket was not taken", b.name)
	}
}

// seeOpen1 checks that the connection of the revoked was closed, and that of others is
// open, unless the process has ended.
func (c *cell) seeOpen1(b *bearer) {
	c.t.Helper()
	for i, got := range b.got {
		if b.revoked || c.ended(i) {
			if err := got.open1.ended(); err != nil {
				c.t.Errorf("the connection of %s: %v", b.name, err)
			}
		} else if status, err := got.open1.ask(); status != http.StatusOK {
			c.t.Errorf("the connection of %s: %d %v", b.name, status, err)
		}
	}
}

// seeOpen2 is seeOpen1 for HTTP/2.
func (c *cell) seeOpen2(b *bearer) {
	c.t.Helper()
	for i, got := range b.got {
		if b.revoked || c.ended(i) {
			within(c.t, time.Minute, "the end of a connection of "+b.name, got.open2.closed)
			continue
		}
		if answer := c.call(got.open2.client, "GET", "/whoami"); answer.status != http.StatusOK {
			c.t.Errorf("the connection of %s: %d %s", b.name, answer.status, answer.body)
		}
		if n := got.open2.dials.Load(); n != 1 {
			c.t.Errorf("the connection of %s was closed: %d were made", b.name, n)
		}
	}
}

// ended reports whether what was collected for the i-th time was of a process that has
// ended: the first time was before the event, the second one was behind it.
func (c *cell) ended(i int) bool {
	return c.column.ends && i == 0
}

// seeToken calls with the tokens. A token speaks for a user, whose own certificate is not
// revoked where its CA's is.
func (c *cell) seeToken(b *bearer) {
	c.t.Helper()
	for _, got := range b.got {
		c.seeCall(b, "token", false, "Authorization", "Bearer "+got.token)
	}
}

func (c *cell) seeSession(b *bearer) {
	c.t.Helper()
	for i, got := range b.got {
		c.seeCall(b, "session", c.column.restores && c.ended(i), "Cookie", got.session)
	}
}

// seeCall calls without a certificate, with something that was made with one. What is
// lost ends without a revocation, too.
func (c *cell) seeCall(b *bearer, what string, lost bool, header ...string) {
	c.t.Helper()
	want := http.StatusOK
	if b.revoked || lost {
		want = http.StatusUnauthorized
	}
	if got := c.call(c.bare, "GET", "/whoami", header...); got.status != want {
		c.t.Errorf("the %s of %s: %d %s, expected %d", what, b.name, got.status, got.body, want)
	}
}

// fetch gets what is public: over plain HTTP where that is served, else from the last node.
func (c *cell) fetch(method, path, media string, body []byte) (int, []byte) {
	c.t.Helper()
	base := "https://" + c.last().address
	if c.public != "" {
		base = "http://" + c.public
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, base+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	answer, err := c.bare.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer.StatusCode, text
}

// listPath is where the certificate says that its list is, or what the lasting name of
// the CA is where it says nothing.
func (c *cell) listPath(b *bearer) string {
	c.t.Helper()
	lasting := "/crl/" + ca.LastingName(b.ca.path, b.ca.cert) + ".crl"
	if c.public == "" || b.unrecorded {
		return lasting
	}
	want := "http://" + c.public + lasting
	if points := b.cert.CRLDistributionPoints; len(points) != 1 || points[0] != want {
		c.t.Fatalf("%s: distribution points %q, expected %q", b.name, points, want)
	}
	return lasting
}

// list is the current list of the CA of a certificate; nil while there is none.
func (c *cell) list(b *bearer) *x509.RevocationList {
	c.t.Helper()
	status, der := c.fetch("GET", c.listPath(b), "", nil)
	if status == http.StatusNotFound {
		return nil
	}
	list, err := x509.ParseRevocationList(der)
	if err == nil {
		err = list.CheckSignatureFrom(b.ca.cert)
	}
	if err != nil {
		c.t.Fatalf("%s: %d, no list of %q: %v", c.listPath(b), status, b.ca.cert.Subject, err)
	}
	return list
}

// seeList checks that the revoked is on the list of its CA, and others are on none.
func (c *cell) seeList(b *bearer) {
	c.t.Helper()
	entry := func() *x509.RevocationListEntry {
		list := c.list(b)
		if list == nil {
			return nil
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.RevocationTime.After(list.ThisUpdate) {
				c.t.Errorf("%x was revoked at %s, after the list of %s", e.SerialNumber, e.RevocationTime, list.ThisUpdate)
			}
		}
		i := slices.IndexFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(b.cert.SerialNumber) == 0 })
		if i < 0 {
			return nil
		}
		return &list.RevokedCertificateEntries[i]
	}
	if !b.revoked {
		eventually(c.t, "a list of the CA of "+b.name, func() bool { return c.list(b) != nil })
		if entry() != nil {
			c.t.Errorf("%s, which is not revoked, is on the list of its CA", b.name)
		}
		return
	}
	eventually(c.t, b.name+" on the list of its CA", func() bool { return entry() != nil })
	if e := entry(); e.ReasonCode != int(crl.KeyCompromise) {
		c.t.Errorf("%s is on the list with reason %d", b.name, e.ReasonCode)
	}
}

// seeOCSP checks the answer about a certificate: RFC 6960, 2.2, it is unknown when
// omca did not sign it.
func (c *cell) seeOCSP(b *bearer) {
	c.t.Helper()
	request, err := ocsp.CreateRequest(b.cert, b.ca.cert, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	status, der := c.fetch("POST", "/ocsp", "application/ocsp-request", request)
	answer, err := ocsp.ParseResponseForCert(der, b.cert, b.ca.cert)
	if err != nil {
		c.t.Errorf("%s: %d %v", b.name, status, err)
		return
	}
	want := ocsp.Good
	switch {
	case b.revoked:
		want = ocsp.Revoked
	case b.unrecorded:
		want = ocsp.Unknown
	}
	if answer.Status != want || b.revoked && answer.RevocationReason != ocsp.KeyCompromise {
		c.t.Errorf("%s: status %d, reason %d, expected status %d", b.name, answer.Status, answer.RevocationReason, want)
	}
}
