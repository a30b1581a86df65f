package wire

import "time"

// RevokeRequest says why a certificate is taken back.
type RevokeRequest struct {
	Reason string `json:"reason,omitempty"` // of RFC 5280, 5.3.1; "unspecified" unless given
}

// Revoked is a revocation that is in force.
type Revoked struct {
	Serial    string    `json:"serial"`
	Reason    string    `json:"reason"`
	RevokedAt time.Time `json:"revoked_at"`
}
