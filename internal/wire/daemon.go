package wire

// Health says that the process is alive, or ready.
type Health struct {
	Status string `json:"status"` // "ok"
}

// Whoami is the caller as the server sees them.
type Whoami struct {
	Auth      string              `json:"auth"`
	Grant     map[string][]string `json:"grant"` // by role; null for a role without a scope
	Name      string              `json:"name"`
	Namespace string              `json:"namespace"` // of the users
	RawGrant  string              `json:"raw_grant"`
}

// AcceptedRollback says in which ways a store was not what was written last.
type AcceptedRollback struct {
	Reasons []string `json:"reasons"` // none: nothing was accepted, as all is there
}
