package wire

import "time"

// LoginRequest proves a name by a password. Without it the client certificate
// of the connection proves one.
type LoginRequest struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// SessionItem is a session. What the cookie holds is not in it.
type SessionItem struct {
	ID      string    `json:"id"` // SHA-256 of what the cookie holds
	User    string    `json:"user"`
	Auth    string    `json:"auth"`    // how the name was proved: "basic", "x509" or "jwt-openid"
	Address string    `json:"address"` // where the login came from
	BeganAt time.Time `json:"began_at"`
	UsedAt  time.Time `json:"used_at"` // last, to a minute
	EndsAt  time.Time `json:"ends_at"` // unless it is used before
	Current bool      `json:"current"` // the one that this call came with
}

// SessionList is sessions, the one used last first.
type SessionList struct {
	Kind  string        `json:"kind"` // "SessionList"
	Items []SessionItem `json:"items"`
}

// SessionsEnded says how many sessions a call ended.
type SessionsEnded struct {
	Ended int `json:"ended"`
}
