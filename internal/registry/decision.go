package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/store"
)

// A decision notes the key and the revision of each object, revocation and session that is read under its context.
// Every commit under that context expects these revisions (docs/adr/0070-a-decision-names-its-revisions.md).
type decision struct {
	mu    sync.Mutex
	noted []store.Expect // the first note of a key stays: a decision stands on the oldest revision that it has seen
	first []string       // namespaces that were found absent

	made  int  // commits under the decision that can be made again
	final bool // there was a commit under it that cannot be made again

	room [8]store.Expect // most decisions note no more
}

// effect is the meaning of a commit for the action that it is part of.
type effect int

const (
	finally    effect = iota // the action cannot be run again: it would do the same thing twice
	repeatable               // the action can be run again: nothing is taken away twice
	beside                   // the commit is no part of the action, such as the time of a session's last use
)

// deciding is the part of a context that is about its decision.
type deciding struct {
	*decision
	unnoted bool // reads are not noted
	assumed bool // revocations are noted as absent, and not read
	effect  effect
}

type decidingKey struct{} // *deciding; nil: nothing

func decidingOf(ctx context.Context) *deciding {
	d, _ := ctx.Value(decidingKey{}).(*deciding)
	return d
}

// Deciding reports whether ctx has a decision.
func Deciding(ctx context.Context) bool { return decidingOf(ctx) != nil }

// Undecided returns a context whose reads and commits are no part of the decision of ctx. It is for the rest of
// an action after its first commit, when the rest must be done even if the decision no longer stands.
func Undecided(ctx context.Context) context.Context {
	if !Deciding(ctx) {
		return ctx
	}
	return context.WithValue(ctx, decidingKey{}, (*deciding)(nil))
}

// Unnoted returns a context whose commits expect the notes of the decision of ctx, and whose reads add no notes. It
// is for loops over many objects: a transaction has no room for so many expectations.
func Unnoted(ctx context.Context) context.Context {
	return with(ctx, func(d *deciding) { d.unnoted = true })
}

// Assumed returns a context in which revocations are noted as absent, and are not read. It is for a caller that has
// checked them in memory. A commit under the decision expects that they are absent in the store.
func Assumed(ctx context.Context) context.Context {
	return with(ctx, func(d *deciding) { d.assumed = true })
}

// Repeatable returns a context whose commits do not keep the action of ctx from being run again.
func Repeatable(ctx context.Context) context.Context { return having(ctx, repeatable) }

// having returns a context whose commits have that effect.
func having(ctx context.Context, e effect) context.Context {
	return with(ctx, func(d *deciding) { d.effect = e })
}

func with(ctx context.Context, set func(*deciding)) context.Context {
	d := decidingOf(ctx)
	if d == nil {
		return ctx
	}
	next := *d
	set(&next)
	return context.WithValue(ctx, decidingKey{}, &next)
}

// Note notes the object at p, at a revision, for the decision of ctx, if there is one. It is for a caller that keeps
// something that it read of the object earlier.
func Note(ctx context.Context, p object.Path, revision int64) {
	if d := decidingOf(ctx); d != nil {
		d.note(prefixObject+p.Key(), revision)
	}
}

// note notes a key at a revision; 0 is its absence.
func (d *deciding) note(key string, rev int64) {
	if d == nil || d.unnoted {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// One more than a transaction takes has it refused.
	if d.index(key) < 0 && len(d.noted) <= store.MaxOps {
		d.noted = append(d.noted, store.Expect{Key: key, Rev: rev})
	}
}

// revocation reads the key of a revocation, and notes it for the decision of ctx.
func (s *Store) revocation(ctx context.Context, key string) (store.Entry, error) {
	d := decidingOf(ctx)
	if d != nil && d.assumed {
		d.note(key, 0)
		return store.Entry{}, store.ErrNotFound
	}
	e, err := s.db.Get(ctx, key)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		d.note(key, e.Rev)
	}
	return e, err
}

// begins notes that a namespace has no object, and the revision of its mark.
func (d *deciding) begins(namespace string, rev int64) {
	d.note(prefixNamespace+namespace, rev)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first = append(d.first, namespace)
}

func (d *decision) index(key string) int {
	return slices.IndexFunc(d.noted, func(e store.Expect) bool { return e.Key == key })
}

