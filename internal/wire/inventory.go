package wire

import "time"

// Record is one certificate of the inventory.
type Record struct {
	Serial     string    `json:"serial"`
	Issuer     string    `json:"issuer"`      // common name
	IssuerPath string    `json:"issuer_path"` // of the CA
	Authority  string    `json:"authority"`   // identity of the CA, 64 hexadecimal digits; "" when it is not on record
	Subject    string    `json:"subject"`
	Names      []string  `json:"names"`
	Owner      string    `json:"owner"` // path of the object that it is for; "ux:root" for the machine's root
	Profile    string    `json:"profile"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	State      string    `json:"state"` // "valid", "not_yet_valid", "expired" or "revoked"
	SHA256     string    `json:"sha256"`

	Withdrawal
}

// Withdrawal says when and why a certificate was taken back. It is empty for
// one that was not.
type Withdrawal struct {
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
	Reason    string     `json:"reason,omitempty"` // of RFC 5280, 5.3.1
}

// FullRecord is a record with its certificate.
type FullRecord struct {
	Record
	Certificate string `json:"certificate"` // PEM
}

// CertificateList is a page of the inventory, soonest expiry first.
type CertificateList struct {
	Kind  string   `json:"kind"` // "CertificateList"
	Items []Record `json:"items"`
	Next  string   `json:"next"` // the parameter after of the next page; "" on the last one
}

// SignRequest asks for the signature of a request made elsewhere.
type SignRequest struct {
	CSR      string `json:"csr"`                // PEM
	Profile  string `json:"profile,omitempty"`  // "usr", "node" or "listener"
	Validity string `json:"validity,omitempty"` // "24h", "30d"
	Owner    string `json:"owner,omitempty"`    // path; "ux:root" for the machine's root
}

// Signed is what was signed.
type Signed struct {
	Serial           string    `json:"serial"`
	Certificate      string    `json:"certificate"`       // PEM
	CertificateChain string    `json:"certificate_chain"` // PEM, leaf first
	NotAfter         time.Time `json:"not_after"`
}
