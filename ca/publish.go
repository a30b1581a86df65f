package ca

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"omca/crl"
	"omca/internal/hint"
	"omca/pki"
)

// How long a list holds, and how old it may become before there is a new one.
const (
	listLife = 7 * 24 * time.Hour
	listAge  = 24 * time.Hour
	listLook = 6 * time.Hour // machines sleep

	stepLook  = 10 * time.Second // between two looks whether the clock was set
	stepLeast = 5 * time.Second  // a clock that is slewed differs by less between two looks
)

// A Publisher keeps in memory the current revocation list of every CA on record whose
// key is here: of those that objects hold, and of dormant ones as long as their
// certificates live.
type Publisher struct {
	a      *Authority
	chosen func() bool // whether this process numbers lists; nil: it alone does

	mu    sync.Mutex
	dirty chan struct{} // something is to be built
	lists map[pki.AuthorityID]*shelf
}

// shelf is the lists of one CA.
type shelf struct {
	id      pki.AuthorityID
	path    string   // of the object that holds the CA, or held it last
	held    []string // the paths of all objects that hold it, with its key
	former  int      // 0 for a CA that its object holds; else as PublishedList says
	issuer  *x509.Certificate
	builder *crl.Builder
	waiting []Revocation // not on a list yet
	current *crl.Published
	next    time.Time // when the current one is to be replaced
}

// NewPublisher returns a publisher with no lists.
func (a *Authority) NewPublisher() *Publisher {
	return &Publisher{a: a, dirty: make(chan struct{}, 1), lists: make(map[pki.AuthorityID]*shelf)}
}

// Share says that other processes publish lists of the same CAs. The one that is
// chosen numbers them, and all make the same list of a number: what was taken
// back up to the revision at which the number was reserved. Call it before Run,
// and Reload when there is a new number.
func (p *Publisher) Share(chosen func() bool) { p.chosen = chosen }

// Add puts a revocation on the next list of its CA.
func (p *Publisher) Add(r Revocation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, err := pki.ParseAuthorityID(r.Authority)
	if s := p.lists[id]; err == nil && s != nil {
		s.waiting = append(s.waiting, r)
		p.wake()
	}
}

// Reload looks at the CAs again: one is new, or gone, or has another key.
func (p *Publisher) Reload() { p.wake() }

func (p *Publisher) wake() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) {
	look := time.NewTicker(stepLook)
	defer look.Stop()
	began := time.NewTimer(0)
	at := step{p.a.now(), <-began.C}
	for {
		next, err := p.Publish(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := listLook
		if !next.IsZero() {
			pause = min(pause, next.Sub(p.a.now()))
		}
		if err != nil {
			p.a.log.ErrorContext(ctx, "revocation list not published", "error", err)
			pause = time.Minute
		}
		if !p.pause(ctx, look.C, &at, max(pause, time.Second)) {
			return
		}
	}
}

// pause returns when something is to be built, when the clock was set since it was looked at,
// which look has it be, or after a time. It returns false when ctx has ended. A list that left, or that is dated ahead, because the
// clock was wrong, must not wait for the end of a pause that the wrong clock has set.
func (p *Publisher) pause(ctx context.Context, look <-chan time.Time, at *step, most time.Duration) bool {
	due := time.NewTimer(most)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-p.dirty:
			return true
		case <-due.C:
			return true
		case moment := <-look:
			before := *at
			*at = step{p.a.now(), moment}
			if by := at.since(before); by.Abs() >= stepLeast {
				p.a.log.InfoContext(ctx, "clock set", "by", by.Round(time.Second))
				p.a.forgetEndings()
				return true
			}
		}
	}
}

// step is the time of the clock at a moment of the monotonic clock, which is never set.
type step struct{ shows, moment time.Time }

// since returns by how much the clock was set since an earlier moment.
func (s step) since(before step) time.Duration {
	return s.shows.Round(0).Sub(before.shows.Round(0)) - s.moment.Sub(before.moment)
}

// Publish builds every list that is missing, has something to add or is getting
// old, and returns when the next one will be. It goes on past a failure.
func (p *Publisher) Publish(ctx context.Context) (next time.Time, err error) {
	failed := p.arrange(ctx) // one CA that cannot be read does not keep the others from it
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.lists))
	p.mu.Unlock()
	for _, s := range all {
		if err := p.build(ctx, s); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.path, err))
			continue
		}
		if p.numbers() && (next.IsZero() || s.next.Before(next)) {
			next = s.next
		}
	}
	return next, errors.Join(failed...)
}

