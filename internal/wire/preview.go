package wire

import "time"

// PreviewRequest asks what an object would get.
type PreviewRequest struct {
	Keywords        []string `json:"keywords,omitempty"` // expressions, of an object that is not there yet
	Rekey           bool     `json:"rekey,omitempty"`
	ReplaceExternal bool     `json:"replace_external,omitempty"`
}

// Preview is a certificate that would be signed. Nobody signed it, and nothing
// of it is kept: its serial number and its times are those of the answer.
type Preview struct {
	Owner       string    `json:"owner"` // path of the object that it would be for; "ux:root" for the machine's root
	Profile     string    `json:"profile"`
	Subject     string    `json:"subject"`
	Names       []string  `json:"names"`
	Issuer      string    `json:"issuer"`      // common name
	IssuerPath  string    `json:"issuer_path"` // of the CA
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	KeyType     string    `json:"key_type"`
	NewKey      bool      `json:"new_key"` // a private key would be made; another one than here
	KeyUsage    string    `json:"key_usage"`
	ExtKeyUsage []string  `json:"ext_key_usage"`
	IsCA        bool      `json:"is_ca"`
	Pointers    []string  `json:"pointers"` // addresses of its revocation list and of OCSP
	TBS         []byte    `json:"tbs"`      // what would be signed: TBSCertificate, DER

	Findings []LintFinding `json:"findings"` // none of them an error: those are refused
	Replaces string        `json:"replaces"` // serial number of what it would take the place of; "" for none
	Changes  []Difference  `json:"changes"`  // from that one
}

// LintFinding is what a lint has against a certificate.
type LintFinding struct {
	Lint     string `json:"lint"`
	Severity string `json:"severity"` // "warning"
	Citation string `json:"citation"` // document and section
	Detail   string `json:"detail"`
}

// Difference is one field in which two certificates differ.
type Difference struct {
	Field string `json:"field"`
	From  string `json:"from"`
	To    string `json:"to"`
}
