package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"omca/internal/wire"
)

// mostAudit bounds the lines of the audit trail in one answer.
const mostAudit = 1000

func (d *door) auditRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/api/audit", rule: root(), id: "listAudit",
			about:  "The last lines of the audit trail since the daemon started. All of it is in the daemon's log.",
			params: []param{{name: "limit", about: "At most so many, from 1 to 1000: 100 unless given."}},
			answer: jsonAnswer[wire.AuditLines](http.StatusOK), handle: d.listAudit},
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
	lines := wire.AuditLines{Items: []wire.AuditLine{}}
	if d.Trail != nil {
		lines.Items = append(lines.Items, d.Trail(limit)...)
	}
	return reply(http.StatusOK, lines)
}
