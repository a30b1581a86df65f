package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// mostAudit bounds the lines of the audit trail in one answer.
const mostAudit = 1000

// AuditLine is one line of the audit trail: who did, or was denied, what.
type AuditLine struct {
	Time   time.Time         `json:"time"`
	Level  string            `json:"level"`  // "INFO", "WARN" or "ERROR"
	Event  string            `json:"event"`  // "issued", "allowed", "denied", …
	Fields map[string]string `json:"fields"` // "by", "action", "path", …
}

// AuditLines is the end of the audit trail of this process, the oldest line first.
type AuditLines struct {
	Items []AuditLine `json:"items"`
}

func (d *door) auditRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/api/audit", rule: root(), id: "listAudit",
			about:  "The last lines of the audit trail since the daemon started. All of it is in the daemon's log.",
			params: []param{{name: "limit", about: "At most so many, from 1 to 1000: 100 unless given."}},
			answer: jsonAnswer[AuditLines](http.StatusOK), handle: d.listAudit},
	}
}

func (d *door) listAudit(_ context.Context, c *call) (response, error) {
	limit := 100
	if text := c.query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > mostAudit {
			return response{}, fmt.Errorf("%w: limit is %.32q, not 1 to %d", errBadRequest, text, mostAudit)
		}
	}
	lines := AuditLines{Items: []AuditLine{}}
	if d.Trail != nil {
		lines.Items = append(lines.Items, d.Trail(limit)...)
	}
	return reply(http.StatusOK, lines)
}
