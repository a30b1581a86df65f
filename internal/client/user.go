package client

import (
	"context"
	"encoding/json"
	"net/http"

	"omca/internal/wire"
)

// keyPassword is the key of a user that holds the hash of the password.
const keyPassword = "password"

// SetPassword sets the password of the user at p: the password itself, which the server hashes, or, when hashed, a hash made elsewhere.
func (c *Client) SetPassword(ctx context.Context, p Path, value []byte, hashed bool) error {
	keys, err := c.Keys(ctx, p)
	if err != nil {
		return err
	}
	step := wire.KeyEdit{Action: "add", Name: keyPassword, Bytes: value, Hashed: hashed}
	for _, k := range keys {
		if k.Name == keyPassword {
			step.Action = "change"
		}
	}
	return c.PatchKeys(ctx, p, []wire.KeyEdit{step})
}

// Unlock forgets the attempts to log in as the user at p, and says whether they had locked the user out.
func (c *Client) Unlock(ctx context.Context, p Path) (unlocked bool, err error) {
	a, err := call[wire.Unlocked](ctx, c, request{method: http.MethodPost, path: p.url("/action/unlock")}, nil)
	return a.Unlocked, err
}

// ChangeOwnPassword sets another password for the user who calls, who knows the one until now.
func (c *Client) ChangeOwnPassword(ctx context.Context, current, password []byte) error {
	body, err := json.Marshal(wire.PasswordChange{Current: string(current), Password: string(password)})
	if err != nil {
		return err
	}
	_, err = c.send(ctx, request{method: http.MethodPost, path: "/api/auth/password", contentType: "application/json", body: body})
	return err
}
