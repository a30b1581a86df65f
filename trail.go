package omca

import (
	"log/slog"

	"omca/internal/trail"
	"omca/internal/wire"
)

// trailLines is how many lines of the audit trail are kept to be looked at.
const trailLines = 1000

// keepTrail has the log keep its last lines beside where it goes.
func (s *Server) keepTrail() {
	s.trail = trail.New(trailLines)
	s.config.Log = slog.New(slog.NewMultiHandler(s.config.Log.Handler(), s.trail))
}

// lastLines are the last lines of the audit trail.
func (s *Server) lastLines(most int) []wire.AuditLine {
	var lines []wire.AuditLine
	for _, l := range s.trail.Last(most) {
		lines = append(lines, wire.AuditLine(l))
	}
	return lines
}
