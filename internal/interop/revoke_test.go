package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca/internal/client"
	"omca/internal/interop/lab"
)

// slack bounds what is promised within 100 ms on an idle machine; tests share theirs.
const slack = time.Second

// revoker takes back the certificate of one of three users.
type revoker struct {
	pairs  []*tls.Certificate
	revoke func(i int)
}

// TestRevokeOpenConnections opens three hundred connections of three users, and
// revoking one certificate ends that user's and nobody else's.
func TestRevokeOpenConnections(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *lab.Daemon) revoker{
		"our own CA": ownRevoker, "the list of another": externalRevoker,
	} {
		t.Run(name, func(t *testing.T) {
			d := lab.NewHome(t).Start(t)
			r := prepare(t, d)
			t.Run("open connections", func(t *testing.T) { revokeOpen(t, d, r) })
			for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
				t.Run("resumed, "+tls.VersionName(version), func(t *testing.T) { revokeResumed(t, d, prepare(t, d), version) })
			}
		})
	}
}

// ownRevoker is that of users whom the cluster certifies.
func ownRevoker(t *testing.T, d *lab.Daemon) revoker {
	t.Helper()
	var r revoker
	for i := range 3 {
		path := fmt.Sprintf("system/usr/u%d", i)
		d.Run(t, path, "create", "--force", "--kw", "grant=admin:ns1")
		r.pairs = append(r.pairs, d.Pair(t, path))
	}
	api := d.Client(t)
	r.revoke = func(i int) {
		path, err := client.ParsePath(fmt.Sprintf("system/usr/u%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := api.Revoke(t.Context(), path, "keyCompromise"); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// externalRevoker is that of users whom another PKI certifies, and takes back on
// a list that the cluster fetches.
func externalRevoker(t *testing.T, d *lab.Daemon) revoker {
	t.Helper()
	other := newCompany(t, fmt.Sprintf("MyCorp %s", t.Name()), nil)
	var list atomic.Pointer[[]byte]
	publish := func(number int64, certs ...*x509.Certificate) {
		der := other.list(t, number, certs...)
		list.Store(&der)
	}
	publish(1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(*list.Load()) // who asked sees when it is cut off
	}))
	t.Cleanup(web.Close)
	var r revoker
	for i := range 3 {
		name := fmt.Sprintf("u%d", i)
		d.Run(t, "system/usr/"+name, "create", "--force", "--kw", "grant=admin:ns1")
		r.pairs = append(r.pairs, other.user(t, name))
	}
	d.Run(t, "system/sec/ca-external", "create", "--force", "--yes")
	d.Run(t, "system/sec/ca-external", "key", "add", "--name", "certificate_chain", "--from", d.File(t, "external.crt", asPEM("CERTIFICATE", other.cert.Raw)))
	d.Run(t, "cluster", "config", "update", "--set", "cluster.ca=system/sec/ca-external", "--set", "cluster.crl="+web.URL)
	api := d.Client(t)
	for deadline := time.Now().Add(lab.Patience); api.RefreshLists(t.Context(), web.URL) != nil; { // until the keyword has been seen
		if time.Now().After(deadline) {
			t.Fatalf("the list never came: %v", api.RefreshLists(t.Context(), web.URL))
		}
	}
	r.revoke = func(i int) {
		publish(2, r.pairs[i].Leaf)
		if err := api.RefreshLists(t.Context(), web.URL); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// revokeOpen revokes the certificate of the second user.
func revokeOpen(t *testing.T, d *lab.Daemon, r revoker) {
	const each = 100
	d.Run(t, "ns1/sec/s", "create")
	d.Run(t, "ns1/sec/s", "key", "add", "--name", "k", "--value", "v")
	conns := make([][]*open, len(r.pairs))
	for user, pair := range r.pairs {
		for i := range each {
			conns[user] = append(conns[user], newOpen(t, d, pair, i%2 == 0, i%4 < 2))
		}
	}
	const revoked = 1
	asked := time.Now()
	r.revoke(revoked)
	reply := time.Now()
	last := asked.Sub(reply)
	for _, c := range conns[revoked] {
		select {
		case <-c.closed:
			last = max(last, c.at.Sub(reply))
		case <-time.After(time.Until(reply.Add(lab.Patience))):
			t.Fatalf("%s of the revoked user is open", c)
		}
	}
	t.Logf("%d of %d connections closed, the last %v after the request and %v after the reply", each, each*len(r.pairs), last+reply.Sub(asked), last)
	if last > slack {
		t.Errorf("the last connection was closed %v after the reply, expected at most %v", last, slack)
	}
	for user := range conns {
		if user == revoked {
			continue
		}
		for _, c := range conns[user] {
			c.ask(t)
		}
	}
}

// open is one connection of a user: idle after a request, or with one under way
// whose body is being sent.
type open struct {
	client *http.Client
	url    string
	stream *io.PipeWriter // nil when it is idle
	answer chan error     // of the stream
	dials  atomic.Int64
	once   sync.Once
	closed chan struct{}
	at     time.Time // of the close, behind closed
	name   string
}

func (o *open) String() string { return o.name }

// newOpen opens a connection over HTTP/1.1 or HTTP/2.
func newOpen(t *testing.T, d *lab.Daemon, pair *tls.Certificate, http2, streaming bool) *open {
	t.Helper()
	o := &open{closed: make(chan struct{}), url: d.URL("/whoami"), name: fmt.Sprintf("a connection (HTTP/2 %t, streaming %t)", http2, streaming)}
	transport := &http.Transport{TLSClientConfig: d.TLS(t, pair), Protocols: new(http.Protocols), DialContext: o.dial}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	o.client = &http.Client{Transport: transport}
	if err := whoami(t.Context(), o.client, o.url); err != nil {
		t.Fatal(err)
	}
	if !streaming {
		return o
	}
	var body *io.PipeReader
	body, o.stream = io.Pipe()
	o.answer = make(chan error, 1)
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPut, d.URL("/api/object/path/ns1/sec/s/data/key?name=k"), body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	go func() {
		answer, err := o.client.Do(request)
		if err == nil {
			err = answer.Body.Close()
			if answer.StatusCode >= http.StatusMultipleChoices {
				err = errors.Join(err, fmt.Errorf("status %s", answer.Status))
			}
		}
		o.answer <- err
	}()
	t.Cleanup(func() { o.stream.CloseWithError(io.ErrUnexpectedEOF) })
	if _, err := o.stream.Write([]byte("x")); err != nil { // taken when the headers have gone
		t.Fatal(err)
	}
	return o
}

// ask makes use of a connection, which must be the one that was opened.
func (o *open) ask(t *testing.T) {
	t.Helper()
	select {
	case <-o.closed:
		t.Errorf("%s of another user was closed", o)
		return
	case err := <-o.answer:
		t.Errorf("%s of another user was answered before its end: %v", o, err)
		return
	default:
	}
	var err error
	if o.stream == nil {
		err = whoami(t.Context(), o.client, o.url)
	} else {
		err = errors.Join(o.stream.Close(), <-o.answer)
	}
	if err != nil || o.dials.Load() != 1 {
		t.Errorf("%s of another user: %v, and %d connections, expected one", o, err, o.dials.Load())
	}
}

func (o *open) dial(ctx context.Context, network, address string) (net.Conn, error) {
	o.dials.Add(1)
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return &watched{conn, o}, err
}

// watched tells its owner when the other side has closed it. There is always one
// who reads from an HTTP connection.
type watched struct {
	net.Conn
	owner *open
}

// Read implements net.Conn.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.owner.once.Do(func() {
			w.owner.at = time.Now()
			close(w.owner.closed)
		})
	}
	return n, err
}

