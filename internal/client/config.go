package client

import (
	"context"
	"net/http"
	"net/url"

	"omca/internal/wire"
)

// Config returns the values of the keywords named, or of all that are set when none is.
func (c *Client) Config(ctx context.Context, p Path, keywords []string) ([]wire.KeywordValue, error) {
	l, err := call[wire.KeywordList](ctx, c, request{method: http.MethodGet, path: p.url("/config"), query: url.Values{"kw": keywords}}, nil)
	return l.Items, err
}

// ConfigChange is a change of keywords: sections deleted first, then keywords unset, then expressions applied, all or nothing.
type ConfigChange struct {
	Set    []string // expressions: "cn=x", "grant+=root", "grant-=root", "grant|=root"
	Unset  []string // keywords
	Delete []string // sections
}

// UpdateConfig changes keywords, and says whether that made a difference.
func (c *Client) UpdateConfig(ctx context.Context, p Path, change ConfigChange) (changed bool, err error) {
	query := url.Values{"set": change.Set, "unset": change.Unset, "delete": change.Delete}
	a, err := call[wire.Changed](ctx, c, request{method: http.MethodPatch, path: p.url("/config"), query: query}, nil)
	return a.IsChanged, err
}

// ConfigFile returns the configuration as a text of sections and keywords.
func (c *Client) ConfigFile(ctx context.Context, p Path) ([]byte, error) {
	return c.send(ctx, request{method: http.MethodGet, path: p.url("/config/file")})
}

// ReplaceConfigFile replaces the whole configuration.
func (c *Client) ReplaceConfigFile(ctx context.Context, p Path, text []byte) error {
	_, err := c.send(ctx, request{method: http.MethodPut, path: p.url("/config/file"), contentType: "text/plain; charset=utf-8", body: text})
	return err
}

// ValidateConfig returns what is wrong with the configuration; nothing when all is well.
func (c *Client) ValidateConfig(ctx context.Context, p Path) ([]wire.Finding, error) {
	l, err := call[wire.Findings](ctx, c, request{method: http.MethodGet, path: p.url("/config/validate")}, nil)
	return l.Items, err
}

// Keywords explains the keywords of a kind (sec, usr, cfg, cluster), or the one named.
func (c *Client) Keywords(ctx context.Context, kind, keyword string) ([]wire.KeywordDoc, error) {
	query := url.Values{"kind": {kind}}
	if keyword != "" {
		query.Set("kw", keyword)
	}
	l, err := call[wire.KeywordDocs](ctx, c, request{method: http.MethodGet, path: "/api/keyword", query: query}, nil)
	return l.Items, err
}
