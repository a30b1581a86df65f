package client

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

// Preview says what a certificate of the object would be; nothing is signed. Renewal.Revoke is not looked at.
func (c *Client) Preview(ctx context.Context, p Path, r wire.Renewal) (wire.Preview, error) {
	r.Revoke = false
	return call[wire.Preview](ctx, c, request{method: http.MethodPost, path: p.url("/certificate/preview")}, asJSON(r))
}

// PreviewSign says what Sign would sign; nothing is.
func (c *Client) PreviewSign(ctx context.Context, r wire.SignRequest) (wire.Preview, error) {
	return call[wire.Preview](ctx, c, request{method: http.MethodPost, path: "/api/certificate/preview"}, asJSON(r))
}
