package client

import (
	"context"
	"net/http"
	"net/url"
)

// headerAsk has the server refuse a call that breaks something for others, and say what.
const headerAsk = "Omca-Ask"

// Break is something that a call ends for others.
type Break struct {
	Object string `json:"object"`
	What   string `json:"what"`  // a sentence, with the count
	Count  int    `json:"count"` // of the certificates, or of the users, that it is about
}

type askKey struct{}

// AskFirst returns a context for calls that are to be refused when they break something for
// others: the Breaks of their [*Error] say what. Without it they are done.
func AskFirst(ctx context.Context) context.Context { return context.WithValue(ctx, askKey{}, true) }

func asksFirst(ctx context.Context) bool {
	asks, _ := ctx.Value(askKey{}).(bool)
	return asks
}

// DeletionBreaks returns what deleting the objects that a selector selects breaks for others.
// Nothing is deleted.
func (c *Client) DeletionBreaks(ctx context.Context, selector string, how Deletion) ([]Break, error) {
	query := url.Values{"path": {selector}}
	if how.Revoke != "" {
		query.Set("revoke", how.Revoke)
	}
	l, err := call[struct {
		Items []Break `json:"items"`
	}](ctx, c, request{method: http.MethodGet, path: "/api/object/breaks", query: query}, nil)
	return l.Items, err
}
