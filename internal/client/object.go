package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Object is everything about an object but the values of its keys.
type Object struct {
	Path        string            `json:"path"`
	CreatedAt   time.Time         `json:"created_at,omitzero"`
	UpdatedAt   time.Time         `json:"updated_at,omitzero"`
	Keywords    map[string]string `json:"keywords"`
	Keys        []Key             `json:"keys"`
	Certificate *CertificateState `json:"certificate"` // nil when the object has none
}

// Key is a named value of an object, without the value.
type Key struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// objectItem is how the API wraps an [Object].
type objectItem struct {
	Meta struct {
		Object string `json:"object"`
	} `json:"meta"`
	Data Object `json:"data"`
}

func (i objectItem) object() Object {
	i.Data.Path = i.Meta.Object
	return i.Data
}

// Paths returns the paths that a selector (a path, a glob, a comma separated union) selects, sorted; empty when none.
func (c *Client) Paths(ctx context.Context, selector string) ([]string, error) {
	return call[[]string](ctx, c, request{method: http.MethodGet, path: "/api/object/path", query: url.Values{"path": {selector}}}, nil)
}

// Objects returns the objects that a selector selects, sorted by path; empty when none.
func (c *Client) Objects(ctx context.Context, selector string) ([]Object, error) {
	type list struct {
		Items []objectItem `json:"items"`
	}
	l, err := call[list](ctx, c, request{method: http.MethodGet, path: "/api/object", query: url.Values{"path": {selector}}}, nil)
	objects := make([]Object, len(l.Items))
	for i, item := range l.Items {
		objects[i] = item.object()
	}
	return objects, err
}

// Object returns one object.
func (c *Client) Object(ctx context.Context, p Path) (Object, error) {
	item, err := call[objectItem](ctx, c, request{method: http.MethodGet, path: p.url("")}, nil)
	return item.object(), err
}

// NewObject is what an object is created with.
type NewObject struct {
	Keywords []string `json:"keywords"`         // expressions: "cn=x", "grant+=root"
	Config   string   `json:"config,omitempty"` // a configuration file, applied before the keywords
	Force    bool     `json:"force"`            // an object that exists is recreated from nothing
	Revoke   bool     `json:"revoke,omitempty"` // and what was issued for it is revoked
}

// Created says what creating did.
type Created struct {
	Created bool `json:"created"`    // it did not exist
	Changed bool `json:"is_changed"` // it is not what it was
}

// Create makes an object, or updates the keywords of the one that exists.
func (c *Client) Create(ctx context.Context, p Path, o NewObject) (Created, error) {
	if o.Keywords == nil {
		o.Keywords = []string{}
	}
	return call[Created](ctx, c, request{method: http.MethodPost, path: p.url("")}, asJSON(o))
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