// revokeResumed revokes the certificate of the third user, who holds a ticket, as
// the first one does.
func revokeResumed(t *testing.T, d *lab.Daemon, r revoker, version uint16) {
	d.Run(t, "cluster", "config", "update", "--set", "listener.tls_min_version=1.2")
	var configs []*tls.Config
	for _, pair := range []*tls.Certificate{r.pairs[0], r.pairs[2]} {
		c := d.TLS(t, pair)
		c.MinVersion, c.MaxVersion, c.ClientSessionCache = version, version, tls.NewLRUClientSessionCache(1)
		configs = append(configs, c)
		for i := range 2 { // the second shows that the ticket is good
			if resumed, err := handshake(t, d, c); err != nil || resumed != (i == 1) {
				t.Fatalf("before: resumed %t, %v", resumed, err)
			}
		}
	}
	r.revoke(2)
	if _, err := handshake(t, d, configs[1]); err == nil {
		t.Error("a ticket of a revoked certificate was taken")
	}
	if _, err := handshake(t, d, configs[1]); err == nil {
		t.Error("a revoked certificate was taken")
	}
	if resumed, err := handshake(t, d, configs[0]); err != nil || !resumed {
		t.Errorf("another user: resumed %t, %v", resumed, err)
	}
}

// handshake connects, makes one request and reads to the end, where tickets are.
func handshake(t *testing.T, d *lab.Daemon, config *tls.Config) (resumed bool, err error) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", d.Address)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "GET /whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return false, err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(answer) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return conn.(*tls.Conn).ConnectionState().DidResume, err
}
