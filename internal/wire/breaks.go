package wire

// Break is something that a call ends for others.
type Break struct {
	Object string `json:"object"`
	What   string `json:"what"`  // a sentence, with the count
	Count  int    `json:"count"` // of the certificates, or of the users, that it is about
}

// BreakList says what deleting objects breaks.
type BreakList struct {
	Kind    string  `json:"kind"`    // "BreakList"
	Objects int     `json:"objects"` // that the selector selects and the caller may read
	Items   []Break `json:"items"`
}
