package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"omca"
	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/wire"
)

// clock is a clock that can be set.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

// set sets the clock so far from the true time.
func (c *clock) set(offset time.Duration) { c.offset.Store(int64(offset)) }

// authority is a daemon in this process, whose clock can be set. What is run
// from outside has the machine's.
type authority struct {
	*client.Client
	clock   *clock
	address string
	stop    func() // ends it before the test does
}

// serve opens an authority and runs it until the test ends.
func serve(t *testing.T) *authority { return serveAs(t, omca.Config{NodeName: "node1"}) }

// serveAs is serve with what a configuration says besides.
func serveAs(t *testing.T, c omca.Config) *authority {
	t.Helper()
	c.Home = lab.NewHome(t).Dir
	return serveAt(t, c, new(clock))
}

// serveAt is serveAs on the home of the configuration, by a clock.
func serveAt(t *testing.T, c omca.Config, at *clock) *authority {
	t.Helper()
	a := &authority{clock: at}
	c.Listen, c.Now, c.Log = "127.0.0.1:0", at.now, slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := omca.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	up, ended := make(chan omca.Ready, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(r omca.Ready) { up <- r }) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(a.stop)
	select {
	case r := <-up:
		a.address = r.Addresses[0]
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	if a.Client, err = client.New(client.Config{Transport: s.Transport()}); err != nil {
		t.Fatal(err)
	}
	return a
}

// path reads a path that is right.
func path(t *testing.T, text string) client.Path {
	t.Helper()
	p, err := client.ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// create makes an object with these keywords, and a certificate for it.
func (a *authority) create(t *testing.T, text string, keywords ...string) wire.CertificateState {
	t.Helper()
	if _, err := a.Create(t.Context(), path(t, text), wire.CreateRequest{Keywords: keywords}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.CreateCertificate(t.Context(), path(t, text), wire.Renewal{}); err != nil {
		t.Fatal(err)
	}
	return a.state(t, text)
}

// state returns the certificate of an object as it stands.
func (a *authority) state(t *testing.T, text string) wire.CertificateState {
	t.Helper()
	state, err := a.Certificate(t.Context(), path(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// pool returns the CA's certificate as a pool.
func (a *authority) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(a.state(t, "system/sec/ca").Certificate)) {
		t.Fatal("the CA is no PEM")
	}
	return pool
}

// whoami calls over the network as a user whose clock shows the same time, and
// returns the status.
func (a *authority) whoami(t *testing.T, user string) int {
	t.Helper()
	key, err := a.Key(t.Context(), path(t, user), "private_key")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(a.state(t, user).CertificateChain), key)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: a.pool(t), Certificates: []tls.Certificate{pair}, Time: a.clock.now, ServerName: "node1",
	}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport, Timeout: lab.Patience}).Get("https://" + a.address + "/whoami")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// TestClockForwards sets the clock a day forwards: what is due is renewed, who
// is called by a certificate that still lives is called so, and the CA signs.
func TestClockForwards(t *testing.T) {
	a := serve(t)
	const short, user, server = "36h", "system/usr/alice", "ns1/sec/web"
	a.create(t, user, "grant=guest:ns1")
	first := a.create(t, server, "cn=web.example.com", "validity="+short)
	listener := a.create(t, "system/sec/cert", "validity="+short)
	a.clock.set(24*time.Hour + time.Minute)
	if status := a.whoami(t, user); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	a.wake(t)
	for text, before := range map[string]wire.CertificateState{server: first, "system/sec/cert": listener} {
		lab.Until(t, text+" is renewed", func() bool { return a.state(t, text).Serial != before.Serial })
		if after := a.state(t, text); after.State != "valid" || !after.NotAfter.After(before.NotAfter) {
			t.Errorf("%s: %q until %v, after %v", text, after.State, after.NotAfter, before.NotAfter)
		}
	}
	if status := a.whoami(t, user); status != http.StatusOK {
		t.Errorf("after the renewal: status %d", status)
	}
	if a.state(t, user).State != "valid" {
		t.Error("the user's certificate is not valid")
	}

	// And back: what was renewed too early is not valid yet, for the length of the
	// step; a new certificate is, at once.
	a.clock.set(0)
	if state := a.state(t, server).State; state == "valid" || state == "expired" {
		t.Errorf("a certificate of tomorrow is %q", state)
	}
	for _, text := range []string{server, "system/sec/cert"} {
		if _, err := a.CreateCertificate(t.Context(), path(t, text), wire.Renewal{}); err != nil {
			t.Fatal(err)
		}
		if state := a.state(t, text).State; state != "valid" {
			t.Errorf("%s: a certificate of now is %q", text, state)
		}
	}
	if status := a.whoami(t, user); status != http.StatusOK {
		t.Errorf("back: status %d", status)
	}
}

// TestClockBackwards sets the clock to the day before the CA was made: no
// certificate can be valid then, and what is issued lies within the life of its
// issuer, or is refused. When the clock is right again all is as it was.
func TestClockBackwards(t *testing.T) {
	a := serve(t)
	const user, server = "system/usr/alice", "ns1/sec/web"
	a.create(t, user, "grant=guest:ns1")
	a.create(t, server, "cn=web.example.com")
	authority, listener := a.state(t, "system/sec/ca"), a.state(t, "system/sec/cert")
	a.clock.set(-24 * time.Hour)
	a.wake(t)
	issued, err := a.CreateCertificate(t.Context(), path(t, server), wire.Renewal{})
	var problem *client.Error
	switch {
	case err == nil && issued.NotBefore.Before(authority.NotBefore):
		t.Errorf("the certificate begins at %v, its issuer at %v", issued.NotBefore, authority.NotBefore)
	case err != nil && (!errors.As(err, &problem) || problem.Status >= http.StatusInternalServerError):
		t.Errorf("issuing: %v, expected an error that tells", err)
	}
	if state := a.state(t, user).State; state == "valid" || state == "expired" {
		t.Errorf("a certificate of tomorrow is %q", state)
	}
	if now := a.state(t, "system/sec/cert"); now.Serial != listener.Serial {
		t.Error("the listener's certificate was replaced, though it is not due")
	}

	a.clock.set(0)
	a.create(t, server, "cn=web.example.com")
	for _, text := range []string{"system/sec/ca", user, server, "system/sec/cert"} {
		if state := a.state(t, text).State; state != "valid" {
			t.Errorf("%s: the certificate is %q when the clock is right again", text, state)
		}
	}
	if status := a.whoami(t, user); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}

// wake makes a change, at which the authority looks again at what is due. Without
// one it does so after a day: the timers of a process do not follow the clock.
func (a *authority) wake(t *testing.T) {
	t.Helper()
	if _, err := a.Create(t.Context(), path(t, "ns1/sec/wake"), wire.CreateRequest{}); err != nil {
		t.Fatal(err)
	}
}

// TestClusterClock sets the clock of one node of three a day wrong. The others go
// on; it does as it can, and nothing of what one does for all; and all have one
// history when its clock is right again.
func TestClusterClock(t *testing.T) {
	nodes := []*authority{serveAs(t, omca.Config{NodeName: "node1", Cluster: true, Peer: "127.0.0.1:" + lab.FreePort(t)})}
	for _, name := range []string{"node2", "node3"} {
		token, err := nodes[0].ClusterToken(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, serveAs(t, omca.Config{NodeName: name, Join: &omca.Join{Token: token.Token, Address: nodes[0].address}, Peer: "127.0.0.1:" + lab.FreePort(t)}))
	}
	request := signingRequest(t)
	serials := map[string]bool{}
	sign := func(n int) error {
		s, err := nodes[n].Sign(t.Context(), wire.SignRequest{CSR: request, Profile: "listener", Validity: "48h"})
		if err != nil {
			return err
		}
		if serials[s.Serial] {
			t.Errorf("serial %s was used before", s.Serial)
		}
		serials[s.Serial] = true
		return nil
	}
	signs := func(n int) { lab.Until(t, nodes[n].address+" signs", func() bool { return sign(n) == nil }) }
	var numbers int64
	for _, offset := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		for n := range nodes {
			signs(n)
		}
		nodes[2].compared(t, 2, false)
		nodes[2].clock.set(offset)
		nodes[2].compared(t, 0, true)
		lab.Until(t, "another node is chosen", func() bool { chosen := nodes[0].chosen(t); return chosen != "" && chosen != "node3" })
		for i := range 20 {
			if err := sign(i % 2); err != nil {
				t.Errorf("beside a node whose clock is %s off: %v", offset, err)
			}
		}
		user := path(t, "system/usr/late"+strconv.Itoa(int(offset.Hours())+24))
		if _, err := nodes[0].Create(t.Context(), user, wire.CreateRequest{}); err != nil {
			t.Fatal(err)
		}
		revoked, err := nodes[1].Revoke(t.Context(), user, "keyCompromise")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("the node whose clock is %s off signs: %v", offset, sign(2))
		nodes[2].clock.set(0)
		nodes[2].compared(t, 0, false)
		for n, a := range nodes {
			signs(n)
			lab.Until(t, a.address+" has one history with the others", func() bool { return a.knows(t, serials, revoked.Serial) })
			numbers = a.listNumber(t, numbers)
		}
	}
}

