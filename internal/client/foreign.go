package client

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

// IssueForeign asks for a token of a profile.
func (c *Client) IssueForeign(ctx context.Context, profile string, r wire.ForeignTokenRequest) (wire.ForeignToken, error) {
	return call[wire.ForeignToken](ctx, c, request{method: http.MethodPost, path: "/api/token/profile/" + profile}, asJSON(r))
}

// ForeignKey returns the public key of a profile, 32 bytes. For root it is made when there is none yet.
func (c *Client) ForeignKey(ctx context.Context, profile string) ([]byte, error) {
	k, err := call[wire.ForeignKey](ctx, c, request{method: http.MethodGet, path: "/api/token/profile/" + profile + "/key"}, nil)
	return k.PublicKey, err
}
