package wire

import "time"

// CertificateState is the certificate of an object as it stands. Where there
// is none, everything but path, state and pending is empty.
type CertificateState struct {
	Path      string    `json:"path"`
	State     string    `json:"state"` // "none", "valid", "not_yet_valid", "expired", "revoked" or "pending"
	Serial    string    `json:"serial"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	DaysLeft  int       `json:"days_left"`
	SHA256    string    `json:"sha256"`
	KeyType   string    `json:"key_type"`
	SignedBy  string    `json:"signed_by"` // path of the CA; "" for one outside
	Pending   []string  `json:"pending"`   // what was imported and does not fit yet, in words

	Withdrawal

	// PEM, for who may read these keys of the object; else "".
	Certificate      string `json:"certificate"`
	CertificateChain string `json:"certificate_chain"`
}

// Renewal says what a new certificate may replace.
type Renewal struct {
	Rekey           bool `json:"rekey,omitempty"`            // the private key too
	ReplaceExternal bool `json:"replace_external,omitempty"` // a valid certificate of a CA outside
	Revoke          bool `json:"revoke,omitempty"`           // what is replaced, once the new one is there
}

// Creation says what a first certificate may replace.
type Creation struct {
	ReplaceExternal bool `json:"replace_external,omitempty"`
	Revoke          bool `json:"revoke,omitempty"` // what is replaced, once the new one is there
}

// Issued is a certificate that an object just got.
type Issued struct {
	Path             string    `json:"path"`
	Serial           string    `json:"serial"`
	Certificate      string    `json:"certificate"`       // PEM
	CertificateChain string    `json:"certificate_chain"` // PEM, leaf first
	NotBefore        time.Time `json:"not_before"`
	NotAfter         time.Time `json:"not_after"`
}

// PKCS12Request says how a PKCS #12 file is to be.
type PKCS12Request struct {
	Password string `json:"password"`
	Format   string `json:"format,omitempty"` // "modern", which is the default, or "legacy"
}

// Authority is the certificate of the cluster's CA.
type Authority struct {
	Path             string    `json:"path"`
	Subject          string    `json:"subject"`
	SHA256           string    `json:"sha256"`
	NotBefore        time.Time `json:"not_before"`
	NotAfter         time.Time `json:"not_after"`
	CertificateChain string    `json:"certificate_chain"` // PEM, the CA's own first
}
