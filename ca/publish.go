package ca

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"omca/crl"
)

// How long a list holds, and how old it may become before there is a new one.
const (
	listLife = 7 * 24 * time.Hour
	listAge  = 24 * time.Hour
	listLook = 6 * time.Hour // clocks are set, machines sleep
)

// A Publisher keeps the current revocation list of every CA whose key is here,
// of those that were replaced too as long as their certificates live, in memory, ready to be served and to be enforced.
type Publisher struct {
	a       *Authority
	changed func([]*crl.Verified) // told of all current lists whenever one is new
	chosen  func() bool           // whether this process numbers lists; nil: it alone does

	mu    sync.Mutex
	dirty chan struct{}     // something is to be built
	lists map[string]*shelf // by the lasting name of the CA
}

// shelf is the lists of one CA.
type shelf struct {
	path    string // of the CA object
	former  int    // number of the set, of a CA that was replaced
	issuer  *x509.Certificate
	builder *crl.Builder
	waiting []Revocation // not on a list yet
	current *crl.Published
	next    time.Time // when the current one is to be replaced
}

// NewPublisher returns a publisher with no lists. The func changed is called
// from the goroutine that builds.
func (a *Authority) NewPublisher(changed func([]*crl.Verified)) *Publisher {
	return &Publisher{a: a, changed: changed, dirty: make(chan struct{}, 1), lists: make(map[string]*shelf)}
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
	for _, s := range p.lists {
		if KeyID(s.issuer) == r.KeyID {
			s.waiting = append(s.waiting, r)
			p.wake()
		}
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
		timer := time.NewTimer(max(pause, time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.dirty:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// Publish builds every list that is missing, has something to add or is getting
// old, and returns when the next one will be. It goes on past a failure.
func (p *Publisher) Publish(ctx context.Context) (next time.Time, err error) {
	failed := p.arrange(ctx) // one CA that cannot be read does not keep the others from it
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.lists))
	p.mu.Unlock()
	built := false
	for _, s := range all {
		fresh, err := p.build(ctx, s)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.path, err))
			continue
		}
		built = built || fresh
		if p.numbers() && (next.IsZero() || s.next.Before(next)) {
			next = s.next
		}
	}
	if built {
		p.changed(p.Verified())
	}
	return next, errors.Join(failed...)
}

// arrange makes a shelf for each CA whose key is here, filled with what is
// revoked already, and takes those away that are no more. It goes on past a
// failure.
func (p *Publisher) arrange(ctx context.Context) (failed []error) {
	issuers, err := p.a.speakers(ctx)
	if err != nil {
		failed = append(failed, err)
	}
	found := make(map[string]bool)
	for _, is := range issuers {
		at, cert := is.path, is.Certificate()
		id := LastingName(at, cert)
		found[id] = true
		p.mu.Lock()
		have := p.lists[id]
		same := have != nil && have.issuer.Equal(cert)
		if same {
			have.former = is.former // it may have been put back
		}
		p.mu.Unlock()
		if same {
			continue
		}
		fresh, err := p.newShelf(ctx, at, is)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", at, err))
			continue
		}
		p.mu.Lock()
		p.lists[id] = fresh
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(failed) == 0 { // else one that was not found may only not have been read
		maps.DeleteFunc(p.lists, func(id string, _ *shelf) bool { return !found[id] })
	}
	return failed
}

// speakers lists the CAs that tell of revocations: the signers, then those that
// were replaced. It goes on past a failure.
func (a *Authority) speakers(ctx context.Context) ([]*issuer, error) {
	paths, err := a.store.Holders(ctx)
	if err != nil {
		return nil, err
	}
	all, failed := a.signers(ctx)
	formers, err := a.formerSigners(ctx, paths)
	return append(all, formers...), errors.Join(failed, err)
}

// signers lists the CAs whose keys are here. It goes on past a failure.
func (a *Authority) signers(ctx context.Context) ([]*issuer, error) {
	paths, err := a.store.Holders(ctx)
	if err != nil {
		return nil, err
	}
	var all []*issuer
	var failed []error
	for _, at := range paths {
		is, err := a.issuerAt(ctx, at)
		switch {
		case err == nil:
			all = append(all, is)
		case errors.Is(err, ErrInvalid), errors.Is(err, ErrConflict), errors.Is(err, ErrNotFound):
			// no CA, or one whose key is elsewhere
		default:
			failed = append(failed, err)
		}
	}
	return all, errors.Join(failed...)
}

// Authorities returns the certificates of the CAs whose keys are here. Those that
// cannot be read are reported, beside the others.
func (a *Authority) Authorities(ctx context.Context) ([]*x509.Certificate, error) {
	issuers, err := a.signers(ctx)
	var all []*x509.Certificate
	for _, is := range issuers {
		all = append(all, is.Certificate())
	}
	return all, err
}

