package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"iter"
	"time"

	"omca/pki"
	"omca/usr"
)

// A Holder is an object that owns a certificate: what its keywords ask for,
// and what its keys hold.
type Holder struct {
	Path     string // "system/usr/alice"
	Kind     string // "sec" or "usr"
	Name     string // the last part of Path
	Revision int64  // of the object, for Change; it moves with every change of keyword or key
	Created  time.Time

	Profile     string // "ca", "listener", "usr", "node" or "ocsp"
	Subject     pki.Subject
	Names       pki.Names
	Validity    time.Duration // 0: the profile's default
	ValiditySet bool          // a keyword says it
	KeyType     pki.KeyType
	IssuerPath  string // object that signs; "" means the cluster's CA

	AllowNames, DenyNames []string      // for a CA: the names it may sign
	MayAsk                []string      // for a user: the names it may ask for
	Disabled              bool          // for a user
	MaxValidity           time.Duration // of the certificates that a user asks for; 0 is no bound of its own

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
	Owner       string // path of the object, or of the user, that it was issued for; OwnerRoot for the machine's root
	Profile     string
	By          string // the caller who asked, as usr.Caller.By says
	IssuedAt    time.Time

	// OwnerSince is when the object of the owner was made. It is zero when there was
	// none, and in the records of builds that did not keep it.
	OwnerSince time.Time

	// Again: it renewed a living certificate of the owner, and cluster.max_certificates
	// does not count it.
	Again bool

	// Authority is the identity of the CA that signed; zero in a record that a build
	// wrote which did not keep it: see [Authority.AuthorityOf].
	Authority pki.AuthorityID

	// Signer is the subject key identifier, hexadecimal, of the CA that signed, in such
	// a record of a certificate that was adopted and does not say so itself; else "".
	Signer string
}

// BelongsTo reports whether the certificate was issued for the object at Owner that
// was made at that time, and not for an earlier one of the same path. A record that
// does not say so goes by the time when it was issued.
func (r Record) BelongsTo(made time.Time) bool {
	if !r.OwnerSince.IsZero() {
		return r.OwnerSince.Equal(made)
	}
	return !r.IssuedAt.Before(made)
}

// Is reports whether cert is the certificate of the record: what was signed counts,
// and not the octets of the signature, since an ECDSA signature has a twin that is as
// good (r, n-s).
func (r Record) Is(cert *x509.Certificate) bool {
	return bytes.Equal(r.Certificate.RawTBSCertificate, cert.RawTBSCertificate)
}

// whose is the part of a record that says whose the certificate is.
func (r Record) whose() Record {
	return Record{Owner: r.Owner, OwnerSince: r.OwnerSince, IssuedAt: r.IssuedAt}
}

// Serial returns the serial number of the certificate.
func (r Record) Serial() pki.Serial { return pki.SerialOf(r.Certificate) }

// keyID is what the record says of the key that signed: the authority key
// identifier of the certificate, or what was noted beside it. It proves nothing.
func (r Record) keyID() string {
	if len(r.Certificate.AuthorityKeyId) > 0 {
		return hex.EncodeToString(r.Certificate.AuthorityKeyId)
	}
	return r.Signer
}

// KeyState says where the private key of a CA on record is.
type KeyState string

// The states of a key.
const (
	KeyElsewhere KeyState = ""          // it never was here, or is lost
	KeyHere      KeyState = "here"      // sealed, for as long as anything that it signed may be asked about
	KeyDestroyed KeyState = "destroyed" // root had it destroyed
)

// An AuthorityRecord is a CA whose certificate was known here: what is signed, and
// not what is held, decides about it. It outlives the object that held it.
type AuthorityRecord struct {
	ID      pki.AuthorityID
	Path    string              // of the object that held it last
	Chain   []*x509.Certificate // its newest certificate first, then those above it
	KeyMade bool                // its key was generated here, so all that it signed is in the inventory
	Key     KeyState

	// Lives is when the last certificate ends that it signed and that is not in the
	// inventory: one that was issued after a backup. Its list is needed until then. Zero
	// for none.
	Lives time.Time
}

// A Change is what one commit makes durable: all of it or nothing.
type Change struct {
	Records []Record // their serials must be unused

	Path     string // the object that changes; "" when only records are added
	Revision int64  // that the object must still have
	Put      map[string][]byte
	Remove   []string
	KeyMade  bool // the private_key in Put was generated here

	// Authority is the CA that the object becomes, with its private key, PEM: they are
	// recorded too. Nil and nil for none.
	Authority    *AuthorityRecord
	AuthorityKey []byte

	// Keys are those that the Records certify: none of them may be blocked.
	Keys []pki.KeyHash

	Expect []ObjectRevision // other objects that it was decided on; ErrConflict when one has moved on
}

// An ObjectRevision is an object at a revision.
type ObjectRevision struct {
	Path     string
	Revision int64 // 0: there is no such object
}

// A Query selects records. Its zero value selects all of them.
type Query struct {
	Key *x509.Certificate // of certificates over the key of this one, by a look at each; nil for any key

	Owner         string
	Issuer        string
	Profile       string
	ExpiresAfter  time.Time // zero: no bound, like the next
	ExpiresBefore time.Time
	After         string // a cursor: only records behind the one it names
}

// Selects reports whether a record is one of those that the query selects. It ignores Key and After.
func (q Query) Selects(r Record) bool {
	end := r.Certificate.NotAfter.Truncate(time.Second)
	return (q.Owner == "" || q.Owner == r.Owner) && (q.Issuer == "" || q.Issuer == r.Issuer) &&
		(q.Profile == "" || q.Profile == r.Profile) &&
		(q.ExpiresAfter.IsZero() || end.After(q.ExpiresAfter.Truncate(time.Second))) &&
		(q.ExpiresBefore.IsZero() || end.Before(q.ExpiresBefore.Truncate(time.Second)))
}

// Cluster is what the authority needs to know about the cluster.
type Cluster struct {
	Name    string   // trust domain of the SPIFFE IDs
	Trusted []string // paths of the additional CAs for client certificates
	Bounds  Bounds
	BaseURL string // where anybody finds lists and OCSP, "http://pki.mycorp:8080"; "" for nowhere
}

// Store remembers objects and certificates for the authority.
//
// Any method may be called at once from many goroutines. Errors wrap
// ErrNotFound, ErrConflict or ErrInvalid where these fit; any other error
// means that the store could not do its work and that nothing changed.
type Store interface {
	// Holder reads the object at path, or ErrNotFound.
	Holder(ctx context.Context, path string) (Holder, error)

	// Created returns when the object at path was made, or ErrNotFound.
	Created(ctx context.Context, path string) (time.Time, error)

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

	// IssuedBy returns when the certificates were issued that a caller asked for since
	// then, as Record.By calls it, without those that are [Record].Again. It reads
	// the records of that time alone.
	IssuedBy(ctx context.Context, by string, since time.Time) ([]time.Time, error)

	// Authorities lists the CAs on record.
	Authorities(ctx context.Context) ([]AuthorityRecord, error)

	// AuthorityKey reads the private key, PEM, of a CA on record whose key is here;
	// ErrNotFound otherwise.
	AuthorityKey(ctx context.Context, id pki.AuthorityID) ([]byte, error)

	// RecordAuthority puts a CA on record that some object holds, with its key, or
	// nil. What is on record of it already is kept as far as a says nothing else.
	RecordAuthority(ctx context.Context, a AuthorityRecord, key []byte) error

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

// OwnerRoot owns what is issued for the machine's root, which has no object. The
// user system/usr/root is another owner.
const OwnerRoot = usr.MachineRoot

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
