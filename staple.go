package omca

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"omca/crl"
)

// retryStaple is the pause after a failure.
const retryStaple = time.Minute

// A staple is an OCSP answer about one certificate, for handshakes. Without one
// a server serves as well: it spares clients a question, no more.
type staple struct {
	leaf   []byte // DER
	answer []byte
	next   time.Time // it holds until then
}

// stapler keeps the staples of what is served fresh. Handshakes never wait for
// it: they find what is there.
type stapler struct {
	paths   func(context.Context) ([]string, error)        // of the objects that are served
	ask     func(context.Context, string) (*staple, error) // crl.ErrNotOurs: it is to have none
	changed func(context.Context, string)                  // the staple is another, or over
	now     func() time.Time
	log     *slog.Logger
	wake    chan struct{} // look now; holds one

	mu   sync.Mutex
	kept map[string]*staple // by path
	told map[string]failure // by path: the last line of the log about it
}

// failure is a failure that was logged.
type failure struct {
	text string
	at   time.Time
}

// tellAgain is how long the same failure is not logged again.
const tellAgain = time.Hour

// tell reports whether a failure is to be logged: it is another one than the last of
// that path, or that was a while ago. A nil error ends the failure.
func (k *stapler) tell(path string, err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		delete(k.told, path)
		return false
	}
	last, now := k.told[path], k.now()
	if last.text == err.Error() && now.Sub(last.at).Abs() < tellAgain {
		return false
	}
	if k.told == nil {
		k.told = make(map[string]failure)
	}
	k.told[path] = failure{err.Error(), now}
	return true
}

// soon has the stapler look at once. It never waits.
func (k *stapler) soon() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// on adds to the pair of a path the staple about it, if there is one that holds:
// a client that must have a staple may take one that is over for an attack.
func (k *stapler) on(path string, pair tls.Certificate) tls.Certificate {
	k.mu.Lock()
	st := k.kept[path]
	k.mu.Unlock()
	if st != nil && bytes.Equal(st.leaf, pair.Leaf.Raw) && k.now().Before(st.next) {
		pair.OCSPStaple = st.answer
	}
	return pair
}

// run keeps the staples fresh until ctx ends.
func (k *stapler) run(ctx context.Context) {
	for {
		pause := k.look(ctx)
		if ctx.Err() != nil {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-k.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// look asks for an answer about everything that is served, and returns when to
// ask again.
func (k *stapler) look(ctx context.Context) time.Duration {
	paths, err := k.paths(ctx)
	if err != nil && ctx.Err() == nil {
		k.log.ErrorContext(ctx, "no OCSP staple", "error", err, "again_in", retryStaple)
	}
	pause := longestPause
	if err != nil {
		pause = retryStaple
	} else {
		k.forget(paths)
	}
	for _, path := range paths {
		pause = min(pause, k.renew(ctx, path))
	}
	return pause
}

// forget drops the staples of all paths but these.
func (k *stapler) forget(paths []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.kept, func(path string, _ *staple) bool { return !slices.Contains(paths, path) })
	maps.DeleteFunc(k.told, func(path string, _ failure) bool { return !slices.Contains(paths, path) })
}

// renew asks for an answer about what is served of a path. What is there stays
// when there is no other, until it is over.
func (k *stapler) renew(ctx context.Context, path string) time.Duration {
	fresh, err := k.ask(ctx, path)
	if ctx.Err() != nil {
		return retryStaple
	}
	former, next := k.keep(path, fresh, err)
	if (former == nil) != (next == nil) || next != nil && !bytes.Equal(former.answer, next.answer) {
		k.changed(ctx, path)
	}
	return k.pause(ctx, path, next, err)
}

// keep stores the result of ask for a path. It returns the former staple and the new
// one; nil: none.
func (k *stapler) keep(path string, fresh *staple, err error) (former, next *staple) {
	k.mu.Lock()
	defer k.mu.Unlock()
	former = k.kept[path]
	over := former != nil && !k.now().Before(former.next)
	next = former
	switch {
	case err == nil:
		next = fresh
	case over || errors.Is(err, crl.ErrNotOurs): // another CA's is asked by whoever wants to know
		next = nil
	}
	if k.kept == nil {
		k.kept = make(map[string]*staple)
	}
	if k.kept[path] = next; next == nil {
		delete(k.kept, path)
	}
	return former, next
}

// pause returns when to ask again about a path, after an answer or a failure.
func (k *stapler) pause(ctx context.Context, path string, kept *staple, err error) time.Duration {
	switch {
	case err == nil:
		k.tell(path, nil)
		return max(kept.next.Sub(k.now())/2, time.Second)
	case errors.Is(err, crl.ErrNotOurs):
		return longestPause
	}
	pause := retryStaple
	if kept != nil {
		pause = max(min(pause, kept.next.Sub(k.now())), time.Second) // to take it away when it is over
	}
	if k.tell(path, err) {
		k.log.ErrorContext(ctx, "no OCSP staple", "path", path, "error", err, "again_in", pause)
	}
	return pause
}
