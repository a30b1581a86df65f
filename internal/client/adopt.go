package client

import (
	"context"
	"net/http"
	"time"
)

// Adoption is a cluster that lived without a daemon, all of it PEM.
type Adoption struct {
	PrivateKey  string        `json:"private_key"` // of the CA
	Certificate string        `json:"certificate"` // of the CA, a root
	Signed      []AdoptedFile `json:"signed,omitempty"`
}

// AdoptedFile is a certificate that the CA signed.
type AdoptedFile struct {
	Name        string `json:"name"` // for errors
	Certificate string `json:"certificate"`
}

// Adopted says what an adoption did.
type Adopted struct {
	Path     string   `json:"path"`
	Changed  bool     `json:"is_changed"` // the object has another CA than before
	Users    []string `json:"users"`      // paths of the objects that were made
	Recorded int      `json:"recorded"`   // certificates that are in the inventory now, and were not
	Known    int      `json:"known"`      // that were there already
	Unnamed  []string `json:"unnamed"`    // users without an object, as none can have their name
}

// Adopt makes the object at p the CA of a cluster that lived without a daemon.
func (c *Client) Adopt(ctx context.Context, p Path, a Adoption) (Adopted, error) {
	return call[Adopted](ctx, c, request{method: http.MethodPost, path: p.url("/import")}, asJSON(a))
}

// Authority is the certificate of the cluster's CA.
type Authority struct {
	Path             string    `json:"path"`
	Subject          string    `json:"subject"`
	SHA256           string    `json:"sha256"`
	NotBefore        time.Time `json:"not_before,omitzero"`
	NotAfter         time.Time `json:"not_after,omitzero"`
	CertificateChain string    `json:"certificate_chain"` // PEM, the CA's own first
}

// Authority returns the certificate of the cluster's CA.
func (c *Client) Authority(ctx context.Context) (Authority, error) {
	return call[Authority](ctx, c, request{method: http.MethodGet, path: "/api/ca"}, nil)
}
