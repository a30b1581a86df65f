package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Session is the login of a browser that goes on.
type Session struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Auth    string    `json:"auth"`    // how the name was proved: basic or x509
	Address string    `json:"address"` // where the login came from
	BeganAt time.Time `json:"began_at,omitzero"`
	UsedAt  time.Time `json:"used_at,omitzero"`
	EndsAt  time.Time `json:"ends_at,omitzero"` // unless it is used before
	Current bool      `json:"current"`
}

type sessionList struct {
	Items []Session `json:"items"`
}

type sessionsEnded struct {
	Ended int `json:"ended"`
}

// Sessions returns the sessions of a user, of the caller for "", the one used last first.
func (c *Client) Sessions(ctx context.Context, user string) ([]Session, error) {
	list, err := call[sessionList](ctx, c, request{method: http.MethodGet, path: "/api/session", query: ofUser(user)}, nil)
	return list.Items, err
}

// EndSessions ends all sessions of a user, of the caller for "", and says how many there were.
func (c *Client) EndSessions(ctx context.Context, user string) (int, error) {
	ended, err := call[sessionsEnded](ctx, c, request{method: http.MethodPost, path: "/api/session/revoke", query: ofUser(user)}, nil)
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

// Verdict says whether somebody may do something, and by which rule.
type Verdict struct {
	Allowed bool     `json:"allowed"`
	User    string   `json:"user"`
	Verb    string   `json:"verb"`
	Path    string   `json:"path"`
	What    []string `json:"what"`
	Rule    string   `json:"rule"`
	Reason  string   `json:"reason"` // why not; "" when allowed
}

// CanI asks whether the caller, or the user as, may do verb to the object at path ("" where it is about none) with what. Nothing is done.
func (c *Client) CanI(ctx context.Context, verb, path string, what []string, as string) (Verdict, error) {
	q := url.Values{"verb": {verb}, "what": what}
	if path != "" {
		q.Set("path", path)
	}
	if as != "" {
		q.Set("as", as)
	}
	return call[Verdict](ctx, c, request{method: http.MethodGet, path: "/api/auth/can-i", query: q}, nil)
}
