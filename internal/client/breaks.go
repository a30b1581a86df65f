package client

import (
	"context"
	"net/http"
	"net/url"

	"omca/internal/wire"
)

// headerAsk has the server refuse a call that breaks something for others, and say what.
const headerAsk = "Omca-Ask"

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
func (c *Client) DeletionBreaks(ctx context.Context, selector string, how Deletion) ([]wire.Break, error) {
	query := url.Values{"path": {selector}}
	if how.Revoke != "" {
		query.Set("revoke", how.Revoke)
	}
	l, err := call[struct {
		Items []wire.Break `json:"items"`
	}](ctx, c, request{method: http.MethodGet, path: "/api/object/breaks", query: query}, nil)
	return l.Items, err
}
