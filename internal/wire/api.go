package wire

import "time"

// Status is how a daemon is doing, as it says itself.
type Status struct {
	Node             string    `json:"node"`
	Cluster          string    `json:"cluster"`
	ClusterID        string    `json:"cluster_id"`
	Version          string    `json:"version"`
	PID              int       `json:"pid"`
	StartedAt        time.Time `json:"started_at"`
	Addresses        []string  `json:"addresses"`
	InProcess        bool      `json:"in_process"` // no daemon: the command serves itself
	CASHA256         string    `json:"ca_sha256"`
	CANotAfter       time.Time `json:"ca_not_after,omitzero"`
	ListenerSerial   string    `json:"listener_serial"`
	ListenerNotAfter time.Time `json:"listener_not_after,omitzero"`
	Certificates     int       `json:"certificates"`            // in the inventory
	Draining         bool      `json:"draining,omitempty"`      // it says that it is not ready
	RestartError     string    `json:"restart_error,omitempty"` // why the daemon serves on after a restart

	OpenID *OpenIDStatus `json:"openid,omitempty"` // when an issuer is configured
	Store  *StoreStatus  `json:"store,omitempty"`  // when it is shared with other nodes
	Clock  *ClockStatus  `json:"clock,omitempty"`  // of a node that shares its store with others
	Panics []TaskPanics  `json:"panics,omitempty"` // of work beside the requests, since the start; by task
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

// TaskPanics is how often work beside the requests panicked. The log has the stacks.
type TaskPanics struct {
	Task  string    `json:"task"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
}

// StoreStatus is how a node stands to the store that it shares.
type StoreStatus struct {
	Name   string    `json:"name"`           // its URL
	Away   string    `json:"away,omitempty"` // why nothing can be changed now
	Word   time.Time `json:"word,omitzero"`  // when the node's copy was known to be current last
	Until  time.Time `json:"until,omitzero"` // when the node will serve the unix socket alone, if the store stays away
	Ended  bool      `json:"ended"`          // that has come
	Chosen string    `json:"chosen"`         // node that renews and numbers revocation lists for all; "" for none at the moment
}
