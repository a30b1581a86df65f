package wire

// KeyValue is a key with its value.
type KeyValue struct {
	Name  string `json:"name"`
	Bytes []byte `json:"bytes"`
}

// DataKeyList is the keys of an object.
type DataKeyList struct {
	Kind  string    `json:"kind"` // "DataKeyList"
	Items []DataKey `json:"items"`
}

// DataKey is a key without its value.
type DataKey struct {
	Object string `json:"object"`
	Node   string `json:"node"` // always ""
	Name   string `json:"name"`
	Size   int    `json:"size"` // of the value, in bytes
}

// KeyEdit is one step of a change of keys.
type KeyEdit struct {
	Action string  `json:"action"` // "add", "change", "remove" or "rename"
	Name   string  `json:"name"`
	Bytes  []byte  `json:"bytes,omitempty"`  // for add and change
	String *string `json:"string,omitempty"` // the same as text
	To     string  `json:"to,omitempty"`     // for rename
	Hashed bool    `json:"hashed,omitempty"` // for the password of a usr: the value is its hash
	Weak   bool    `json:"weak,omitempty"`   // for the password of a usr, by root: it is taken however easy to guess

	Password string `json:"password,omitempty"` // for a private_key that is encrypted; it is kept without
}
