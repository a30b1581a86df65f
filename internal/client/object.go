package client

import (
	"context"
	"net/http"
	"net/url"

	"omca/internal/wire"
)

// Object is everything about an object but the values of its keys.
type Object struct {
	Path string `json:"path"`
	wire.ObjectData
}

func object(i wire.ObjectItem) Object { return Object{i.Meta.Object, i.Data} }

// Paths returns the paths that a selector (a path, a glob, a comma separated union) selects, sorted; empty when none.
func (c *Client) Paths(ctx context.Context, selector string) ([]string, error) {
	return call[[]string](ctx, c, request{method: http.MethodGet, path: "/api/object/path", query: url.Values{"path": {selector}}}, nil)
}

// Objects returns the objects that a selector selects, sorted by path; empty when none.
func (c *Client) Objects(ctx context.Context, selector string) ([]Object, error) {
	l, err := call[wire.ObjectList](ctx, c, request{method: http.MethodGet, path: "/api/object", query: url.Values{"path": {selector}}}, nil)
	objects := make([]Object, len(l.Items))
	for i, item := range l.Items {
		objects[i] = object(item)
	}
	return objects, err
}

// Object returns one object.
func (c *Client) Object(ctx context.Context, p Path) (Object, error) {
	item, err := call[wire.ObjectItem](ctx, c, request{method: http.MethodGet, path: p.url("")}, nil)
	return object(item), err
}

// Create makes an object, or updates the keywords of the one that exists.
func (c *Client) Create(ctx context.Context, p Path, o wire.CreateRequest) (wire.Created, error) {
	return call[wire.Created](ctx, c, request{method: http.MethodPost, path: p.url("")}, asJSON(o))
}

// Deletion says what becomes of the certificates that were issued for an object.
type Deletion struct {
	Revoke     string // "true" or "false": whether they are revoked; "" for those of users only
	DestroyKey bool   // of a CA: its key goes too, and with it its list and its OCSP answers
}

// Delete deletes an object and its keys.
func (c *Client) Delete(ctx context.Context, p Path, d Deletion) error {
	r := request{method: http.MethodPost, path: p.url("/action/delete")}
	r.query = url.Values{}
	if d.Revoke != "" {
		r.query.Set("revoke", d.Revoke)
	}
	if d.DestroyKey {
		r.query.Set("destroy_key", "true")
	}
	_, err := c.send(ctx, r)
	return err
}