// arrange makes a shelf for each CA that tells of revocations, filled with what is
// revoked already, and takes those away that are no more. It goes on past a failure.
func (p *Publisher) arrange(ctx context.Context) (failed []error) {
	issuers, err := p.a.speakers(ctx)
	if err != nil {
		failed = append(failed, err)
	}
	found := make(map[pki.AuthorityID]bool)
	for _, is := range issuers {
		found[is.id] = true
		former := 0
		if is.dormant {
			former = p.a.formerNumber(ctx, is.path, is.id)
		}
		held, err := p.a.heldBy(ctx, is)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", is.path, err))
			held = []string{is.path}
		}
		if p.keeps(is, former, held) {
			continue
		}
		if err := p.newShelf(ctx, is, former, held); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", is.path, err))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(failed) == 0 { // else one that was not found may only not have been read
		maps.DeleteFunc(p.lists, func(id pki.AuthorityID, _ *shelf) bool { return !found[id] })
	}
	return failed
}

// keeps reports whether the shelf of a CA is there, and stays, at its place as it is now.
func (p *Publisher) keeps(is *issuer, former int, held []string) bool {
	cert := is.Certificate()
	p.mu.Lock()
	defer p.mu.Unlock()
	have := p.lists[is.id]
	if have == nil || !have.issuer.Equal(cert) {
		return false
	}
	have.former, have.path, have.held = former, is.path, held
	return true
}

// newShelf makes a shelf, and puts it up once it has all that is revoked.
func (p *Publisher) newShelf(ctx context.Context, is *issuer, former int, held []string) error {
	config := crl.BuilderConfig{Issuer: is.Certificate(), Key: is.set.key}
	last, err := p.a.store.LastList(ctx, is.id)
	if err != nil {
		return err
	}
	if !last.Alike { // else the last list is made again, and followed
		config.Number, config.ThisUpdate = last.Number, last.ThisUpdate
	}
	builder, err := crl.NewBuilder(config)
	if err != nil {
		return err
	}
	s := &shelf{id: is.id, path: is.path, former: former, held: held, issuer: is.Certificate(), builder: builder}
	// What is revoked from here on comes by Add, or is read here, or both.
	p.mu.Lock()
	before := p.lists[is.id]
	p.lists[is.id] = s
	if before != nil { // of the same CA with a certificate that was renewed
		s.current, s.next = before.current, time.Time{}
	}
	p.mu.Unlock()
	for r, err := range p.a.store.Revocations(ctx, is.id.String()) {
		if err != nil {
			p.mu.Lock()
			if p.lists[is.id] == s {
				delete(p.lists, is.id) // half of a list is none
			}
			p.mu.Unlock()
			return err
		}
		p.mu.Lock()
		s.waiting = append(s.waiting, r)
		p.mu.Unlock()
	}
	return nil
}

// numbers reports whether this process numbers lists.
func (p *Publisher) numbers() bool { return p.chosen == nil || p.chosen() }

// build makes the next list of one CA, if it is time for one.
func (p *Publisher) build(ctx context.Context, s *shelf) error {
	if err := p.adopt(ctx, s); err != nil || !p.numbers() {
		return err
	}
	now := p.a.now()
	p.mu.Lock()
	waiting, current := len(s.waiting), s.current
	p.mu.Unlock()
	// A list from a clock that was ahead is not valid yet for anybody.
	early := current != nil && current.Header.ThisUpdate.After(now)
	if waiting == 0 && current != nil && now.Before(s.next) && !early {
		return nil
	}
	// The number is durable before the list exists: no two lists share one.
	state, err := p.a.store.ReserveList(ctx, s.id, now.UTC().Truncate(time.Second))
	if err != nil {
		return err
	}
	return p.make(ctx, s, state)
}

// adopt makes the list that was numbered last, unless it is the current one, or
// another store numbered it and its content is not known here.
func (p *Publisher) adopt(ctx context.Context, s *shelf) error {
	state, err := p.a.store.LastList(ctx, s.id)
	if err != nil || !state.Alike {
		return err
	}
	if p.chosen == nil {
		p.mu.Lock()
		known := s.current != nil
		p.mu.Unlock()
		if known {
			return nil // this process alone makes numbers
		}
	}
	if state.Number.Cmp(s.builder.Next()) < 0 {
		return nil
	}
	return p.make(ctx, s, state)
}