// compared waits until a node compares its clock with so many others, or more, and
// finds it off, or not.
func (a *authority) compared(t *testing.T, others int, off bool) {
	t.Helper()
	lab.Until(t, fmt.Sprintf("%s compares its clock with %d: off %v", a.address, others, off), func() bool {
		s, err := a.Status(t.Context())
		return err == nil && s.Clock != nil && len(s.Clock.Others) >= others && s.Clock.Off == off
	})
}

// chosen is the node that does what one does for all, as a node knows it.
func (a *authority) chosen(t *testing.T) string {
	t.Helper()
	s, err := a.Status(t.Context())
	if err != nil || s.Store == nil {
		return ""
	}
	return s.Store.Chosen
}

// knows reports whether an authority has all these certificates, and the
// revoked one as revoked.
func (a *authority) knows(t *testing.T, serials map[string]bool, revoked string) bool {
	t.Helper()
	have := map[string]string{}
	for r, err := range a.Certificates(t.Context(), client.Filter{}) {
		if err != nil {
			return false
		}
		have[r.Serial] = r.State
	}
	for serial := range serials {
		if have[serial] == "" {
			return false
		}
	}
	return have[revoked] == "revoked"
}

// listNumber waits until an authority publishes the list of the CA with this number
// or a higher one, and returns it.
func (a *authority) listNumber(t *testing.T, least int64) (number int64) {
	t.Helper()
	lab.Until(t, "the list has a number that is not below the one before", func() bool {
		lists, err := a.Lists(t.Context())
		if err != nil {
			return false
		}
		for _, l := range lists {
			if l.CA == "system/sec/ca" && l.Former == 0 {
				_, err := fmt.Sscan(l.Number, &number)
				return err == nil && number >= least
			}
		}
		return false
	})
	return number
}
