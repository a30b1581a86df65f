package wire

import "time"

// TokenRequest asks for a token with which a machine becomes a member.
type TokenRequest struct {
	Duration string `json:"duration,omitempty"` // such as 30m, which it is unless given; 24h at most
}

// JoinToken is a token with which one machine becomes a member.
type JoinToken struct {
	Token     string    `json:"token"` // one word; a secret
	ID        string    `json:"id"`    // as the audit trail has it
	Addresses []string  `json:"addresses"`
	ExpiresAt time.Time `json:"expires_at"`
}

// MemberList is the members of the cluster, by name.
type MemberList struct {
	Kind  string          `json:"kind"` // "MemberList"
	Items []ClusterMember `json:"items"`
}

// ClusterMember is one member of the cluster.
type ClusterMember struct {
	Node   string `json:"node"`
	URL    string `json:"url"`    // where the other members reach it
	State  string `json:"state"`  // "leader", "member", "learning", "awaited", or "admitted" when it is not in the cluster and may connect
	Serial string `json:"serial"` // of its certificate; "" when there is none

	ClockOffset int64 `json:"clock_offset_seconds"` // by which its clock is ahead of the median of all; negative: behind
	ClockOff    bool  `json:"clock_off"`            // by too much
}

// ClusterStatus is how the member of a node is doing.
type ClusterStatus struct {
	Node    string `json:"node"`
	Leader  string `json:"leader"` // "" when there is none
	Members int    `json:"members"`
	State   string `json:"state"` // "member" or "learning"

	SizeBytes  int64    `json:"size_bytes"`
	InUseBytes int64    `json:"in_use_bytes"`
	QuotaBytes int64    `json:"quota_bytes"`
	Behind     uint64   `json:"behind"` // changes that it knows of and has not made yet
	Term       uint64   `json:"term"`
	Alarms     []string `json:"alarms"`
	Warnings   []string `json:"warnings"` // for people; none when all is well
}
