package client

import (
	"context"
	"net/http"
	"net/url"

	"omca/internal/wire"
)

// Sessions returns the sessions of a user, of the caller for "", the one used last first.
func (c *Client) Sessions(ctx context.Context, user string) ([]wire.SessionItem, error) {
	list, err := call[wire.SessionList](ctx, c, request{method: http.MethodGet, path: "/api/session", query: ofUser(user)}, nil)
	return list.Items, err
}

// EndSessions ends all sessions of a user, of the caller for "", and says how many there were.
func (c *Client) EndSessions(ctx context.Context, user string) (int, error) {
	ended, err := call[wire.SessionsEnded](ctx, c, request{method: http.MethodPost, path: "/api/session/revoke", query: ofUser(user)}, nil)
	return ended.Ended, err
}

// EndSession ends the session with that ID.
func (c *Client) EndSession(ctx context.Context, id string) error {
	_, err := c.send(ctx, request{method: http.MethodPost, path: "/api/session/" + id + "/revoke"})
	return err
}

func ofUser(user string) url.Values {
	if user == "" {
		return nil
	}
	return url.Values{"user": {user}}
}

// CanI asks whether the caller, or the user as, may do verb to the object at path ("" where it is about none) with what. Nothing is done.
func (c *Client) CanI(ctx context.Context, verb, path string, what []string, as string) (wire.Verdict, error) {
	q := url.Values{"verb": {verb}, "what": what}
	if path != "" {
		q.Set("path", path)
	}
	if as != "" {
		q.Set("as", as)
	}
	return call[wire.Verdict](ctx, c, request{method: http.MethodGet, path: "/api/auth/can-i", query: q}, nil)
}
