package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"omca/internal/wire"
)

// Certificate returns the state of the certificate of an object.
func (c *Client) Certificate(ctx context.Context, p Path) (wire.CertificateState, error) {
	return call[wire.CertificateState](ctx, c, request{method: http.MethodGet, path: p.url("/certificate")}, nil)
}

// CreateCertificate gives the object a certificate, keeping its key when it has one. Renewal.Rekey is not looked at.
func (c *Client) CreateCertificate(ctx context.Context, p Path, r wire.Renewal) (wire.Issued, error) {
	return call[wire.Issued](ctx, c, request{method: http.MethodPost, path: p.url("/certificate")}, asJSON(wire.Creation{ReplaceExternal: r.ReplaceExternal, Revoke: r.Revoke}))
}

// RenewCertificate gives the object a new certificate in place of the one that it has.
func (c *Client) RenewCertificate(ctx context.Context, p Path, r wire.Renewal) (wire.Issued, error) {
	return call[wire.Issued](ctx, c, request{method: http.MethodPost, path: p.url("/certificate/renew")}, asJSON(r))
}

// SigningRequest returns the PKCS#10 request of the object, PEM, making the key when there is none.
func (c *Client) SigningRequest(ctx context.Context, p Path) ([]byte, error) {
	return c.send(ctx, request{method: http.MethodPost, path: p.url("/certificate/signing-request")})
}

// PKCS12 returns key, certificate and chain of the object as one PKCS#12 file, DER.
func (c *Client) PKCS12(ctx context.Context, p Path, how wire.PKCS12Request) ([]byte, error) {
	body, err := asJSON(how).MarshalJSON()
	if err != nil {
		return nil, err
	}
	return c.send(ctx, request{method: http.MethodPost, path: p.url("/certificate/pkcs12"), contentType: "application/json", body: body})
}

// CertificateBySerial returns one certificate of the inventory, with its PEM.
func (c *Client) CertificateBySerial(ctx context.Context, serial string) (wire.FullRecord, error) {
	return call[wire.FullRecord](ctx, c, request{method: http.MethodGet, path: "/api/certificate/" + serial}, nil)
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
func (c *Client) Certificates(ctx context.Context, f Filter) iter.Seq2[wire.Record, error] {
	query := url.Values{}
	for name, value := range map[string]string{"expiring": f.Expiring, "owner": f.Owner, "issuer": f.Issuer, "profile": f.Profile, "revoked": f.Revoked} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return func(yield func(wire.Record, error) bool) {
		for {
			p, err := call[wire.CertificateList](ctx, c, request{method: http.MethodGet, path: "/api/certificate", query: query}, nil)
			if err != nil {
				yield(wire.Record{}, err)
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

// Sign signs a request.
func (c *Client) Sign(ctx context.Context, r wire.SignRequest) (wire.Signed, error) {
	return call[wire.Signed](ctx, c, request{method: http.MethodPost, path: "/api/certificate"}, asJSON(r))
}
