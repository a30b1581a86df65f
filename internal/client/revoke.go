package client

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

// Revoke takes back the certificate that an object holds. An empty reason is unspecified. Asking again changes nothing.
func (c *Client) Revoke(ctx context.Context, p Path, reason string) (wire.Revoked, error) {
	return call[wire.Revoked](ctx, c, request{method: http.MethodPost, path: p.url("/certificate/revoke")}, asJSON(wire.RevokeRequest{Reason: reason}))
}

// RevokeSerial takes back a certificate of the inventory. An empty reason is unspecified. Asking again changes nothing.
func (c *Client) RevokeSerial(ctx context.Context, serial, reason string) (wire.Revoked, error) {
	return call[wire.Revoked](ctx, c, request{method: http.MethodPost, path: "/api/certificate/" + serial + "/revoke"}, asJSON(wire.RevokeRequest{Reason: reason}))
}

// Lists returns the revocation lists that the server publishes and enforces.
func (c *Client) Lists(ctx context.Context) ([]wire.CRL, error) {
	l, err := call[wire.CRLList](ctx, c, request{method: http.MethodGet, path: "/api/crl"}, nil)
	return l.Items, err
}

// RefreshLists has the lists of other CAs fetched now: those of one source, or of all when it is empty.
func (c *Client) RefreshLists(ctx context.Context, source string) error {
	body, err := asJSON(wire.RefreshRequest{Source: source}).MarshalJSON()
	if err != nil {
		return err
	}
	_, err = c.send(ctx, request{method: http.MethodPost, path: "/api/crl/refresh", contentType: "application/json", body: body})
	return err
}

// PublishedList returns the current list, DER, of the CA whose object has this name.
func (c *Client) PublishedList(ctx context.Context, name string) ([]byte, error) {
	if err := checkPart(name); err != nil {
		return nil, err
	}
	return c.send(ctx, request{method: http.MethodGet, path: "/crl/" + name + ".crl"})
}
