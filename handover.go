package omca

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"omca/internal/home"
	"omca/internal/object"
	"omca/internal/seal"
)

// The names of the sockets that Run, and the member under it, listen on.
const (
	socketTLS    = "tls"
	socketUnix   = "unix"
	socketPublic = "http" // of the keyword listener.http_addr
	socketPeer   = "peer" // of the other members
)

// Socket is a listening socket that one Run leaves to the next, in this process
// or in another. While somebody holds it open no client is refused: who
// connects waits for the next Run.
type Socket struct {
	Name    string   // "tls", "unix", "http" or "peer"
	Address string   // as it was configured, such as ":1215"
	File    *os.File // the caller's to close
}

// Sockets returns copies of what Run listens on.
func (s *Server) Sockets() ([]Socket, error) {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.sockets.tls == nil {
		return nil, errors.New("no daemon is running here")
	}
	var peer net.Listener
	var peerAddress string
	if n := s.db.node; n != nil {
		peer, peerAddress = n.socket, n.as.Listen
	}
	var all []Socket
	var errs []error
	for _, k := range []struct {
		name, address string
		listener      net.Listener
	}{{socketPeer, peerAddress, peer}, {socketTLS, s.sockets.address, s.sockets.tls}, {socketUnix, s.socketPath(), s.sockets.unix}, {socketPublic, s.publicAddress, s.publicSocket}} {
		filer, ok := k.listener.(interface{ File() (*os.File, error) })
		if !ok {
			continue // there is none
		}
		file, err := filer.File()
		if err != nil {
			errs = append(errs, fmt.Errorf("socket %s: %w", k.name, err))
			continue
		}
		all = append(all, Socket{k.name, k.address, file})
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, CloseSockets(all))...)
	}
	return all, nil
}

// CloseSockets closes the files of sockets that nobody is left for.
func CloseSockets(all []Socket) error {
	var errs []error
	for _, k := range all {
		errs = append(errs, k.File.Close())
	}
	return errors.Join(errs...)
}

// Leave has Run drain and return, and keep its unix socket's file in place:
// whoever holds the copies that Sockets returned goes on from there.
func (s *Server) Leave() {
	s.listening.Lock()
	if unix, ok := s.sockets.unix.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	s.listening.Unlock()
	s.requestStop()
}

// ownSocketFile has the unix socket's file go when Run ends. Until Run serves,
// the file of a socket that was handed over is still its predecessor's, who goes
// on if this one fails.
func (s *Server) ownSocketFile() {
	s.listening.Lock()
	defer s.listening.Unlock()
	if unix, ok := s.sockets.unix.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(true)
	}
}

// inherited returns the socket that was handed over for an address, nil when
// there is none. Each is taken once. After a restart that failed, which may be
// because of an address that was configured by then, the old ones are taken.
func (s *Server) inherited(name, address string) (net.Listener, error) {
	for i, k := range s.config.Sockets {
		if k.Name != name || s.taken[i] || k.Address != address && s.config.RestartError == "" {
			continue
		}
		l, err := net.FileListener(k.File)
		if err != nil {
			return nil, fmt.Errorf("socket %s (%s) that was handed over: %w", name, address, err)
		}
		if s.taken == nil {
			s.taken = make(map[int]bool)
		}
		s.taken[i] = true
		return l, nil
	}
	return nil, nil
}

// listenOn returns the socket that was handed over for an address, or a new one.
func (s *Server) listenOn(ctx context.Context, name, network, address string) (net.Listener, error) {
	if l, err := s.inherited(name, address); l != nil || err != nil {
		return l, err
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, network, address)
}

// listenUnix returns the unix socket. The store's lock is ours, so a socket
// file that is there, and was not handed over, has nobody behind it.
func (s *Server) listenUnix(ctx context.Context) (net.Listener, error) {
	path := s.socketPath()
	kept, err := s.inherited(socketUnix, path)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		return kept, nil // its file goes with it once it serves: see Run
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("socket: %w", err)
	}
	var lc net.ListenConfig
	unix, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %s (%d characters; about 100 is the most that systems take): %w", path, len(path), err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("socket: %w", err), unix.Close())
	}
	return unix, nil
}

// listen opens what Run serves.
func (s *Server) listen(ctx context.Context) error {
	address, err := s.listenAddress(ctx)
	if err != nil {
		return err
	}
	tcp, err := s.listenOn(ctx, socketTLS, "tcp", address)
	if err != nil {
		return explainListening(err)
	}
	unix, err := s.listenUnix(ctx)
	if err != nil {
		return errors.Join(err, tcp.Close())
	}
	s.listening.Lock()
	s.sockets = sockets{address: address, tls: tcp, unix: unix}
	s.listening.Unlock()
	return nil
}

func (s *Server) listenAddress(ctx context.Context) (string, error) {
	if s.config.Listen != "" {
		return s.config.Listen, nil
	}
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return "", err
	}
	return keywordAddress(cluster.Config)
}

// keywordAddress is the address of the listener in the config of a cluster.
func keywordAddress(c object.Config) (string, error) {
	host, err := c.Eval("listener.addr")
	if err != nil {
		return "", err
	}
	port, err := c.Eval("listener.port")
	return net.JoinHostPort(host, port), err
}

// Check tells, without the store, whether Open and Run have what they need of
// c: a home, the key or the passphrase of the store, and sockets that listen.
// It is for a successor, while another process has the store.
func Check(c Config) error {
	if err := c.complete(); err != nil {
		return err
	}
	if err := home.Make(c.Home); err != nil {
		return err
	}
	if err := checkStore(c); err != nil {
		return err
	}
	var err error
	if c.PassphraseFile != "" {
		_, err = readPassphrase(c.PassphraseFile)
	} else {
		_, err = seal.OpenFileMaster(filepath.Join(c.Home, sealKey))
	}
	if err != nil {
		return err
	}
	for _, k := range c.Sockets {
		l, err := net.FileListener(k.File)
		if err != nil {
			return fmt.Errorf("socket %s (%s) that was handed over: %w", k.Name, k.Address, err)
		}
		if unix, ok := l.(*net.UnixListener); ok {
			unix.SetUnlinkOnClose(false)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
