package omca

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"omca/internal/hint"
	"omca/internal/object"
)

// servePublic listens on the address of the keyword listener.http_addr, which
// is for what is signed and no secret: revocation lists, OCSP and the CA's
// certificate. An address that changed is left for the new one. One goroutine
// at a time may call it.
func (s *Server) servePublic(ctx context.Context) error {
	l := s.listener.Load()
	if l == nil {
		return nil
	}
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return err
	}
	address, err := cluster.Config.Eval("listener.http_addr")
	if err != nil || address == s.publicAddress {
		return err
	}
	if s.publicSocket != nil {
		if err := s.publicSocket.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		s.setPublic(nil, "")
	}
	if address == "" {
		return nil
	}
	socket, err := s.listenOn(ctx, socketPublic, "tcp", address)
	if err != nil {
		return hint.With(fmt.Errorf("listening on %s: %w", address, err), "choose another address with the keyword listener.http_addr")
	}
	s.setPublic(socket, address)
	s.config.Log.InfoContext(ctx, "plain HTTP", "address", socket.Addr().String())
	s.run("plain HTTP", func(ctx context.Context) {
		if err := l.ServePlain(socket, s.public, nil); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			s.config.Log.ErrorContext(ctx, "plain HTTP ended", "address", address, "error", err)
		}
	})
	return nil
}

func (s *Server) setPublic(socket net.Listener, address string) {
	s.listening.Lock()
	defer s.listening.Unlock()
	s.publicSocket, s.publicAddress = socket, address
}