func (p *Publisher) newShelf(ctx context.Context, at string, is *issuer) (*shelf, error) {
	id := KeyID(is.Certificate())
	config := crl.BuilderConfig{Issuer: is.Certificate(), Key: is.set.key}
	if p.chosen == nil { // else the last list is made again, and followed
		last, err := p.a.store.LastList(ctx, id)
		if err != nil {
			return nil, err
		}
		config.Number, config.ThisUpdate = last.Number, last.ThisUpdate
	}
	builder, err := crl.NewBuilder(config)
	if err != nil {
		return nil, err
	}
	// Whatever is revoked from here on comes by Add, or is read here, or both.
	s := &shelf{path: at, former: is.former, issuer: is.Certificate(), builder: builder}
	p.mu.Lock()
	p.lists[LastingName(at, s.issuer)] = s
	p.mu.Unlock()
	for r, err := range p.a.store.Revocations(ctx, id) {
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		s.waiting = append(s.waiting, r)
		p.mu.Unlock()
	}
	return s, nil
}

// numbers reports whether this process numbers lists.
func (p *Publisher) numbers() bool { return p.chosen == nil || p.chosen() }

// build makes the next list of one CA, if it is time for one.
func (p *Publisher) build(ctx context.Context, s *shelf) (fresh bool, err error) {
	if p.chosen != nil {
		if fresh, err = p.adopt(ctx, s); err != nil || !p.chosen() {
			return fresh, err
		}
	}
	now := p.a.now()
	p.mu.Lock()
	waiting, current := len(s.waiting), s.current
	p.mu.Unlock()
	// A list from a clock that was ahead is not valid yet for anybody.
	early := current != nil && current.Verified.Header().ThisUpdate.After(now)
	if waiting == 0 && current != nil && now.Before(s.next) && !early {
		return fresh, nil
	}
	// The number is durable before the list exists: no two lists share one.
	state, err := p.a.store.ReserveList(ctx, KeyID(s.issuer), now.UTC().Truncate(time.Second))
	if err != nil {
		return fresh, err
	}
	return true, p.make(ctx, s, state)
}

// adopt makes the list that was numbered last, unless it is the current one.
func (p *Publisher) adopt(ctx context.Context, s *shelf) (fresh bool, err error) {
	state, err := p.a.store.LastList(ctx, KeyID(s.issuer))
	if err != nil || state.Number.Sign() == 0 {
		return false, err
	}
	p.mu.Lock()
	current := s.current
	p.mu.Unlock()
	if current != nil && state.Number.Cmp(current.Verified.Header().Number) <= 0 {
		return false, nil
	}
	return true, p.make(ctx, s, state)
}

// make makes the list of a number.
func (p *Publisher) make(ctx context.Context, s *shelf, state ListState) error {
	p.mu.Lock()
	var due, later []Revocation
	for _, r := range s.waiting {
		if p.chosen != nil && r.Revision > state.Revision {
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
	if p.chosen != nil {
		s.builder.Follow(state.Previous)
	}
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
	p.a.log.InfoContext(ctx, "revocation list", "ca", s.path, "number", state.Number.String(), "entries", s.builder.Len(), "next_update", state.ThisUpdate.Add(listLife))
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

// Current returns the list with that name, as LastingName or ListName give it, or ErrNotFound.
func (p *Publisher) Current(name string) (*crl.Published, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.lists[name]; s != nil && s.current != nil {
		return s.current, nil
	}
	for _, s := range p.lists {
		if s.former == 0 && ListName(s.path) == name && s.current != nil {
			return s.current, nil
		}
	}
	return nil, fmt.Errorf("%w: no CA of that name has its key here, so no revocation list of it is published here", ErrNotFound)
}

// PublishedList describes a current list.
type PublishedList struct {
	Path   string // of the CA object
	Name   string // as LastingName gives it
	Former int    // number of the set in the history of the object; 0 for what the CA is now
	*crl.Published
}

// All returns the current lists, by the path of their CA, those of former CAs
// after that of the one that took their place.
func (p *Publisher) All() []PublishedList {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []PublishedList
	for name, s := range p.lists {
		if s.current != nil {
			all = append(all, PublishedList{s.path, name, s.former, s.current})
		}
	}
	slices.SortFunc(all, func(a, b PublishedList) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Former, b.Former))
	})
	return all
}

// Verified returns the current lists as a Set takes them.
func (p *Publisher) Verified() []*crl.Verified {
	var all []*crl.Verified
	for _, l := range p.All() {
		all = append(all, l.Verified)
	}
	return all
}
