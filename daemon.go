package omca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"time"

	"omca/internal/object"
	"omca/listener"
)

// SocketName is the file in the home where a running daemon answers to root
// and to its own user.
const SocketName = "omca.sock"

// drainTime bounds how long Run lets requests in flight finish.
const drainTime = 10 * time.Second

// Ready says what a daemon that has just begun to serve should tell its operator.
type Ready struct {
	Addresses   []string // of the TLS listener
	Socket      string   // path of the unix socket
	Cluster     string
	Fingerprint string // SHA-256 of the CA's certificate, hexadecimal
}

// Run serves the API until ctx ends, drains, and returns nil. It calls ready
// once, when connections are accepted.
func (s *Server) Run(ctx context.Context, ready func(Ready)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.stop.Store(&cancel)
	if err := errors.Join(s.separateKeys(ctx), s.alone(ctx)); err != nil {
		return err
	}
	if err := s.loadLists(ctx); err != nil {
		return err
	}
	s.stapleNow(ctx, func() { s.stapler.look(ctx) })
	first, err := s.generation(ctx)
	if err != nil {
		return err
	}
	l, err := listener.New(listener.Config{
		Handler: s.handler, Verify: s.verify, Identify: s.userOf,
		ConnContext: withMemo, Now: s.config.Now, Log: s.config.Log, Guard: s.panics.Guard,
	}, first)
	if err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	s.listener.Store(l)
	if err := s.servePublic(ctx); err != nil && s.config.RestartError != "" {
		s.config.Log.ErrorContext(ctx, "plain HTTP not served", "error", err)
	} else if err != nil {
		return errors.Join(err, s.sockets.tls.Close(), s.sockets.unix.Close())
	}
	s.config.Sockets = nil // what was not taken is not wanted any more
	s.run("keywords", s.keywordFollower())
	s.run("openid", s.openid.Run)
	s.reload(ctx, object.Path{}) // what changed since the first generation was built
	s.renew()

	failed := make(chan error, 2)
	s.serve(failed, taskListener, func() error { return l.Serve(s.sockets.tls) })
	s.serve(failed, taskListener, func() error { return l.ServePlain(s.sockets.unix, s.handler, withPeer) })
	addresses := []string{s.sockets.tls.Addr().String()}
	s.heard.Store(&addresses)
	signal(s.moved)
	r := Ready{Addresses: addresses, Socket: s.socketPath()}
	if r.Cluster, r.Fingerprint, err = s.whoWeAre(ctx); err != nil {
		return errors.Join(err, l.Shutdown(ctx))
	}
	s.ownSocketFile()
	ready(r)
	s.followTasks()

	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	case err = <-s.failure:
	}
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer done()
	return errors.Join(err, l.Shutdown(drain))
}

// sockets are what a daemon listens on.
type sockets struct {
	address   string // of tls, as it was configured
	tls, unix net.Listener
}

func (s *Server) socketPath() string { return filepath.Join(s.config.Home, SocketName) }

// generation builds what the listener presents and trusts from what the store
// holds now.
func (s *Server) generation(ctx context.Context) (listener.Generation, error) {
	path, err := s.authority.ListenerPath(ctx)
	if err != nil {
		return listener.Generation{}, err
	}
	pair, err := s.pair(ctx, path)
	if err != nil {
		return listener.Generation{}, err
	}
	trusted, err := s.authority.Trust(ctx)
	if err != nil && ctx.Err() == nil {
		// A CA that cannot be read is trusted by nobody; the others go on.
		s.config.Log.ErrorContext(ctx, "trust incomplete", "error", err)
	}
	pool := x509.NewCertPool()
	for _, c := range trusted {
		pool.AddCert(c)
	}
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return listener.Generation{}, err
	}
	g := listener.Generation{Certificate: s.stapler.on(path, pair), ClientCAs: pool}
	if v, err := cluster.Config.Eval("listener.tls_min_version"); err != nil {
		return listener.Generation{}, err
	} else if v == "1.2" {
		g.MinVersion = listener.TLS12
	}
	return g, nil
}

// pair returns the live set of the object at path in the shape of crypto/tls.
func (s *Server) pair(ctx context.Context, path string) (tls.Certificate, error) {
	chain, key, err := s.authority.Serving(ctx, path)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}
