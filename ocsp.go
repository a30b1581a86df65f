package omca

import (
	"context"
	"fmt"
	"slices"
	"time"

	"omca/ca"
	"omca/internal/object"
)

// stageResponder is where the responder of a CA is made: in the commit of its
// first certificate.
func (s *Server) stageResponder(ctx context.Context, path, issuer string) (context.Context, error) {
	p, err := object.ParsePath(path)
	if err != nil {
		return nil, err
	}
	var u object.Update
	if issuer != "" {
		if u.Set, err = object.ParseExprs([]string{"ca=" + issuer}); err != nil {
			return nil, err
		}
	}
	config, _, err := object.NewConfig(p).Apply(u)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return s.objects.Stage(ctx, p, 0, config), nil
}

// answer answers an OCSP request, unless this node does not know any more what
// was revoked.
func (s *Server) answer(ctx context.Context, request []byte) ([]byte, time.Time, error) {
	if err := s.current(ctx); err != nil {
		return nil, time.Time{}, err
	}
	return s.ocsp.Answer(ctx, request)
}

// answersRevoked takes a revocation into the answers and, if it is of what is
// served here, into the staple.
func (s *Server) answersRevoked(r ca.Revocation) {
	s.ocsp.Revoked(r)
	s.stapler.soon()
}

// newStapler makes what keeps the staples of all that this program serves.
func (s *Server) newStapler() *stapler {
	return &stapler{
		paths: s.stapledPaths, ask: s.freshStaple, changed: s.stapleChanged,
		now: s.config.Now, log: s.config.Log, wake: make(chan struct{}, 1),
	}
}

// stapledPaths are the objects whose certificates are presented: the listener's,
// while it runs, and those of TLSConfig.
func (s *Server) stapledPaths(ctx context.Context) ([]string, error) {
	var all []string
	s.served.Range(func(path, _ any) bool {
		name, ok := path.(string)
		if ok {
			all = append(all, name)
		}
		return true
	})
	if s.stop.Load() == nil {
		return all, nil
	}
	path, err := s.authority.ListenerPath(ctx)
	if err != nil || slices.Contains(all, path) {
		return all, err
	}
	return append(all, path), nil
}

// stapleChanged gives the listener another generation, if it is about its
// certificate. Servers of TLSConfig look with each handshake.
func (s *Server) stapleChanged(ctx context.Context, path string) {
	if own, err := s.authority.ListenerPath(ctx); err == nil && own != path {
		return
	}
	if err := s.swap(ctx); err != nil {
		s.config.Log.ErrorContext(ctx, "listener keeps its staple", "error", err)
	}
}

func (s *Server) freshStaple(ctx context.Context, path string) (*staple, error) {
	chain, _, err := s.authority.Serving(ctx, path)
	if err != nil {
		return nil, err
	}
	answer, next, err := s.ocsp.Staple(ctx, chain)
	if err != nil {
		return nil, err
	}
	return &staple{leaf: chain[0].Raw, answer: answer, next: next}, nil
}
