package crl

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"omca/pki"
)

// A Revocation is an Entry of a certificate of ours, of which the end is known.
type Revocation struct {
	Entry
	NotAfter time.Time // of the certificate
}

// BuilderConfig says whose lists a Builder makes.
type BuilderConfig struct {
	Issuer *x509.Certificate // a CA that may sign lists
	Key    crypto.Signer     // its key

	// DistributionPoint is the URI that the list is a partition for: it then speaks
	// only for certificates that have this very URI among their distribution
	// points. Leave it empty for a list of all that the issuer revoked.
	DistributionPoint string

	// Number and ThisUpdate are those of the last list that was published, zero if
	// none was. Numbers continue from there, and certificates that had expired by
	// then are left out of the next list.
	Number     *big.Int
	ThisUpdate time.Time
}

// A Builder makes the complete lists of one issuer, one after the other. Only one
// goroutine at a time may use it. It keeps 20 octets an entry beside the DER.
//
// What was added stays: each list is made of all of it, with what its dates leave
// out. So a list that was made by a clock that was ahead takes nothing away from the
// lists that come after it, and a list of one number has one content.
type Builder struct {
	issuer    *x509.Certificate
	key       crypto.Signer
	algorithm algorithm
	keyID     []byte // as it stands in the issuer's certificate
	scope     []byte // value of the issuingDistributionPoint extension; nil for none
	entries   *packed

	number *big.Int
	last   time.Time
}

// NewBuilder returns a builder with no entries. Errors: pki.ErrInvalid.
func NewBuilder(c BuilderConfig) (*Builder, error) {
	if !pki.SameKey(c.Issuer.PublicKey, c.Key.Public()) {
		return nil, fmt.Errorf("%w: the certificate of %q holds another key (%s) than the private key (%s)",
			pki.ErrInvalid, c.Issuer.Subject, pki.DescribeKey(c.Issuer.PublicKey), pki.DescribeKey(c.Key.Public()))
	}
	if c.Issuer.KeyUsage != 0 && c.Issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return nil, fmt.Errorf("%w: %q may not sign revocation lists: it lacks the key usage cRLSign", pki.ErrInvalid, c.Issuer.Subject)
	}
	algorithm, err := signingAlgorithm(c.Key.Public())
	if err != nil {
		return nil, err
	}
	keyID := c.Issuer.SubjectKeyId
	if len(keyID) == 0 {
		if keyID, err = pki.SubjectKeyID(c.Key.Public()); err != nil {
			return nil, err
		}
	}
	b := &Builder{issuer: c.Issuer, key: c.Key, algorithm: algorithm, keyID: keyID, entries: new(packed), number: new(big.Int), last: c.ThisUpdate}
	if c.Number != nil {
		b.number.Set(c.Number)
	}
	if c.DistributionPoint != "" {
		if b.scope, err = encodeScope(c.DistributionPoint); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Len returns the number of entries that were added.
func (b *Builder) Len() int { return b.entries.len() }

// Add puts revocations on the lists to come. One whose serial number is there
// already changes nothing. It copies all entries once, however many are added.
// Errors: pki.ErrInvalid, and then none was added.
func (b *Builder) Add(list ...Revocation) error {
	more, err := pack(list)
	if err != nil {
		return err
	}
	merged, err := b.entries.merged(more)
	if err != nil {
		return err
	}
	b.entries = merged
	return nil
}

// A Published list is one that was built, signed, read back and verified. Its entries
// are in the DER alone.
type Published struct {
	DER     []byte
	Header  *Header
	Signer  *x509.Certificate
	Entries int
}

// Read returns the list as a Set takes it.
func (p *Published) Read() (*Verified, error) {
	list, err := Parse(p.DER, Limits{Bytes: len(p.DER), Entries: p.Entries, Extensions: len(p.DER), EntryExtension: 32})
	if err != nil {
		return nil, err
	}
	return list.Verify(p.Signer)
}

// PEM returns the list as an X509 CRL block.
func (p *Published) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: p.DER})
}

// ETag returns an HTTP entity tag of DER, quotes included.
func (p *Published) ETag() string { return fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(p.DER))) }

// Next returns the number that the next list may have at least.
func (b *Builder) Next() *big.Int { return new(big.Int).Add(b.number, big.NewInt(1)) }

// Follow says when the list before the next one was made, where others than the
// builder make lists of the issuer.
func (b *Builder) Follow(last time.Time) { b.last = last }

