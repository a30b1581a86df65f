package omca

import (
	"context"
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"omca/internal/object"
)

// Bounds of the pause between two looks at what is due.
const (
	retryRenewal  = time.Minute
	longestPause  = 24 * time.Hour // clocks are set, machines sleep
	shortestPause = time.Second
)

// renew starts, once, the loops that renew certificates when they are due,
// announce those that do not renew themselves, and publish revocation lists.
func (s *Server) renew() {
	s.renewing.Do(func() {
		s.attend()
		s.run("renewals", s.renewals)
		s.run("revocation lists", s.publisher.Run)
		s.run(taskStaples, s.stapler.run)
		s.run("mark", s.keepMarks)
		s.run("sessions", s.sweepSessions)
		s.run("tokens", s.sweepTokens)
		s.run("expiring", s.announcements)
	})
}

func (s *Server) renewals(ctx context.Context) {
	for {
		var next time.Time
		var err error
		if s.chosen() {
			next, err = s.authority.RenewDue(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		pause := longestPause
		if !next.IsZero() {
			pause = min(pause, next.Sub(s.config.Now()))
		}
		if err != nil {
			if next.IsZero() {
				pause = retryRenewal
			}
			s.config.Log.ErrorContext(ctx, "renewal failed", "error", err, "again_in", max(pause, shortestPause).Round(time.Second))
		}
		timer := time.NewTimer(max(pause, shortestPause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// TLSConfig returns what a TLS server of this program needs to present the
// certificate of the object at path (system/sec/NAME): signed by the internal
// CA, renewed by itself, swapped without a restart, with an OCSP answer stapled
// to it. The object is made when it
// is missing, with the given names (DNS names, IP addresses).
func (s *Server) TLSConfig(ctx context.Context, path string, names ...string) (*tls.Config, error) {
	p, err := object.ParsePath(path)
	if err != nil {
		return nil, err
	}
	var keywords []string
	for i, name := range names {
		if i == 0 {
			keywords = append(keywords, "cn="+name)
		}
		keywords = append(keywords, "alt_names+="+name)
	}
	if err := s.makeHolder(ctx, p, keywords); err != nil {
		return nil, err
	}
	fresh := new(atomic.Pointer[tls.Certificate])
	kept, _ := s.served.LoadOrStore(p.String(), fresh)
	current, ok := kept.(*atomic.Pointer[tls.Certificate])
	if !ok {
		return nil, errors.New("omca: internal: unexpected entry among the served certificates")
	}
	if err := s.present(ctx, p.String(), current); err != nil {
		return nil, err
	}
	s.renew()
	s.stapleNow(ctx, func() { s.stapler.renew(ctx, p.String()) }) // for the first handshake
	s.stapler.soon()
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       s.config.Now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair := s.stapler.on(p.String(), *current.Load())
			return &pair, nil
		},
	}, nil
}

// present puts the live certificate of the object where handshakes find it.
func (s *Server) present(ctx context.Context, path string, current *atomic.Pointer[tls.Certificate]) error {
	pair, err := s.pair(ctx, path)
	if err != nil {
		return err
	}
	current.Store(&pair)
	return nil
}