// bind adds to tx the expectations of the decision, and the marks of the namespaces that tx begins.
func (d *decision) bind(tx store.Tx) store.Tx {
	d.mu.Lock()
	defer d.mu.Unlock()
	tx.Expect = slices.Clip(tx.Expect)
	for _, e := range d.noted {
		if !slices.Contains(tx.Expect, e) {
			tx.Expect = append(tx.Expect, e)
		}
	}
	tx.Puts = slices.Clip(tx.Puts)
	for _, namespace := range slices.Compact(slices.Sorted(slices.Values(d.first))) {
		within := func(p store.Put) bool { return strings.HasPrefix(p.Key, prefixObject+namespace+"/") }
		if slices.ContainsFunc(tx.Puts, within) {
			tx.Puts = append(tx.Puts, store.Put{Key: prefixNamespace + namespace})
		}
	}
	return tx
}

// committed notes the new revisions of the keys that tx wrote: the next commit of the action stands on them.
func (d *deciding) committed(tx store.Tx, rev int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range tx.Puts {
		d.wrote(p.Key, rev)
	}
	for _, key := range tx.Deletes {
		d.wrote(key, 0)
	}
	switch d.effect {
	case finally:
		d.final = true
	case repeatable:
		d.made++
	}
}

func (d *decision) wrote(key string, rev int64) {
	if i := d.index(key); i >= 0 {
		d.noted[i].Rev = rev
	}
}

const (
	mostTries = 8                    // of an action that is overtaken each time
	firstWait = 2 * time.Millisecond // before the second try, at most; the wait before a later one is longer
	calmAfter = 2                    // tries; then others wait for this one
)

// Decide runs act, which decides and then commits, under a context that has a decision. When something that it read
// has changed before its first commit, act is run again with a new decision. After a few tries the error is
// [ca.ErrOvertaken]. An act that has committed something is run again only if its commits can be made again.
func (s *Store) Decide(ctx context.Context, act func(context.Context) error) error {
	var held *calm
	defer func() { held.end() }()
	for try := 1; ; try++ {
		d := new(decision)
		d.noted = d.room[:0]
		err := act(context.WithValue(ctx, decidingKey{}, &deciding{decision: d}))
		if !errors.Is(err, ca.ErrOvertaken) || d.final {
			return err
		}
		if d.made > 0 {
			try = 1 // it has come further, and comes to its end
		}
		if try == mostTries {
			return hint.With(err, "nothing was written: repeat the command")
		}
		if err := pause(ctx, rand.N(time.Duration(try)*firstWait)); err != nil {
			return err
		}
		if try >= calmAfter {
			ctx, held = s.calmDown(ctx, held, d.noted)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Confirm returns [ca.ErrOvertaken] when the decision of ctx no longer stands. It is for an action that is no commit.
func (s *Store) Confirm(ctx context.Context) error {
	if !Deciding(ctx) {
		return nil
	}
	_, err := s.write(having(ctx, beside), store.Tx{})
	return fromStore(err)
}

// write commits tx on condition that the decision of ctx still stands.
func (s *Store) write(ctx context.Context, tx store.Tx) (int64, error) {
	d, own := decidingOf(ctx), tx.Expect
	if d != nil {
		tx = d.bind(tx)
	}
	if err := s.awaitCalm(ctx, tx); err != nil {
		return 0, err
	}
	rev, err := s.db.Commit(ctx, tx)
	switch {
	case err == nil && d != nil:
		d.committed(tx, rev)
	case d != nil && errors.Is(err, store.ErrConflict):
		return 0, s.overtaken(ctx, own, tx, err)
	}
	return rev, err
}

// overtaken turns a conflict of tx into [ca.ErrOvertaken], unless one of its own expectations failed that is not about
// an object, such as an unused serial number. It returns when this process has seen the objects as the conflict met
// them, so that the next try reads them.
func (s *Store) overtaken(ctx context.Context, own []store.Expect, tx store.Tx, conflict error) error {
	var last int64
	for _, e := range tx.Expect {
		found, err := s.db.Get(ctx, e.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return errors.Join(conflict, err)
		}
		key, isObject := strings.CutPrefix(e.Key, prefixObject)
		switch {
		case isObject:
			p, err := object.ParsePath(key)
			if err != nil {
				return errors.Join(conflict, err)
			}
			s.forget(p)
			last = max(last, found.Rev)
		case found.Rev != e.Rev && slices.Contains(own, e):
			return conflict
		}
	}
	if err := s.watch.reach(ctx, last); err != nil {
		return errors.Join(conflict, err)
	}
	return &overtakenError{conflict}
}

// overtakenError is [ca.ErrOvertaken] without the key and the revisions that the store names.
type overtakenError struct{ cause error }

func (e *overtakenError) Error() string { return ca.ErrOvertaken.Error() }

func (e *overtakenError) Unwrap() []error { return []error{ca.ErrOvertaken, e.cause} }
