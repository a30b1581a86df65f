package omca

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"omca/listener"
	"omca/pki"
)

// connect tries real connections with the certificates whose keys the users have, and
// holds what comes of them against the model.
func (w *modelWorld) connect(made *atomic.Int64) (err error) {
	g, err := w.s.generation(w.ctx)
	if err != nil {
		return fmt.Errorf("nothing to serve: %w", err)
	}
	l, err := listener.New(listener.Config{Handler: w.s.handler, Verify: w.s.verify, Identify: w.s.userOf, ConnContext: withMemo, Now: w.now}, g)
	if err != nil {
		return err
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(socket) }()
	defer func() {
		err = errors.Join(err, l.Shutdown(w.ctx))
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) { // as it is when nobody came
			err = errors.Join(err, served)
		}
	}()
	keys, err := w.keysOfUsers()
	if err != nil {
		return err
	}
	for i, c := range w.m.certs {
		at := slices.IndexFunc(keys, func(k crypto.Signer) bool { return pki.SameKey(k.Public(), c.cert.PublicKey) })
		if at < 0 {
			continue
		}
		for _, chain := range w.chains(i) {
			made.Add(1)
			if err := w.connectAs(socket.Addr().String(), i, keys[at], chain); err != nil {
				return err
			}
		}
	}
	return nil
}

// keysOfUsers are the private keys that are in the objects of users, and those of their
// signing requests.
func (w *modelWorld) keysOfUsers() ([]crypto.Signer, error) {
	var keys []crypto.Signer
	for _, name := range modelUsers() {
		keys = append(keys, w.requests[name]...)
		status, text, err := w.call(w.caller(0), "GET", modelObject+"system/usr/"+name+"/data/key?name=private_key", nil)
		if err != nil || status != http.StatusOK {
			continue // there is no such user
		}
		key, err := pki.ParsePrivateKey(text, nil)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// connectAs connects with the certificate i and the CAs of a chain.
func (w *modelWorld) connectAs(address string, i int, key crypto.Signer, chain []*x509.Certificate) error {
	pair := tls.Certificate{PrivateKey: key}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // whom the server is matters to another test
		Time:               w.now, Certificates: []tls.Certificate{pair},
	}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("https://" + address + "/whoami")
	status := 0
	if err == nil {
		status = answer.StatusCode
		if err := answer.Body.Close(); err != nil {
			return err
		}
	}
	// The server may find every chain of what it was sent to what it trusts.
	chains := slices.DeleteFunc(w.chains(i), func(other []*x509.Certificate) bool {
		return slices.ContainsFunc(other[:len(other)-1], func(c *x509.Certificate) bool { return !slices.ContainsFunc(chain, c.Equal) })
	})
	v, _ := w.m.ofCert(i, w.clean(chains), w.made(w.m.certs[i].issuer))
	switch {
	case v == refused && status == http.StatusOK:
		return fmt.Errorf("rights that were not given: a connection with %s is let in", w.describe(i))
	case v == accepted && status != http.StatusOK:
		return fmt.Errorf("not revoked, and refused: a connection with %s: %d, %w", w.describe(i), status, err)
	}
	return nil
}
