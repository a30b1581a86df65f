package client

import (
	"context"
	"net/http"
	"time"
)

// Status is how a daemon is doing.
type Status struct {
	Node             string    `json:"node"`
	Cluster          string    `json:"cluster"`
	ClusterID        string    `json:"cluster_id"`
	Version          string    `json:"version"`
	PID              int       `json:"pid"`
	StartedAt        time.Time `json:"started_at,omitzero"`
	Addresses        []string  `json:"addresses"`
	InProcess        bool      `json:"in_process"` // no daemon: the command serves itself
	CASHA256         string    `json:"ca_sha256"`
	CANotAfter       time.Time `json:"ca_not_after,omitzero"`
	ListenerSerial   string    `json:"listener_serial"`
	ListenerNotAfter time.Time `json:"listener_not_after,omitzero"`
	Certificates     int       `json:"certificates"`       // in the inventory
	Draining         bool      `json:"draining,omitempty"` // it says that it is not ready
	RestartError     string    `json:"restart_error,omitempty"`

	OpenID *OpenIDStatus `json:"openid,omitempty"` // nil: no issuer is configured
	Store  *StoreStatus  `json:"store,omitempty"`  // nil: the node has one of its own
	Clock  *ClockStatus  `json:"clock,omitempty"`  // nil: likewise
	Panics []TaskPanics  `json:"panics,omitempty"` // of work beside the requests, since the start
}

// ClockStatus compares the clocks of the nodes with their median.
type ClockStatus struct {
	Offset int64       `json:"offset_seconds"` // by which this node's clock is ahead; negative: behind
	Off    bool        `json:"off"`            // by too much: the node renews nothing and numbers no revocation list
	Others []NodeClock `json:"others,omitempty"`
}

// NodeClock compares the clock of one node with the median of all.
type NodeClock struct {
	Node   string `json:"node"`
	Offset int64  `json:"offset_seconds"`
	Off    bool   `json:"off"`
}

// TaskPanics is how often work beside the requests panicked.
type TaskPanics struct {
	Task  string    `json:"task"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
}

// StoreStatus is how a node stands to the store that it shares with others.
type StoreStatus struct {
	Name   string    `json:"name"`           // its URL
	Away   string    `json:"away,omitempty"` // why nothing can be changed now
	Word   time.Time `json:"word,omitzero"`  // when the node's copy was known to be current last
	Until  time.Time `json:"until,omitzero"` // when the node will serve the unix socket alone, if the store stays away
	Ended  bool      `json:"ended"`          // that has come
	Chosen string    `json:"chosen"`         // node that renews and numbers revocation lists for all
}

// OpenIDStatus is how the OpenID issuer that is configured is doing.
type OpenIDStatus struct {
	Issuer    string    `json:"issuer"`
	ClientID  string    `json:"client_id"`
	Usable    bool      `json:"usable"`         // its keys are known: tokens can be verified
	Reachable bool      `json:"reachable"`      // it answered when it was asked last
	Since     time.Time `json:"since,omitzero"` // of reachable
	FetchedAt time.Time `json:"fetched_at,omitzero"`
	Keys      int       `json:"keys"`
	LastError string    `json:"last_error,omitempty"`
}

// Status returns how the daemon is doing.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, request{method: http.MethodGet, path: "/api/daemon/status"}, nil)
}

// Stop asks the daemon to stop. It returns when the daemon has agreed, which is before it has stopped.
func (c *Client) Stop(ctx context.Context) error {
	_, err := c.send(ctx, request{method: http.MethodPost, path: "/api/daemon/action/stop"})
	return err
}

// AcceptRollback takes a store that was set back as it is.
func (c *Client) AcceptRollback(ctx context.Context) (AcceptedRollback, error) {
	return call[AcceptedRollback](ctx, c, request{method: http.MethodPost, path: "/api/daemon/action/accept-rollback"}, nil)
}

// AcceptedRollback says in which ways a store was not what was written last.
type AcceptedRollback struct {
	Reasons []string `json:"reasons"` // none: all was there
}

// Restart asks the daemon to have another process take its place. It returns when that process is there and waits for the store.
func (c *Client) Restart(ctx context.Context) error {
	_, err := c.send(ctx, request{method: http.MethodPost, path: "/api/daemon/action/restart"})
	return err
}

// Health returns nil when the server answers that it is alive.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.send(ctx, request{method: http.MethodGet, path: "/healthz"})
	return err
}
