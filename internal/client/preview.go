package client

import (
	"context"
	"net/http"
	"time"
)

// Preview is a certificate that would be signed: of now, and by nobody yet.
type Preview struct {
	Owner       string       `json:"owner"`
	Profile     string       `json:"profile"`
	Subject     string       `json:"subject"`
	Names       []string     `json:"names"`
	Issuer      string       `json:"issuer"`
	IssuerPath  string       `json:"issuer_path"`
	NotBefore   time.Time    `json:"not_before,omitzero"`
	NotAfter    time.Time    `json:"not_after,omitzero"`
	KeyType     string       `json:"key_type"`
	NewKey      bool         `json:"new_key"` // a private key would be made
	KeyUsage    string       `json:"key_usage"`
	ExtKeyUsage []string     `json:"ext_key_usage"`
	IsCA        bool         `json:"is_ca"`
	Pointers    []string     `json:"pointers"` // where its revocation is published
	TBS         []byte       `json:"tbs"`      // TBSCertificate, DER
	Findings    []LintResult `json:"findings"`
	Replaces    string       `json:"replaces"` // serial number, "" for none
	Changes     []Difference `json:"changes"`  // from that one
}

// LintResult is what a lint has against a certificate.
type LintResult struct {
	Lint     string `json:"lint"`
	Severity string `json:"severity"`
	Citation string `json:"citation"`
	Detail   string `json:"detail"`
}

// Difference is one field in which two certificates differ.
type Difference struct {
	Field string `json:"field"`
	From  string `json:"from"`
	To    string `json:"to"`
}

// Preview says what a certificate of the object would be; nothing is signed. Renewal.Revoke is not looked at.
func (c *Client) Preview(ctx context.Context, p Path, r Renewal) (Preview, error) {
	r.Revoke = false
	return call[Preview](ctx, c, request{method: http.MethodPost, path: p.url("/certificate/preview")}, asJSON(r))
}

// PreviewSign says what Sign would sign; nothing is.
func (c *Client) PreviewSign(ctx context.Context, r SignRequest) (Preview, error) {
	return call[Preview](ctx, c, request{method: http.MethodPost, path: "/api/certificate/preview"}, asJSON(r))
}