// Build signs a list with a number above that of the last one, to be followed by
// another before nextUpdate. Times are cut to the second. Entries of certificates
// that had expired when the last list was made are left out: RFC 5280, 3.3 keeps an
// entry until it was on one list issued after the end of its certificate. The
// earlier of the two lists counts, for the clock of one of them may have been ahead.
// No entry is dated after thisUpdate. Keys in this process sign one list always
// alike (RFC 6979). Errors: pki.ErrInvalid; otherwise the failure of the key.
func (b *Builder) Build(number *big.Int, thisUpdate, nextUpdate time.Time) (*Published, error) {
	thisUpdate, nextUpdate = thisUpdate.UTC().Truncate(time.Second), nextUpdate.UTC().Truncate(time.Second)
	if number.Cmp(b.number) <= 0 || number.BitLen() > 8*20-1 {
		return nil, fmt.Errorf("%w: number %s of a list that follows number %s", pki.ErrInvalid, number, b.number)
	}
	if !nextUpdate.After(thisUpdate) {
		return nil, fmt.Errorf("%w: a list of %s that is to be followed at %s",
			pki.ErrInvalid, stamp(thisUpdate), stamp(nextUpdate))
	}
	entries, err := b.due(thisUpdate)
	if err != nil {
		return nil, err
	}
	tbs, err := b.encodeTBS(entries, number, thisUpdate, nextUpdate)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", pki.ErrInvalid, err)
	}
	signature, err := b.algorithm.signAlike(b.key, tbs)
	if err != nil {
		return nil, fmt.Errorf("signing list %s: %w", number, err)
	}
	der, err := assemble(tbs, b.algorithm, signature, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", pki.ErrInvalid, err)
	}
	verified, err := b.readBack(der, entries.len(), number)
	if err != nil {
		return nil, fmt.Errorf("reading back list %s: %w", number, err)
	}
	b.last = thisUpdate
	b.number.Set(number)
	return &Published{DER: der, Header: verified.Header(), Signer: b.issuer, Entries: entries.len()}, nil
}

// due returns the entries that a list of a time has.
func (b *Builder) due(thisUpdate time.Time) (*packed, error) {
	entries := b.entries
	if !b.last.IsZero() {
		last := b.last
		if thisUpdate.Before(last) {
			last = thisUpdate
		}
		entries = entries.without(last)
	}
	return entries.dated(thisUpdate)
}

// readBack parses and verifies a list as others will, and holds it against what
// it was to say.
func (b *Builder) readBack(der []byte, count int, number *big.Int) (*Verified, error) {
	list, err := Parse(der, Limits{Bytes: len(der), Entries: count, Extensions: len(der), EntryExtension: 32})
	if err != nil {
		return nil, err
	}
	if list.Len() != count || list.Number.Cmp(number) != 0 || list.UnknownCritical != "" || list.Scope.raw != string(b.scope) {
		return nil, errors.New("it does not say what it was to say")
	}
	return list.Verify(b.issuer)
}

// encodeTBS returns a TBSCertList (RFC 5280, 5.1.2), DER.
func (b *Builder) encodeTBS(entries *packed, number *big.Int, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	out := cryptobyte.NewBuilder(make([]byte, 0, len(entries.der)+len(b.issuer.RawSubject)+len(b.scope)+512))
	out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
		out.AddASN1Int64(1) // version 2
		out.AddBytes([]byte(b.algorithm.der))
		out.AddBytes(b.issuer.RawSubject)
		addTime(out, thisUpdate)
		addTime(out, nextUpdate)
		// RFC 5280, 5.1.2.6: no entries, no list of them.
		if entries.len() > 0 {
			out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) { out.AddBytes(entries.der) })
		}
		out.AddASN1(tag0|constructed, func(out *cryptobyte.Builder) {
			out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) { b.addExtensions(out, number) })
		})
	})
	return out.Bytes()
}

// addExtensions writes those that RFC 5280, 5.2 demands of every list, and the
// scope.
func (b *Builder) addExtensions(out *cryptobyte.Builder, number *big.Int) {
	addExtension(out, "\x55\x1d\x23", optional, func(out *cryptobyte.Builder) {
		out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
			out.AddASN1(tag0, func(out *cryptobyte.Builder) { out.AddBytes(b.keyID) })
		})
	})
	addExtension(out, "\x55\x1d\x14", optional, func(out *cryptobyte.Builder) { out.AddASN1BigInt(number) })
	if b.scope != nil {
		addExtension(out, "\x55\x1d\x1c", critical, func(out *cryptobyte.Builder) { out.AddBytes(b.scope) })
	}
}

// encodeScope returns an IssuingDistributionPoint with one URI.
func encodeScope(uri string) ([]byte, error) {
	if u, err := url.Parse(uri); err != nil || u.Scheme == "" || len(uri) > maxName {
		return nil, fmt.Errorf("%w: distribution point %.200q is no absolute URI", pki.ErrInvalid, uri)
	}
	for _, c := range []byte(uri) {
		if c <= ' ' || c > '~' {
			return nil, fmt.Errorf("%w: distribution point %.200q is not ASCII", pki.ErrInvalid, uri)
		}
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tag0|constructed, func(b *cryptobyte.Builder) { // distributionPoint
			b.AddASN1(tag0|constructed, func(b *cryptobyte.Builder) { // fullName
				b.AddASN1(tag6, func(b *cryptobyte.Builder) { b.AddBytes([]byte(uri)) })
			})
		})
	})
	return b.Bytes()
}

// criticality of an extension.
type criticality bool

const (
	optional criticality = false
	critical criticality = true
)

// addExtension writes an Extension; id is the content of its OID.
func addExtension(b *cryptobyte.Builder, id string, c criticality, value func(*cryptobyte.Builder)) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(id)) })
		if c {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(asn1.OCTET_STRING, value)
	})
}
