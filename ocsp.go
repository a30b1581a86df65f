package omca

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/object"
)

// retryStaple is the pause after a failure.
const retryStaple = time.Minute

// A staple is an OCSP answer about one certificate, for handshakes.
type staple struct {
	leaf   []byte // DER
	answer []byte
	next   time.Time // it holds until then
}

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

// answersRevoked takes a revocation into the answers and, if it is the
// listener's, into the staple.
func (s *Server) answersRevoked(r ca.Revocation) {
	s.ocsp.Revoked(r)
	s.restapleSoon()
}

// restapleSoon has the stapler look at once. It never waits.
func (s *Server) restapleSoon() {
	select {
	case s.stapling <- struct{}{}:
	default:
	}
}

// withStaple adds to a pair the staple about it, if there is one that holds.
func (s *Server) withStaple(pair tls.Certificate) tls.Certificate {
	if st := s.staple.Load(); st != nil && bytes.Equal(st.leaf, pair.Leaf.Raw) && s.config.Now().Before(st.next) {
		pair.OCSPStaple = st.answer
	}
	return pair
}

// restaple asks for an answer about the listener's certificate, and returns when
// to ask again. Without one the listener serves as well: the staple spares
// clients a question, no more.
func (s *Server) restaple(ctx context.Context) time.Duration {
	fresh, err := s.freshStaple(ctx)
	switch {
	case errors.Is(err, crl.ErrNotOurs):
		s.staple.Store(nil) // another CA's, which is asked by whoever wants to know
		return longestPause
	case err != nil:
		if ctx.Err() == nil {
			s.config.Log.ErrorContext(ctx, "no OCSP staple", "error", err, "again_in", retryStaple)
		}
		return retryStaple
	}
	s.staple.Store(fresh)
	return max(fresh.next.Sub(s.config.Now())/2, time.Second)
}

func (s *Server) freshStaple(ctx context.Context) (*staple, error) {
	path, err := s.authority.ListenerPath(ctx)
	if err != nil {
		return nil, err
	}
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

// staples keeps the listener's staple fresh until ctx ends. Handshakes never
// wait for it: they find what the last generation has.
func (s *Server) staples(ctx context.Context) {
	for {
		before := s.staple.Load()
		pause := s.restaple(ctx)
		if ctx.Err() != nil {
			return
		}
		after := s.staple.Load()
		ended := after != nil && !s.config.Now().Before(after.next)
		if (before == nil) != (after == nil) || after != nil && !bytes.Equal(before.answer, after.answer) || ended {
			if err := s.swap(ctx); err != nil {
				s.config.Log.ErrorContext(ctx, "listener keeps its staple", "error", err)
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.stapling:
			timer.Stop()
		case <-timer.C:
		}
	}
}
