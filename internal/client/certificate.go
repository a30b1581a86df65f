package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// CertificateState is the certificate of an object as it stands.
type CertificateState struct {
	Path      string    `json:"path"`
	State     string    `json:"state"` // none, valid, not_yet_valid, expired, revoked or pending
	Serial    string    `json:"serial"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	DaysLeft  int       `json:"days_left"`
	SHA256    string    `json:"sha256"`
	KeyType   string    `json:"key_type"`
	SignedBy  string    `json:"signed_by"` // path of the CA; "" for one that omca does not know
	Pending   []string  `json:"pending"`   // what an import still lacks

	RevokedAt time.Time `json:"revoked_at,omitzero"`
	Reason    string    `json:"reason,omitempty"` // of the revocation

	Certificate      string `json:"certificate"`
	CertificateChain string `json:"certificate_chain"`
}

// Certificate returns the state of the certificate of an object.
func (c *Client) Certificate(ctx context.Context, p Path) (CertificateState, error) {
	return call[CertificateState](ctx, c, request{method: http.MethodGet, path: p.url("/certificate")}, nil)
}

// Issued is a certificate that an object just got.
type Issued struct {
	Path             string    `json:"path"`
	Serial           string    `json:"serial"`
	NotBefore        time.Time `json:"not_before,omitzero"`
	NotAfter         time.Time `json:"not_after,omitzero"`
	Certificate      string    `json:"certificate"`
	CertificateChain string    `json:"certificate_chain"`
}

// Renewal says what a new certificate may replace.
type Renewal struct {
	Rekey           bool `json:"rekey"`            // the private key too
	ReplaceExternal bool `json:"replace_external"` // a valid certificate of a CA outside; refused with 409 otherwise
	Revoke          bool `json:"revoke,omitempty"` // what is replaced is revoked, once the new one is there
}

// CreateCertificate gives the object a certificate, keeping its key when it has one. Renewal.Rekey is not looked at.
func (c *Client) CreateCertificate(ctx context.Context, p Path, r Renewal) (Issued, error) {
	type creation struct {
		ReplaceExternal bool `json:"replace_external"`
		Revoke          bool `json:"revoke,omitempty"`
	}
	return call[Issued](ctx, c, request{method: http.MethodPost, path: p.url("/certificate")}, asJSON(creation{r.ReplaceExternal, r.Revoke}))
}

// RenewCertificate gives the object a new certificate in place of the one that it has.
func (c *Client) RenewCertificate(ctx context.Context, p Path, r Renewal) (Issued, error) {
	return call[Issued](ctx, c, request{method: http.MethodPost, path: p.url("/certificate/renew")}, asJSON(r))
}

// SigningRequest returns the PKCS#10 request of the object, PEM, making the key when there is none.
func (c *Client) SigningRequest(ctx context.Context, p Path) ([]byte, error) {
	return c.send(ctx, request{method: http.MethodPost, path: p.url("/certificate/signing-request")})
}

// PKCS12 says how a PKCS#12 file is to be made.
type PKCS12 struct {
	Password string `json:"password"`
	Format   string `json:"format"` // modern or legacy
}

// PKCS12 returns key, certificate and chain of the object as one PKCS#12 file, DER.
func (c *Client) PKCS12(ctx context.Context, p Path, how PKCS12) ([]byte, error) {
	body, err := asJSON(how).MarshalJSON()
	if err != nil {
		return nil, err
	}
	return c.send(ctx, request{method: http.MethodPost, path: p.url("/certificate/pkcs12"), contentType: "application/json", body: body})
}

// Record is one certificate of the inventory.
type Record struct {
	Serial     string    `json:"serial"`
	Issuer     string    `json:"issuer"` // the CN
	IssuerPath string    `json:"issuer_path"`
	Subject    string    `json:"subject"`
	Names      []string  `json:"names"`
	Owner      string    `json:"owner"` // path of the object that it is for; "ux:root" for the machine's root
	Profile    string    `json:"profile"`
	NotBefore  time.Time `json:"not_before,omitzero"`
	NotAfter   time.Time `json:"not_after,omitzero"`
	State      string    `json:"state"` // valid, not_yet_valid, expired or revoked
	SHA256     string    `json:"sha256"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
	Reason     string    `json:"reason,omitempty"` // of the revocation

	Certificate string `json:"certificate,omitempty"` // PEM; only of [Client.CertificateBySerial]
}

// CertificateBySerial returns one certificate of the inventory, with its PEM.
func (c *Client) CertificateBySerial(ctx context.Context, serial string) (Record, error) {
	return call[Record](ctx, c, request{method: http.MethodGet, path: "/api/certificate/" + serial}, nil)
}

// Filter selects certificates of the inventory. Empty fields select all.
type Filter struct {
	Expiring string // only those that expire within this duration: 30d
	Owner    string // path
	Issuer   string // path
	Profile  string
	Revoked  string // "true": only those that are revoked; "false": only the others
}

// Certificates returns the certificates of the inventory, first to expire first, asking for page after page.
// The sequence ends after the first error.
func (c *Client) Certificates(ctx context.Context, f Filter) iter.Seq2[Record, error] {
	type page struct {
		Items []Record `json:"items"`
		Next  string   `json:"next"`
	}
	query := url.Values{}
	for name, value := range map[string]string{"expiring": f.Expiring, "owner": f.Owner, "issuer": f.Issuer, "profile": f.Profile, "revoked": f.Revoked} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return func(yield func(Record, error) bool) {
		for {
			p, err := call[page](ctx, c, request{method: http.MethodGet, path: "/api/certificate", query: query}, nil)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, record := range p.Items {
				if !yield(record, nil) {
					return
				}
			}
			if p.Next == "" || p.Next == query.Get("after") {
				return
			}
			query.Set("after", p.Next)
		}
	}
}

// SignRequest asks for the signature of a request made elsewhere. Empty fields take the server's defaults.
type SignRequest struct {
	CSR      string `json:"csr"`                // PEM
	Profile  string `json:"profile,omitempty"`  // usr, node or listener
	Validity string `json:"validity,omitempty"` // 24h, 30d
	Owner    string `json:"owner,omitempty"`    // path of the object that it is for
}

// Signed is what was signed.
type Signed struct {
	Serial           string    `json:"serial"`
	NotAfter         time.Time `json:"not_after,omitzero"`
	Certificate      string    `json:"certificate"`
	CertificateChain string    `json:"certificate_chain"` // leaf first
}

// Sign signs a request.
func (c *Client) Sign(ctx context.Context, r SignRequest) (Signed, error) {
	return call[Signed](ctx, c, request{method: http.MethodPost, path: "/api/certificate"}, asJSON(r))
}
