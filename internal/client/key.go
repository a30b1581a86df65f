package client

import (
	"context"
	"net/http"
	"net/url"

	"omca/internal/wire"
)

// Keys lists the keys of an object.
func (c *Client) Keys(ctx context.Context, p Path) ([]wire.KeyInfo, error) {
	l, err := call[wire.DataKeyList](ctx, c, request{method: http.MethodGet, path: p.url("/data/keys")}, nil)
	keys := make([]wire.KeyInfo, len(l.Items))
	for i, k := range l.Items {
		keys[i] = wire.KeyInfo{Name: k.Name, Size: k.Size}
	}
	return keys, err
}

// Key returns the value of a key, byte for byte.
func (c *Client) Key(ctx context.Context, p Path, name string) ([]byte, error) {
	return c.send(ctx, request{method: http.MethodGet, path: p.url("/data/key"), query: url.Values{"name": {name}}})
}

// AddKey adds a key, which must not exist unless it is one that an import replaces.
func (c *Client) AddKey(ctx context.Context, p Path, name string, value []byte) error {
	return c.putKey(ctx, http.MethodPost, p, name, value)
}

// ChangeKey replaces the value of a key.
func (c *Client) ChangeKey(ctx context.Context, p Path, name string, value []byte) error {
	return c.putKey(ctx, http.MethodPut, p, name, value)
}

func (c *Client) putKey(ctx context.Context, method string, p Path, name string, value []byte) error {
	_, err := c.send(ctx, request{
		method: method, path: p.url("/data/key"), query: url.Values{"name": {name}},
		contentType: "application/octet-stream", body: value,
	})
	return err
}

// PatchKeys takes the steps in order, all or none.
func (c *Client) PatchKeys(ctx context.Context, p Path, steps []wire.KeyEdit) error {
	body, err := asJSON(steps).MarshalJSON()
	if err != nil {
		return err
	}
	_, err = c.send(ctx, request{method: http.MethodPatch, path: p.url("/data"), contentType: "application/json", body: body})
	return err
}
