package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Refreshed is what a refresh token was exchanged for.
type Refreshed struct {
	AccessToken      string    `json:"access_token"`
	AccessExpiredAt  time.Time `json:"access_expired_at,omitzero"`
	RefreshToken     string    `json:"refresh_token"` // "" when the old one goes on
	RefreshExpiredAt time.Time `json:"refresh_expired_at,omitzero"`
}

// Refresh exchanges a refresh token for a new access token. It is sent in place of what the client calls with otherwise.
func (c *Client) Refresh(ctx context.Context, token string) (Refreshed, error) {
	const path = "/api/auth/refresh"
	var r Refreshed
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
