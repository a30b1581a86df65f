package client

import (
	"context"
	"net/http"
)

// AuthInfo says how callers can prove who they are.
type AuthInfo struct {
	Methods []string    `json:"methods"`
	OpenID  *OpenIDInfo `json:"openid,omitempty"` // nil: tokens of no issuer are taken now
}

// OpenIDInfo says where a token is to be had that the server takes.
type OpenIDInfo struct {
	ClientID string `json:"client_id"`
	Issuer   string `json:"issuer"`
}

// AuthInfo asks how callers can prove who they are. Nobody has to prove anything for it.
func (c *Client) AuthInfo(ctx context.Context) (AuthInfo, error) {
	return call[AuthInfo](ctx, c, request{method: http.MethodGet, path: "/api/auth/info"}, nil)
}
