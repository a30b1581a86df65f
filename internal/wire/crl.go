package wire

import "time"

// ExternalList is one revocation list of another CA, or a source that gave none.
type ExternalList struct {
	Source                            string // as the operator wrote it, without a password
	Issuer, Number                    string // "" without a list; Number is decimal
	ThisUpdate, NextUpdate, FetchedAt time.Time
	Entries                           int
	State                             string // "fresh", "partial", "stale", "never" or "error"
	LastError                         string
	Undetermined                      []string // subjects of the trusted CAs for which no list is in force, and the source may have one
}

// CRL is one revocation list: ours, of a CA, or another's, from a source.
type CRL struct {
	CA         string     `json:"ca"`        // path of our CA; "" for the list of another
	Authority  string     `json:"authority"` // identity of our CA, 64 hexadecimal digits; "" for the list of another
	Source     string     `json:"source"`    // where the list of another comes from; "" for one of ours
	Issuer     string     `json:"issuer"`
	Number     string     `json:"number"` // decimal
	ThisUpdate *time.Time `json:"this_update"`
	NextUpdate *time.Time `json:"next_update"`
	Entries    int        `json:"entries"`
	State      string     `json:"state"`      // "fresh"; "partial": another list of the source cannot be used; "stale": past its next update; "never" or "error": there is none
	LastError  string     `json:"last_error"` // of the last attempt to get it; to callers without root, that there is one
	FetchedAt  *time.Time `json:"fetched_at"`
	URL        string     `json:"url"`         // path of ours on this server
	LastingURL string     `json:"lasting_url"` // the same for as long as that CA has certificates, whatever takes its place
	Former     int        `json:"former"`      // number of the set in the history of the CA; 0 for what it is now, -1 for one that no object has

	// Undetermined are the subjects of the trusted CAs for which no list is in force, and the source may have one: the policy decides.
	Undetermined []string `json:"undetermined,omitempty"`
}

// CRLList is the revocation lists, ours first.
type CRLList struct {
	Items []CRL `json:"items"`
}

// RefreshRequest says which lists to fetch.
type RefreshRequest struct {
	Source string `json:"source,omitempty"` // all unless given
}
