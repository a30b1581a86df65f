package wire

import "time"

// FormerSet is a complete set of key, certificate and chain that a CA had before.
type FormerSet struct {
	Number     int       `json:"number"` // of the set; it never changes
	Serial     string    `json:"serial"`
	Subject    string    `json:"subject"`
	SHA256     string    `json:"sha256"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	HasKey     bool      `json:"has_key"` // false: it was trusted and signed nothing here
	ReplacedAt time.Time `json:"replaced_at"`
	ReplacedBy string    `json:"replaced_by"`
	List       string    `json:"list"`   // path of its revocation list on this server; "" when there is none
	Living     int       `json:"living"` // certificates that its key signed, neither expired nor revoked
}

// History is what a CA had before.
type History struct {
	Path  string      `json:"path"`
	Items []FormerSet `json:"items"` // the newest first
}

// RollbackRequest names the set to put back.
type RollbackRequest struct {
	To int `json:"to,omitempty"` // its number; the newest unless given
}

// RolledBack is the certificate of the set that is in force again.
type RolledBack struct {
	Path    string `json:"path"`
	Serial  string `json:"serial"`
	Subject string `json:"subject"`
}
