package wire

import "time"

// ForeignTokenRequest asks for a token for other services.
type ForeignTokenRequest struct {
	Subject  string   `json:"subject,omitempty"`  // the caller unless given
	Roles    []string `json:"roles,omitempty"`    // of those that the subject has: all unless given
	Duration string   `json:"duration,omitempty"` // "2000h"; never to expire unless given, or token.max_age when that is set
	Issuer   string   `json:"issuer,omitempty"`   // of a cross login
	Name     string   `json:"name,omitempty"`     // of a cross login: full name
	Projects []string `json:"projects,omitempty"` // of a cross login
}

// ForeignToken is a token for other services.
type ForeignToken struct {
	Token     string     `json:"token"`
	ID        string     `json:"id"` // as the list of tokens has it
	Profile   string     `json:"profile"`
	Subject   string     `json:"subject"`
	Roles     []string   `json:"roles"`
	ExpiresAt *time.Time `json:"expires_at"` // null: never
}

// ForeignKey is the public key of a profile.
type ForeignKey struct {
	Profile   string `json:"profile"`
	PublicKey []byte `json:"public_key"` // 32 bytes
}
