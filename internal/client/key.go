package client

import (
	"context"
	"net/http"
	"net/url"
)

// Keys lists the keys of an object.
func (c *Client) Keys(ctx context.Context, p Path) ([]Key, error) {
	type list struct {
		Items []Key `json:"items"`
	}
	l, err := call[list](ctx, c, request{method: http.MethodGet, path: p.url("/data/keys")}, nil)
	return l.Items, err
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

// KeyAction is one step of [Client.PatchKeys].
type KeyAction struct {
	Action string `json:"action"` // add, change, remove or rename
	Name   string `json:"name"`
	Bytes  []byte `json:"bytes,omitempty"`  // of add and change; base64 in JSON
	To     string `json:"to,omitempty"`     // of rename: the new name
	Hashed bool   `json:"hashed,omitempty"` // of the password of a user: Bytes is a hash of it
	Weak   bool   `json:"weak,omitempty"`   // of the password of a user: root has it taken however easy to guess

	Password string `json:"password,omitempty"` // of a private key that is encrypted
}

// PatchKeys takes the steps in order, all or none.
func (c *Client) PatchKeys(ctx context.Context, p Path, steps []KeyAction) error {
	body, err := asJSON(steps).MarshalJSON()
	if err != nil {
		return err
	}
	_, err = c.send(ctx, request{method: http.MethodPatch, path: p.url("/data"), contentType: "application/json", body: body})
	return err
}
