package crl

import (
	"fmt"
	"iter"
	"math/big"
	"time"
)

// Limits bound what Parse reads. A list beyond one is refused before anything
// of that size is allocated.
type Limits struct {
	Bytes          int // of the whole list
	Entries        int
	Extensions     int // octets of all extensions of the list
	EntryExtension int // octets of all extensions of one entry
}

// DefaultLimits returns limits that real lists keep: 256 MB, five million
// entries, 64 kB of extensions, 4 kB of extensions to an entry. Reading a list
// takes 40 octets an entry beside the DER itself.
func DefaultLimits() Limits {
	return Limits{Bytes: 256 << 20, Entries: 5_000_000, Extensions: 64 << 10, EntryExtension: 4 << 10}
}

// Header is what a list says about itself. Its slices must not be written to.
type Header struct {
	RawIssuer      []byte    // Name, DER
	AuthorityKeyID []byte    // nil if absent
	Number         *big.Int  // nil if absent
	BaseNumber     *big.Int  // of a delta list; nil for a complete one (RFC 5280, 5.2.4)
	ThisUpdate     time.Time // UTC
	NextUpdate     time.Time // UTC; zero if absent, and then the list acquits nobody
	Scope          Scope
	Freshest       []string // URLs of delta lists (RFC 5280, 5.2.6)

	// UnknownCritical names the first critical extension, of the list or of an
	// entry, that this package does not know; "" for none. Such a list acquits
	// nobody (RFC 5280, 5.2 and 5.3).
	UnknownCritical string

	foreign bool // an entry names another issuer, without the list saying that it is indirect
}

// A List is a revocation list that was read. Nothing in it may be believed
// before [List.Verify]. It is immutable.
type List struct {
	Header
	entries table
	because [AACompromise + 1]string // why it convicts, for each reason; of a Verified list

	tbs, signature []byte // alias what was parsed
	algorithm      []byte // AlgorithmIdentifier, DER
}

// Len returns the number of entries.
func (l *List) Len() int { return len(l.entries.records) }

// Entries returns the entries in the order of the list.
func (l *List) Entries() iter.Seq[Entry] { return l.entries.all() }

// Delta reports whether l says only what changed since another list.
func (h *Header) Delta() bool { return h.BaseNumber != nil }

// String describes a list in a few words, such as "delta list 7 (2026-06-01T12:00:00Z)".
func (h *Header) String() string {
	kind := "list"
	if h.Delta() {
		kind = "delta list"
	}
	if h.Number == nil {
		return fmt.Sprintf("%s (%s)", kind, stamp(h.ThisUpdate))
	}
	return fmt.Sprintf("%s %s (%s)", kind, h.Number, stamp(h.ThisUpdate))
}

// unusable says why a list cannot acquit anybody at a time; "" if it can.
func (h *Header) unusable(at time.Time) string {
	switch {
	case h.UnknownCritical != "":
		return fmt.Sprintf("%s has an unknown critical extension, %s", h, h.UnknownCritical)
	case h.foreign:
		return fmt.Sprintf("%s has entries of other issuers", h)
	case h.future(at):
		return fmt.Sprintf("%s is not valid yet at %s", h, stamp(at))
	case h.NextUpdate.IsZero():
		return fmt.Sprintf("%s has no nextUpdate", h)
	case at.After(h.NextUpdate):
		return fmt.Sprintf("%s was to be followed by another at %s", h, stamp(h.NextUpdate))
	}
	return ""
}

func (h *Header) future(at time.Time) bool { return h.ThisUpdate.After(at) }

// compare orders two lists of one issuer and scope: by number, which never falls
// (RFC 5280, 5.2.3), else by date.
func (h *Header) compare(other *Header) int {
	if h.Number != nil && other.Number != nil {
		if c := h.Number.Cmp(other.Number); c != 0 {
			return c
		}
	}
	return h.ThisUpdate.Compare(other.ThisUpdate)
}
