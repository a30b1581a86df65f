package wire

import "time"

// ObjectItem is an object: everything but the values of its keys.
type ObjectItem struct {
	Kind string     `json:"kind"` // "ObjectItem"
	Meta ObjectMeta `json:"meta"`
	Data ObjectData `json:"data"`
}

// ObjectMeta says which object it is.
type ObjectMeta struct {
	Object string `json:"object"` // path
}

// ObjectData is what an object holds.
type ObjectData struct {
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
	Keywords    map[string]string `json:"keywords"`
	Keys        []KeyInfo         `json:"keys"`
	Certificate *CertificateState `json:"certificate"` // null where there is none
}

// KeyInfo is a key without its value.
type KeyInfo struct {
	Name string `json:"name"`
	Size int    `json:"size"` // of the value, in bytes
}

// ObjectList is a list of objects, by path.
type ObjectList struct {
	Kind  string       `json:"kind"` // "ObjectList"
	Items []ObjectItem `json:"items"`
}

// CreateRequest says what an object starts with.
type CreateRequest struct {
	Keywords []string `json:"keywords,omitempty"` // expressions: "cn=x", "grant+=guest"
	Config   string   `json:"config,omitempty"`   // INI, under the keywords
	Force    bool     `json:"force,omitempty"`    // an object that is there goes first
	Revoke   bool     `json:"revoke,omitempty"`   // with force: its certificates are revoked, once there is the new one
}

// Created says what creating did.
type Created struct {
	Object    string `json:"object"`
	Created   bool   `json:"created"`    // it was not there
	IsChanged bool   `json:"is_changed"` // it is not what it was
}

// Orchestration names a change that OpenSVC's client may wait for. Here it is done already.
type Orchestration struct {
	OrchestrationID string `json:"orchestration_id"` // UUID
}
