package wire

// KeywordList is the values of keywords.
type KeywordList struct {
	Kind  string         `json:"kind"` // "KeywordList"
	Items []KeywordValue `json:"items"`
}

// KeywordValue is the value of one keyword of one object.
type KeywordValue struct {
	Object      string `json:"object"`
	Keyword     string `json:"keyword"`
	Value       string `json:"value"`        // "" when it is not set
	Node        string `json:"node"`         // always "": a value is the same on every node
	EvaluatedAs string `json:"evaluated_as"` // the node that it was evaluated for; "" when it was not

	Evaluated *string `json:"evaluated,omitempty"` // the default when it is not set; only when asked for
}

// Changed says whether a change made a difference.
type Changed struct {
	IsChanged bool `json:"is_changed"`
}

// Findings is what is wrong with a config.
type Findings struct {
	Items []Finding `json:"items"`
}

// Finding is one thing that is wrong with a config.
type Finding struct {
	Level   string `json:"level"` // "error" or "warning"
	Keyword string `json:"keyword"`
	Comment string `json:"comment"`
}

// KeywordDocs explains keywords.
type KeywordDocs struct {
	Items []KeywordDoc `json:"items"`
}

// KeywordDoc explains one keyword.
type KeywordDoc struct {
	Keyword string   `json:"keyword"`
	Type    string   `json:"type"`
	Default string   `json:"default"`
	Doc     string   `json:"doc"`
	Example string   `json:"example"`
	Aliases []string `json:"aliases"`
}
