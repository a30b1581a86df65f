package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"iter"
	"time"

	"omca/pki"
)

// A Holder is an object that owns a certificate: what its keywords ask for,
// and what its keys hold.
type Holder struct {
	Path     string // "system/usr/alice"
	Kind     string // "sec" or "usr"
	Name     string // the last part of Path
	Revision int64  // of the object, for Change; it moves with every change of keyword or key
	Created  time.Time

	Profile    string // "ca", "listener", "usr", "node" or "ocsp"
	Subject    pki.Subject
	Names      pki.Names
	Validity   time.Duration // 0: the profile's default
	KeyType    pki.KeyType
	IssuerPath string // object that signs; "" means the cluster's CA

	AllowNames, DenyNames []string // for a CA: the names it may sign
	MayAsk                []string // for a user: the names it may ask for
	Disabled              bool     // for a user

	PrivateKey  []byte // PEM; nil when absent, like the next two
	Certificate []byte
	Chain       []byte // leaf first
	KeyMade     bool   // the private key was generated here, so all it signed is in the inventory

	Pending map[string][]byte // imported values that do not form a complete set yet, by key name
	Former  map[int][]byte    // of a CA: the sets that it had before, by number
}

// A Record is what the inventory keeps of one certificate.
type Record struct {
	Certificate *x509.Certificate
	Issuer      string // path of the CA object that signed
	Owner       string // path of the object, or of the user, that it was issued for
	Profile     string
	By          string // name of the caller who asked
	IssuedAt    time.Time

	// Signer names the key that signed, as KeyID does, for a certificate that does
	// not say so itself: one that was adopted. "" for any other.
	Signer string
}

// Serial returns the serial number of the certificate.
func (r Record) Serial() pki.Serial { return pki.SerialOf(r.Certificate) }

// KeyID names the key that signed the certificate: the subject key identifier of
// its CA, hexadecimal.
func (r Record) KeyID() string {
	if len(r.Certificate.AuthorityKeyId) > 0 {
		return keyIDOf(r.Certificate)
	}
	return r.Signer
}

// A Change is what one commit makes durable: all of it or nothing.
type Change struct {
	Records []Record // their serials must be unused

	Path     string // the object that changes; "" when only records are added
	Revision int64  // that the object must still have
	Put      map[string][]byte
	Remove   []string
	KeyMade  bool // the private_key in Put was generated here

	Expect []ObjectRevision // other objects that it was decided on; ErrConflict when one has moved on
}

// An ObjectRevision is an object at a revision.
type ObjectRevision struct {
	Path     string
	Revision int64 // 0: there is no such object
}

// A Query selects records. Its zero value selects all of them.
type Query struct {
	Owner         string
	Issuer        string
	Profile       string
	ExpiresAfter  time.Time // zero: no bound, like the next
	ExpiresBefore time.Time
	After         string // a cursor: only records behind the one it names
}

// Cluster is what the authority needs to know about the cluster.
type Cluster struct {
	Name    string   // trust domain of the SPIFFE IDs
	Trusted []string // paths of the additional CAs for client certificates
	BaseURL string   // where anybody finds lists and OCSP, "http://pki.mycorp:8080"; "" for nowhere
}

// Store remembers objects and certificates for the authority.
//
// Any method may be called at once from many goroutines. Errors wrap
// ErrNotFound, ErrConflict or ErrInvalid where these fit; any other error
// means that the store could not do its work and that nothing changed.
type Store interface {
	// Holder reads the object at path, or ErrNotFound.
	Holder(ctx context.Context, path string) (Holder, error)

	// Holders lists the paths of the objects of kind sec that hold a certificate.
	Holders(ctx context.Context) ([]string, error)

	// Commit makes the change durable before it returns. ErrConflict when a
	// serial is in use or the object has moved on. It is ErrOvertaken when ctx has a
	// decision, and an object that the decision was made on has moved on. Nothing was
	// written then.
	// What the change makes visible (the listener's certificate, the trust) is
	// visible to everyone in this process when Commit returns.
	Commit(ctx context.Context, c Change) error

	// Record reads one certificate, or ErrNotFound.
	Record(ctx context.Context, serial pki.Serial) (Record, error)

	// Records yields the selected records by time of expiry, soonest first,
	// each with the cursor that continues behind it.
	Records(ctx context.Context, q Query) iter.Seq2[Listed, error]

	// Cluster reads the cluster's facts.
	Cluster(ctx context.Context) (Cluster, error)

	Revocations
}

// Listed is a record in a list.
type Listed struct {
	Record
	Cursor string
}

// Names of the keys that make up a certificate set.
const (
	KeyPrivate     = "private_key"
	KeyCertificate = "certificate"
	KeyChain       = "certificate_chain"
	KeySerial      = "serial_number"
	KeyRequest     = "certificate_signing_request" // computed
	KeyFullPEM     = "fullpem"                     // computed
)

// Profiles, as the keyword profile spells them.
const (
	ProfileCA       = "ca"
	ProfileListener = "listener"
	ProfileUser     = "usr"
	ProfileNode     = "node"
	ProfileOCSP     = "ocsp"
)

// Paths of the built-in objects.
const (
	PathCA       = "system/sec/ca"
	PathListener = "system/sec/cert"
	PathOCSP     = "system/sec/ocsp"
	userPrefix   = "system/usr/"
)

// set is a parsed certificate set: the chain, leaf first, and its key.
type set struct {
	chain []*x509.Certificate
	key   crypto.Signer
}
