package client

import (
	"context"
	"net/http"
	"net/url"
)

// KeywordValue is the value of a keyword of an object; "" when it is not set.
type KeywordValue struct {
	Object  string `json:"object"`
	Keyword string `json:"keyword"`
	Value   string `json:"value"`
}

// Config returns the values of the keywords named, or of all that are set when none is.
func (c *Client) Config(ctx context.Context, p Path, keywords []string) ([]KeywordValue, error) {
	type list struct {
		Items []KeywordValue `json:"items"`
	}
	l, err := call[list](ctx, c, request{method: http.MethodGet, path: p.url("/config"), query: url.Values{"kw": keywords}}, nil)
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
	type answer struct {
		Changed bool `json:"is_changed"`
	}
	query := url.Values{"set": change.Set, "unset": change.Unset, "delete": change.Delete}
	a, err := call[answer](ctx, c, request{method: http.MethodPatch, path: p.url("/config"), query: query}, nil)
	return a.Changed, err
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

// Finding is one thing that is wrong with a configuration.
type Finding struct {
	Level   string `json:"level"` // error or warning
	Keyword string `json:"keyword"`
	Comment string `json:"comment"`
}

// ValidateConfig returns what is wrong with the configuration; nothing when all is well.
func (c *Client) ValidateConfig(ctx context.Context, p Path) ([]Finding, error) {
	type list struct {
		Items []Finding `json:"items"`
	}
	l, err := call[list](ctx, c, request{method: http.MethodGet, path: p.url("/config/validate")}, nil)
	return l.Items, err
}

// Keyword explains a keyword.
type Keyword struct {
	Keyword string   `json:"keyword"`
	Type    string   `json:"type"`
	Default string   `json:"default"`
	Doc     string   `json:"doc"`
	Example string   `json:"example"`
	Aliases []string `json:"aliases"`
}

// Keywords explains the keywords of a kind (sec, usr, cfg, cluster), or the one named.
func (c *Client) Keywords(ctx context.Context, kind, keyword string) ([]Keyword, error) {
	type list struct {
		Items []Keyword `json:"items"`
	}
	query := url.Values{"kind": {kind}}
	if keyword != "" {
		query.Set("kw", keyword)
	}
	l, err := call[list](ctx, c, request{method: http.MethodGet, path: "/api/keyword", query: query}, nil)
	return l.Items, err
}
