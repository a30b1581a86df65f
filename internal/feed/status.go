package feed

import (
	"crypto/x509"
	"slices"
	"time"

	"omca/crl"
)

// State of a list, or of a source without one.
type State string

const (
	Fresh State = "fresh" // current
	// Partial: current, but another list of the source cannot be used, and may speak for a trusted CA that has none.
	Partial State = "partial"
	Stale   State = "stale" // past its nextUpdate, or without one: it convicts, and acquits no certificate
	Never   State = "never" // nothing came yet
	Error   State = "error" // nothing ever came, and the last attempt failed
)

// Status is what is known of one list, or of a source that gave none yet.
type Status struct {
	Source     string // without userinfo
	Freshest   bool   // no operator wrote it: it is where a list says that its delta list is, and without it that list counts as it is
	State      State
	Issuer     string // name of the CA, "" without a list; so are all up to Delta
	Number     string // decimal; "" if the list has none
	ThisUpdate time.Time
	NextUpdate time.Time // zero if the list has none
	Entries    int
	Delta      bool // it says only what changed since another list

	FetchedAt time.Time // when the source gave, or confirmed, its lists last; zero for never
	NextTry   time.Time // zero for at once; changes of files and secs are seen before
	LastError string    // of the last attempt, or what is wrong with what came; "" if nothing

	// Undetermined are the trusted CAs for which the source may have a list that is not in force, and which no other list speaks for.
	Undetermined []*x509.Certificate
}

// Status returns what is held, in the order of the sources and of the lists in each.
func (f *Feeds) Status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	var all []Status
	for _, s := range slices.Concat(f.sources, f.deltas) {
		common := Status{Source: s.shown, Freshest: s.freshest, State: f.state(s, now), FetchedAt: s.fetched, NextTry: s.due, Undetermined: f.undeterminedBy(s)}
		if s.again {
			common.NextTry = time.Time{}
		}
		if err := f.trouble(s); err != nil {
			common.LastError = err.Error()
		}
		if len(s.lists) == 0 {
			all = append(all, common)
		}
		for _, v := range s.lists {
			all = append(all, common.of(v, now))
		}
	}
	return all
}

// of fills in what a list says.
func (st Status) of(v *crl.Verified, now time.Time) Status {
	h := v.Header()
	switch {
	case lapsed(v, now):
		st.State = Stale
	case st.State == Stale:
		st.State = Fresh // another list of the source lapsed
		if len(st.Undetermined) > 0 {
			st.State = Partial
		}
	}
	st.Issuer, st.ThisUpdate, st.NextUpdate, st.Entries, st.Delta = v.Signer().Subject.String(), h.ThisUpdate, h.NextUpdate, v.Len(), h.Delta()
	if h.Number != nil {
		st.Number = h.Number.String()
	}
	return st
}

// state returns the worst of the lists of s. It wants mu.
func (f *Feeds) state(s *source, now time.Time) State {
	switch {
	case len(s.lists) > 0 && !s.current(now):
		return Stale
	case len(s.lists) > 0 && len(f.undeterminedBy(s)) > 0:
		return Partial
	case len(s.lists) > 0:
		return Fresh
	case s.err != nil:
		return Error
	}
	return Never
}

// current reports whether s has lists, and none of them lapsed.
func (s *source) current(now time.Time) bool {
	return len(s.lists) > 0 && !slices.ContainsFunc(s.lists, func(v *crl.Verified) bool { return lapsed(v, now) })
}

// nextUpdate returns when the first of the lists lapses.
func (s *source) nextUpdate() time.Time {
	first := slices.MinFunc(s.lists, func(a, b *crl.Verified) int { return a.Header().NextUpdate.Compare(b.Header().NextUpdate) })
	return first.Header().NextUpdate
}
