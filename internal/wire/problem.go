package wire

// Problem is an error as RFC 9457 has it.
type Problem struct {
	Type      string `json:"type"` // "about:blank": the status says it all (RFC 9457, section 4.2.1)
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Hint      string `json:"hint,omitempty"` // what to try next
	RequestID string `json:"request_id"`     // as in the log

	// Breaks is why a call with the header Omca-Ask was refused: without the header it
	// would have been done.
	Breaks []Break `json:"breaks,omitempty"`
}
