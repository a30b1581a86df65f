package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"omca/internal/wire"
)

// Refresh exchanges a refresh token for a new access token, and a new refresh token where the old one does not go on. It is sent in
// place of what the client calls with otherwise.
func (c *Client) Refresh(ctx context.Context, token string) (wire.TokenPair, error) {
	const path = "/api/auth/refresh"
	var r wire.TokenPair
	body, err := c.sendAs(ctx, request{method: http.MethodPost, path: path}, "Bearer "+token)
	if err != nil {
		return r, err
	}
	// What encoding/json says may quote the token.
	if json.Unmarshal(body, &r) != nil || r.AccessToken == "" {
		return r, fmt.Errorf("POST %s: the answer has no access token", path)
	}
	return r, nil
}
