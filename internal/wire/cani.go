package wire

// Verdict says whether somebody may do something, and by which rule.
type Verdict struct {
	Allowed bool     `json:"allowed"`
	User    string   `json:"user"`
	Verb    string   `json:"verb"`
	Path    string   `json:"path"` // "" for what is about no object
	What    []string `json:"what"`
	Rule    string   `json:"rule"`   // who may
	Reason  string   `json:"reason"` // why not; "" when allowed
}
