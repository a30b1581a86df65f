package wire

import "time"

// TokenPair is an access token and, when it was asked for, a refresh token.
type TokenPair struct {
	AccessToken      string     `json:"access_token"`
	AccessExpiredAt  time.Time  `json:"access_expired_at"`
	RefreshToken     string     `json:"refresh_token,omitempty"`
	RefreshExpiredAt *time.Time `json:"refresh_expired_at,omitempty"`
}

// TokenItem is what is known of a token that was issued. The token itself is not kept.
type TokenItem struct {
	ID        string     `json:"id"`
	Subject   string     `json:"subject"`
	Profile   string     `json:"profile"` // "" for what the cluster issues for itself
	Use       string     `json:"token_use"`
	Grant     string     `json:"grant"`
	Roles     []string   `json:"roles"`
	Audience  []string   `json:"audience"`
	IssuedAt  time.Time  `json:"issued_at"`
	ExpiresAt *time.Time `json:"expires_at"` // null: never
	IssuedBy  string     `json:"issued_by"`
	Auth      string     `json:"auth"`  // how they had proved their name
	State     string     `json:"state"` // "valid", "expired" or "revoked"
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
	RevokedBy string     `json:"revoked_by,omitempty"`
}

// TokenList is a page of the tokens that were issued, soonest expiry first.
type TokenList struct {
	Kind  string      `json:"kind"` // "TokenList"
	Items []TokenItem `json:"items"`
	Next  string      `json:"next"` // the parameter after of the next page; "" on the last one
}

// TokensRevoked says how many tokens a call took back.
type TokensRevoked struct {
	Revoked int `json:"revoked"`
}

// SigningKey is the public half of a key that signs tokens.
type SigningKey struct {
	KeyID     string    `json:"kid"`
	PublicKey []byte    `json:"public_key"` // 32 bytes
	CreatedAt time.Time `json:"created_at"`
}

// VerifyRequest asks about a token.
type VerifyRequest struct {
	Token string `json:"token"`
	Use   string `json:"token_use,omitempty"` // "access" unless given, or "refresh"
}

// VerifiedToken is what a token says and whether it is accepted.
type VerifiedToken struct {
	Valid     bool       `json:"valid"`
	Reason    string     `json:"reason"` // why it is not valid
	ID        string     `json:"id"`
	KeyID     string     `json:"kid"`
	Issuer    string     `json:"issuer"`
	Subject   string     `json:"subject"`
	Audience  []string   `json:"audience"`
	Use       string     `json:"token_use"`
	Grant     string     `json:"grant"`              // as it was issued
	GrantNow  string     `json:"grant_now"`          // what is left of it
	Roles     []string   `json:"roles"`              // as it was issued
	IssuedAt  time.Time  `json:"issued_at,omitzero"` // zero when it could not be read, like the next
	ExpiresAt *time.Time `json:"expires_at"`         // null: never
}

// TokenDiscovery is where whoever verifies tokens finds what is needed (OpenID
// Connect Discovery 1.0, section 3).
type TokenDiscovery struct {
	Issuer        string   `json:"issuer"`
	JWKSURI       string   `json:"jwks_uri"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Claims        []string `json:"claims_supported"`
}
