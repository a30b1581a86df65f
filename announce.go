package omca

import (
	"context"
	"time"

	"omca/ca"
	"omca/pki"
)

const (
	announceEvery  = time.Hour
	announceBefore = 30 * 24 * time.Hour
)

// announcements says which certificates come to their end, as long as ctx lives.
func (s *Server) announcements(ctx context.Context) {
	told := make(map[pki.Serial]bool)
	for {
		s.announceEndings(ctx, told)
		timer := time.NewTimer(announceEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// announceEndings counts the certificates that expire soon and that nothing
// renews, and writes a line for each of those that it has not told yet.
func (s *Server) announceEndings(ctx context.Context, told map[pki.Serial]bool) {
	endings, err := s.authority.Endings(ctx, announceBefore)
	if err != nil {
		if ctx.Err() == nil {
			s.config.Log.ErrorContext(ctx, "expiring certificates not looked for", "error", err)
		}
		return
	}
	s.endings.Store(int64(len(endings)))
	for _, e := range endings {
		serial := pki.SerialOf(e.Certificate)
		if told[serial] {
			continue
		}
		told[serial] = true
		state := "expiring"
		if ca.StateAt(e.Certificate, s.config.Now()) == ca.StateExpired {
			state = "expired"
		}
		s.config.Log.WarnContext(ctx, state, "path", e.Path, "serial", string(serial),
			"subject", e.Certificate.Subject.String(), "not_after", e.Certificate.NotAfter.UTC(), "renews", e.Renews)
	}
}
