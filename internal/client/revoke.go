package client

import (
	"context"
	"net/http"
	"time"
)

// Revoked is a revocation that is in force.
type Revoked struct {
	Serial    string    `json:"serial"`
	Reason    string    `json:"reason"` // of RFC 5280, such as keyCompromise
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

type revocation struct {
	Reason string `json:"reason,omitempty"`
}

// Revoke takes back the certificate that an object holds. An empty reason is unspecified. Asking again changes nothing.
func (c *Client) Revoke(ctx context.Context, p Path, reason string) (Revoked, error) {
	return call[Revoked](ctx, c, request{method: http.MethodPost, path: p.url("/certificate/revoke")}, asJSON(revocation{reason}))
}

// RevokeSerial takes back a certificate of the inventory. An empty reason is unspecified. Asking again changes nothing.
func (c *Client) RevokeSerial(ctx context.Context, serial, reason string) (Revoked, error) {
	return call[Revoked](ctx, c, request{method: http.MethodPost, path: "/api/certificate/" + serial + "/revoke"}, asJSON(revocation{reason}))
}

// List is one revocation list: of a CA of the cluster, or of another's from a source.
type List struct {
	CA         string    `json:"ca"`     // path; "" for the list of another
	Source     string    `json:"source"` // where the list of another comes from
	Issuer     string    `json:"issuer"`
	Number     string    `json:"number"`
	ThisUpdate time.Time `json:"this_update,omitzero"`
	NextUpdate time.Time `json:"next_update,omitzero"`
	Entries    int       `json:"entries"`
	State      string    `json:"state"` // fresh, partial, stale, never or error
	LastError  string    `json:"last_error"`
	FetchedAt  time.Time `json:"fetched_at,omitzero"`
	URL        string    `json:"url"`         // on the server, like the next
	LastingURL string    `json:"lasting_url"` // the same as long as that CA has certificates
	Former     int       `json:"former"`      // number of the set in the history of the CA; 0 for what it is now, -1 for one that no object has

	Undetermined []string `json:"undetermined,omitempty"` // trusted CAs for which no list is in force, and the source may have one
}

// Lists returns the revocation lists that the server publishes and enforces.
func (c *Client) Lists(ctx context.Context) ([]List, error) {
	type list struct {
		Items []List `json:"items"`
	}
	l, err := call[list](ctx, c, request{method: http.MethodGet, path: "/api/crl"}, nil)
	return l.Items, err
}

// RefreshLists has the lists of other CAs fetched now: those of one source, or of all when it is empty.
func (c *Client) RefreshLists(ctx context.Context, source string) error {
	type refresh struct {
		Source string `json:"source,omitempty"`
	}
	body, err := asJSON(refresh{source}).MarshalJSON()
	if err != nil {
		return err
	}
	_, err = c.send(ctx, request{method: http.MethodPost, path: "/api/crl/refresh", contentType: "application/json", body: body})
	return err
}

// PublishedList returns the current list, DER, of the CA whose object has this name.
func (c *Client) PublishedList(ctx context.Context, name string) ([]byte, error) {
	if err := checkPart(name); err != nil {
		return nil, err
	}
	return c.send(ctx, request{method: http.MethodGet, path: "/crl/" + name + ".crl"})
}