// make makes the list of a number: what was taken back up to its revision is on it,
// in whatever process it is made.
func (p *Publisher) make(ctx context.Context, s *shelf, state ListState) error {
	p.mu.Lock()
	var due, later []Revocation
	for _, r := range s.waiting {
		if r.Revision > state.Revision {
			later = append(later, r)
		} else {
			due = append(due, r)
		}
	}
	s.waiting = later
	p.mu.Unlock()
	listed := make([]crl.Revocation, len(due))
	for i, r := range due {
		listed[i] = r.Revocation
	}
	if err := s.builder.Add(listed...); err != nil {
		p.mu.Lock()
		s.waiting = append(due, s.waiting...)
		p.mu.Unlock()
		return err
	}
	s.builder.Follow(state.Previous)
	published, err := s.builder.Build(state.Number, state.ThisUpdate, state.ThisUpdate.Add(listLife))
	if err != nil {
		p.mu.Lock()
		s.next = time.Time{} // what was added is on no list yet
		p.mu.Unlock()
		return err
	}
	p.mu.Lock()
	s.current, s.next = published, state.ThisUpdate.Add(listAge)
	if len(s.waiting) > 0 {
		p.wake()
	}
	p.mu.Unlock()
	p.a.log.InfoContext(ctx, "revocation list", "ca", s.path, "number", state.Number.String(), "entries", published.Entries, "next_update", state.ThisUpdate.Add(listLife))
	return nil
}

// ListName is the name under which the list of the CA that the object at path
// is now is published, beside its [LastingName]: "ca" for system/sec/ca, "ns1.ca" for ns1/sec/ca.
func ListName(path string) string {
	namespace, rest, _ := strings.Cut(path, "/")
	_, name, _ := strings.Cut(rest, "/")
	if namespace == "system" {
		return name
	}
	return namespace + "." + name
}

// Current returns the list with that name, as LastingName or ListName give it, or
// ErrNotFound. It is ErrConflict for a name that ListName gives to objects that hold
// different CAs: "ns1.ca" for ns1/sec/ca and for system/sec/ns1.ca.
func (p *Publisher) Current(name string) (*crl.Published, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found *shelf
	for _, s := range p.lists {
		switch {
		case s.lasting(name):
			if s.current != nil {
				return s.current, nil
			}
		case !s.goesBy(name):
		case found != nil:
			return nil, hint.With(fmt.Errorf("%w: %q is the name of the lists of two CAs, of %s and of %s", ErrConflict, name, found.path, s.path),
				"\"omca crl status -o json\" shows the lasting name of each list, which is its own")
		default:
			found = s
		}
	}
	if found == nil || found.current == nil {
		return nil, fmt.Errorf("%w: no CA of that name has its key here, so no revocation list of it is published here", ErrNotFound)
	}
	return found.current, nil
}

// goesBy reports whether name is that of the list of what an object holds now.
func (s *shelf) goesBy(name string) bool {
	return s.former == 0 && slices.ContainsFunc(s.held, func(path string) bool { return ListName(path) == name })
}

// lasting reports whether name is the lasting one: that ends with the identity of the CA,
// whatever object held it when a certificate was made to say so.
func (s *shelf) lasting(name string) bool {
	end := name[strings.LastIndexByte(name, '-')+1:]
	return end == s.id.Short() || name == ListName(s.path)+"-"+formerListID(s.issuer)
}

// PublishedList describes a current list.
type PublishedList struct {
	Path   string // of the object that holds the CA, or held it last
	Name   string // as LastingName gives it
	Former int    // number of the set in the history of the object; 0 for what the CA is now, -1 for one that no object holds or held before
	*crl.Published
}

// All returns the current lists, by the path of their CA, those of former CAs
// after that of the one that took their place.
func (p *Publisher) All() []PublishedList {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []PublishedList
	for _, s := range p.lists {
		if s.current != nil {
			all = append(all, PublishedList{s.path, LastingName(s.path, s.issuer), s.former, s.current})
		}
	}
	order := func(former int) int { // those that no object knows come last
		if former < 0 {
			return math.MaxInt
		}
		return former
	}
	slices.SortFunc(all, func(a, b PublishedList) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(order(a.Former), order(b.Former)), strings.Compare(a.Name, b.Name))
	})
	return all
}
