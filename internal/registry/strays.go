package registry

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"omca/ca"
	"omca/internal/object"
	"omca/internal/store"
	"omca/pki"
)

// A stray is the record of a certificate that speaks for a user and that an older
// build recorded for another owner, as root had asked. The index by owner does not
// lead there. No stray is made any more, so that those of a store are few.

// strays are the strays of the store, by user. They are looked for when they are
// first asked for, and followed from then on: in a store that is shared a node of an
// older build may make more.
type strays struct {
	looking sync.Mutex // held while the inventory is read

	mu      sync.Mutex
	cluster string                             // name of the cluster, which is in every mark
	of      map[string]map[pki.Serial]struct{} // nil: nothing was looked for yet
	whole   bool                               // of has all of the store
}

// begin empties what is known, and has strayChanged take notice from now on. It
// reports whether the inventory is to be read.
func (s *strays) begin(cluster string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.whole {
		return false
	}
	s.cluster, s.of, s.whole = cluster, make(map[string]map[pki.Serial]struct{}), true // unless it is lost meanwhile
	return true
}

// lost has the inventory read again when the next one asks.
func (s *strays) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = false
}

func (s *strays) add(user string, serial pki.Serial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[user] == nil {
		s.of[user] = make(map[pki.Serial]struct{})
	}
	s.of[user][serial] = struct{}{}
}

// known returns the serial numbers of a user's strays.
func (s *strays) known(user string) []pki.Serial {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.of[user]))
}

// follows names the cluster of the strays; ok is false before any were looked for.
func (s *strays) follows() (cluster string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster, s.of != nil
}

// Strays returns the serial numbers of the certificates that speak for the user and
// are on record for another owner, expired ones too. The first call reads the whole
// inventory (docs/performance.md says what that costs), the others nothing.
func (s *Store) Strays(ctx context.Context, user string) ([]pki.Serial, error) {
	if s.shared { // what other nodes have recorded by now is noted
		rev, err := s.db.Rev(ctx)
		if err == nil {
			err = s.revoked.wait(ctx, rev)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := s.findStrays(ctx); err != nil {
		return nil, err
	}
	return s.strays.known(user), nil
}

// findStrays reads the inventory for strays, unless that was done.
func (s *Store) findStrays(ctx context.Context) error {
	cluster, err := s.Cluster(ctx)
	if err != nil {
		return err
	}
	s.strays.looking.Lock()
	defer s.strays.looking.Unlock()
	if !s.strays.begin(cluster.Name) {
		return nil
	}
	err = s.readStrays(ctx, cluster.Name)
	if err != nil {
		s.strays.lost()
	}
	return err
}

func (s *Store) readStrays(ctx context.Context, cluster string) error {
	for e, err := range entries(ctx, s.db, prefixCert) {
		if err != nil {
			return err
		}
		if err := s.noteStray(e.Value, cluster); err != nil {
			return err
		}
	}
	return nil
}

// strayChanged takes notice of a new record. A record that cannot be read has
// the next call of Strays read the inventory again, which reports it.
func (s *Store) strayChanged(e store.Event) {
	cluster, ok := s.strays.follows()
	if !ok || e.Deleted || !strings.HasPrefix(e.Key, prefixCert) {
		return
	}
	if s.noteStray(e.Value, cluster) != nil {
		s.strays.lost()
	}
}

// noteStray notes the record when it is a stray. Nearly every certificate of a user
// is on record for that user, and its octets tell: to parse it takes ten times as
// long.
func (s *Store) noteStray(value []byte, cluster string) error {
	h, der, err := decodeRecordHead(value)
	if err != nil {
		return err
	}
	if h.Profile != ca.ProfileUser || bytes.Contains(der, markOf(cluster, h.Owner)) {
		return nil
	}
	r, err := h.with(der)
	if err != nil {
		return err
	}
	if user, speaks := r.SpeaksFor(cluster); speaks && r.Owner != object.NamespaceSystem+"/"+string(object.KindUsr)+"/"+user {
		s.strays.add(user, r.Serial())
	}
	return nil
}

// markOf is the SPIFFE ID of the user at a path, as a certificate has it: a
// GeneralName of type uniformResourceIdentifier (RFC 5280, 4.2.1.6) in DER. The
// length is in front, so that the mark of one user is not the beginning of another's.
func markOf(cluster, owner string) []byte {
	const uniformResourceIdentifier, oneOctet = 0x80 | 6, 0x80 | 1
	id := "spiffe://" + cluster + "/" + strings.TrimPrefix(owner, object.NamespaceSystem+"/")
	mark := []byte{uniformResourceIdentifier}
	if len(id) >= 0x80 { // X.690, 8.1.3.5; an ID is shorter than 256 octets, as cluster and path are
		mark = append(mark, oneOctet)
	}
	return append(append(mark, byte(len(id))), id...)
}
