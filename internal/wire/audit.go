package wire

import "time"

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
