package feed

import (
	"cmp"
	"slices"
	"time"

	"omca/crl"
)

// State of a list, or of a source without one.
type State string

const (
	Fresh State = "fresh" // current
	Stale State = "stale" // past its nextUpdate, or without one: it convicts, and acquits nobody
	Never State = "never" // nothing came yet
	Error State = "error" // nothing ever came, and the last attempt failed
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
}

// Status returns what is held, in the order of the sources and of the lists in each.
func (f *Feeds) Status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	var all []Status
	for _, s := range slices.Concat(f.sources, f.deltas) {
		common := Status{Source: s.shown, Freshest: s.freshest, State: s.state(now), FetchedAt: s.fetched, NextTry: s.due}
		if s.again {
			common.NextTry = time.Time{}
		}
		if err := s.trouble(); err != nil {
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
	st.State = Fresh
	if lapsed(v, now) {
		st.State = Stale
	}
	st.Issuer, st.ThisUpdate, st.NextUpdate, st.Entries, st.Delta = v.Signer().Subject.String(), h.ThisUpdate, h.NextUpdate, v.Len(), h.Delta()
	if h.Number != nil {
		st.Number = h.Number.String()
	}
	return st
}

// state returns the worst of the lists.
func (s *source) state(now time.Time) State {
	switch {
	case len(s.lists) > 0 && slices.ContainsFunc(s.lists, func(v *crl.Verified) bool { return lapsed(v, now) }):
		return Stale
	case len(s.lists) > 0:
		return Fresh
	case s.err != nil:
		return Error
	}
	return Never
}

// nextUpdate returns when the first of the lists lapses.
func (s *source) nextUpdate() time.Time {
	first := slices.MinFunc(s.lists, func(a, b *crl.Verified) int { return a.Header().NextUpdate.Compare(b.Header().NextUpdate) })
	return first.Header().NextUpdate
}

// trouble returns what is wrong, the gravest first; nil for nothing.
func (s *source) trouble() error { return cmp.Or(s.err, s.unkept, s.aside) }
