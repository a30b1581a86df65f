package ca

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// How long a renewal that failed waits for the next try: first this, then twice as
// long each time, with a jitter on top. A short life that is running out makes it shorter.
const (
	firstPause   = time.Minute
	longestPause = time.Hour
	firstPart    = 8 // of the life that is left, the first pause at most
	longestPart  = 4 // the same, any pause
	jitterPart   = 4 // of the pause, the jitter at most
)

// attempts keeps how the renewals of objects go. There is one at a time for an object.
type attempts struct {
	mu    sync.Mutex
	all   map[string]*attempt // by path
	ended map[string]string   // by path of the CA: what was reported of its end
}

// attempt is how the renewal of one object goes.
type attempt struct {
	busy     bool
	failed   int           // tries in a row that failed, or that came before the certificate was due
	first    time.Duration // the first pause
	next     time.Time     // no try before
	revision int64         // of the object, at the last failure
	due      time.Time     // of the certificate that the last success made
	state    string        // what was reported of the last failure
}

// begin begins a try, unless one is under way or the pause after the last one is
// not over. The object must be as it was then: a change ends the pause.
func (t *attempts) begin(h Holder, now time.Time) (next time.Time, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = make(map[string]*attempt)
	}
	at := t.all[h.Path]
	if at == nil {
		at = new(attempt)
		t.all[h.Path] = at
	}
	changed := at.state != "" && at.revision != h.Revision
	if at.busy || now.Before(at.next) && !changed && at.next.Sub(now) <= longestPause+longestPause/jitterPart { // else the clock went back
		return at.next, false
	}
	at.busy = true
	return time.Time{}, true
}

// end ends a try. It returns when there may be another, and whether its error is
// another one than that of the try before.
func (t *attempts) end(h Holder, now, notAfter, due time.Time, err error) (next time.Time, report bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.all[h.Path]
	at.busy = false
	if err == nil && !now.Before(at.due) {
		*at = attempt{due: due}
		return due, false
	}
	if at.failed == 0 {
		at.first = firstPause
		if left := notAfter.Sub(now) / firstPart; left > 0 {
			at.first = min(at.first, max(left, time.Second))
		}
	}
	early := err == nil // the one before was not due: the second such in a row waits
	if !early || at.failed > 0 {
		at.next = now.Add(at.pause(notAfter.Sub(now)))
	}
	at.failed++
	if early {
		at.due, at.state = due, ""
		if due.Before(at.next) {
			due = at.next
		}
		return due, false
	}
	report = at.state != stateOf(err)
	at.revision, at.state = h.Revision, stateOf(err)
	return at.next, report
}

// pause is how long to wait after a failure, with so much of the life left.
func (at *attempt) pause(left time.Duration) time.Duration {
	const doublings = 16 // more would overflow, and longestPause is reached before
	pause := min(at.first<<min(at.failed, doublings), longestPause)
	if left > 0 {
		pause = min(pause, max(left/longestPart, at.first))
	}
	return pause + rand.N(pause/jitterPart+1)
}

// stateOf is the text of a failure without what differs in each try.
func stateOf(err error) string {
	var r *recordingError
	if errors.As(err, &r) {
		err = r.err
	}
	return err.Error()
}

// sawEnd reports whether the end of a CA is new, which is reported once.
func (t *attempts) sawEnd(path string, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended == nil {
		t.ended = make(map[string]string)
	}
	seen := t.ended[path] == err.Error()
	t.ended[path] = err.Error()
	return !seen
}

// again ends every pause: a CA is not what it was.
func (t *attempts) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, at := range t.all {
		at.next = time.Time{}
	}
}

// forget forgets the object at path, which is gone.
func (t *attempts) forget(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := t.all[path]; at != nil && !at.busy {
		delete(t.all, path)
	}
}

// keep forgets the objects that are not among paths any more.
func (t *attempts) keep(paths []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) == 0 {
		return
	}
	there := make(map[string]bool, len(paths))
	for _, path := range paths {
		there[path] = true
	}
	for path, at := range t.all {
		if !there[path] && !at.busy {
			delete(t.all, path)
		}
	}
}

// attempt runs one try to renew the certificate of h, which ends at notAfter. It
// returns when the object is due again. The error of a try that failed is returned
// once, as long as it is the same; while a pause is not over there is no try.
func (a *Authority) attempt(ctx context.Context, h Holder, notAfter time.Time, renew func() (Issued, error)) (time.Time, error) {
	if next, ok := a.attempts.begin(h, a.now()); !ok {
		return next, nil
	}
	issued, err := renew()
	var due time.Time
	if err == nil {
		due = DueAt(issued.Certificate.NotBefore, issued.Certificate.NotAfter)
	}
	if ctx.Err() != nil && err != nil {
		a.attempts.free(h.Path)
		return time.Time{}, err
	}
	next, report := a.attempts.end(h, a.now(), notAfter, due, err)
	if !report {
		return next, nil
	}
	return next, err
}

// free ends a try that says nothing of the object: its caller went away.
func (t *attempts) free(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[path].busy = false
}

// atEnd reports whether the CA of a renewal has ended. The error of that is returned
// once for each CA, and there is no try.
func (a *Authority) atEnd(is *issuer) (bool, error) {
	err := is.ended(a.now())
	if err == nil {
		return false, nil
	}
	if !a.attempts.sawEnd(is.path, err) {
		return true, nil
	}
	return true, err
}
