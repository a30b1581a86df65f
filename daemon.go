package omca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"omca/internal/hint"
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
	if err := s.separateKeys(ctx); err != nil {
		return err
	}
	if err := s.loadLists(ctx); err != nil {
		return err
	}
	s.restaple(ctx)
	first, err := s.generation(ctx)
	if err != nil {
		return err
	}
	l, err := listener.New(listener.Config{
		Handler: s.handler, Verify: s.verify, Identify: s.userOf,
		ConnContext: withMemo, Now: s.config.Now, Log: s.config.Log,
	}, first)
	if err != nil {
		return err
	}
	sockets, err := s.listen(ctx)
	if err != nil {
		return err
	}
	s.listener.Store(l)
	if err := s.servePublic(ctx); err != nil {
		return errors.Join(err, sockets.tls.Close(), sockets.unix.Close())
	}
	s.work.Go(func() { s.followKeywords(s.background) })
	s.work.Go(func() { s.openid.Run(s.background) })
	s.work.Go(func() { s.staples(s.background) })
	s.reload(ctx, object.Path{}) // what changed since the first generation was built
	s.renew()

	failed := make(chan error, 2)
	go func() { failed <- l.Serve(sockets.tls) }()
	go func() { failed <- l.ServePlain(sockets.unix, s.handler, withPeer) }()
	addresses := []string{sockets.tls.Addr().String()}
	s.heard.Store(&addresses)
	r := Ready{Addresses: addresses, Socket: s.socketPath()}
	if r.Cluster, r.Fingerprint, err = s.whoWeAre(ctx); err != nil {
		return errors.Join(err, l.Shutdown(ctx))
	}
	ready(r)

	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer done()
	return errors.Join(err, l.Shutdown(drain))
}

// sockets are what a daemon listens on.
type sockets struct{ tls, unix net.Listener }

func (s *Server) socketPath() string { return filepath.Join(s.config.Home, SocketName) }

func (s *Server) listen(ctx context.Context) (sockets, error) {
	address, err := s.listenAddress(ctx)
	if err != nil {
		return sockets{}, err
	}
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return sockets{}, hint.With(fmt.Errorf("listening: %w", err), "choose another address with --listen or the keyword listener.port")
	}
	// The store's lock is ours, so a socket that is there has nobody behind it.
	path := s.socketPath()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return sockets{}, errors.Join(fmt.Errorf("socket: %w", err), tcp.Close())
	}
	unix, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return sockets{}, errors.Join(fmt.Errorf("socket %s (%d characters; about 100 is the most that systems take): %w", path, len(path), err), tcp.Close())
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return sockets{}, errors.Join(fmt.Errorf("socket: %w", err), tcp.Close(), unix.Close())
	}
	return sockets{tcp, unix}, nil
}

func (s *Server) listenAddress(ctx context.Context) (string, error) {
	if s.config.Listen != "" {
		return s.config.Listen, nil
	}
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return "", err
	}
	host, err := cluster.Config.Eval("listener.addr")
	if err != nil {
		return "", err
	}
	port, err := cluster.Config.Eval("listener.port")
	return net.JoinHostPort(host, port), err
}

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
	g := listener.Generation{Certificate: s.withStaple(pair), ClientCAs: pool}
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
