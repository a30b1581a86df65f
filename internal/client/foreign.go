package client

import (
	"context"
	"net/http"
	"time"
)

// ForeignRequest asks for a token for other services.
type ForeignRequest struct {
	Subject  string   `json:"subject,omitempty"`
	Roles    []string `json:"roles,omitempty"`
	Duration string   `json:"duration,omitempty"` // "2000h"; "" is never to expire, if the cluster permits that
	Issuer   string   `json:"issuer,omitempty"`   // of a cross login, like the next
	Name     string   `json:"name,omitempty"`
	Projects []string `json:"projects,omitempty"`
}

// ForeignToken is a token for other services.
type ForeignToken struct {
	Token     string    `json:"token"`
	ID        string    `json:"id"`
	Profile   string    `json:"profile"`
	Subject   string    `json:"subject"`
	Roles     []string  `json:"roles"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
}

// IssueForeign asks for a token of a profile.
func (c *Client) IssueForeign(ctx context.Context, profile string, r ForeignRequest) (ForeignToken, error) {
	return call[ForeignToken](ctx, c, request{method: http.MethodPost, path: "/api/token/profile/" + profile}, asJSON(r))
}

// ForeignKey returns the public key of a profile, 32 bytes. For root it is made when there is none yet.
func (c *Client) ForeignKey(ctx context.Context, profile string) ([]byte, error) {
	type key struct {
		PublicKey []byte `json:"public_key"`
	}
	k, err := call[key](ctx, c, request{method: http.MethodGet, path: "/api/token/profile/" + profile + "/key"}, nil)
	return k.PublicKey, err
}
