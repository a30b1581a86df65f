package wire

import "time"

// NodeList is nodes of the cluster, by name.
type NodeList struct {
	Kind  string     `json:"kind"` // "NodeList"
	Items []NodeItem `json:"items"`
}

// NodeItem is one node.
type NodeItem struct {
	Kind string   `json:"kind"` // "NodeItem"
	Meta NodeMeta `json:"meta"`
	Data NodeData `json:"data"`
}

// NodeMeta says which node it is.
type NodeMeta struct {
	Node string `json:"node"`
}

// NodeData is what a node says of itself, as long as it is there.
type NodeData struct {
	Status *NodeStatus `json:"status"`
}

// NodeStatus is how a node is doing.
type NodeStatus struct {
	Agent     string    `json:"agent"` // version of the program
	StartedAt time.Time `json:"started_at"`

	ClockOffset int64 `json:"clock_offset_seconds"` // by which its clock is ahead of the median of all; negative: behind
	ClockOff    bool  `json:"clock_off"`            // by too much
}

// NodeInfo is what there is to know of a node to tell it from others.
type NodeInfo struct {
	Env      string            `json:"env"`    // always "": there is one environment
	Labels   map[string]string `json:"labels"` // none
	Paths    []string          `json:"paths"`  // of storage: none
	Listener NodeListener      `json:"listener"`
}

// NodeListener is where a node answers.
type NodeListener struct {
	Addr  string `json:"addr"`  // "" for a node that is not there
	Port  string `json:"port"`  //
	State string `json:"state"` // "running", or "" for a node that is not there
}

// Called says that something was begun that goes on after the answer.
type Called struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// NodeTask is what a node was asked to do last.
type NodeTask struct {
	Node    string    `json:"node"`
	Do      string    `json:"do"`    // restart, stop, drain or resume
	State   string    `json:"state"` // asked, taken, done or failed
	Error   string    `json:"error"` // why it failed
	By      string    `json:"by"`
	AskedAt time.Time `json:"asked_at,omitzero"`
}
