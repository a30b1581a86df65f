package wire

import "time"

// AuthInfo says how callers can prove who they are.
type AuthInfo struct {
	Methods []string    `json:"methods"`          // those that would succeed now
	OpenID  *OpenIDInfo `json:"openid,omitempty"` // when the method openid is among them
}

// OpenIDInfo says where a caller gets a token that is taken here.
type OpenIDInfo struct {
	ClientID string `json:"client_id"`
	Issuer   string `json:"issuer"`
}

// OpenIDStatus is how the OpenID issuer that is configured is doing.
type OpenIDStatus struct {
	Issuer    string    `json:"issuer"`
	ClientID  string    `json:"client_id"`
	Usable    bool      `json:"usable"`         // its keys are known: tokens can be verified
	Reachable bool      `json:"reachable"`      // it answered when it was asked last
	Since     time.Time `json:"since,omitzero"` // of reachable
	FetchedAt time.Time `json:"fetched_at,omitzero"`
	Keys      int       `json:"keys"`
	LastError string    `json:"last_error,omitempty"` // to callers without root, that there is one
}
