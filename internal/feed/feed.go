package feed

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"omca/crl"
	"omca/internal/background"
	"omca/internal/hint"
	"omca/internal/outbound"
)

// ErrUnknown is the error for a source that is not among those configured.
var ErrUnknown = errors.New("not a source of revocation lists")

// Kept is the last good copy of what a source gave.
type Kept struct {
	// DER holds one CertificateList or several, one right behind the other. It can be as long as Limits.Bytes, far more than one value
	// of the store: Memory cuts it up.
	DER []byte
	// ETag and LastModified are the validators of the answer that DER came with, "" if it had none.
	ETag, LastModified string
	FetchedAt          time.Time
	// Unused are the lists that came and are not in DER, or that came later and were refused. Nil if it is not known: earlier versions did
	// not keep it.
	Unused []Unused
}

// Memory keeps the last good copy of each source across restarts. Sources are told apart by what the operator wrote, which holds no
// secret. No two calls run at once.
type Memory interface {
	// LoadList returns what was saved last, whole, or the zero Kept if that is nothing. An error means that nobody can say.
	LoadList(ctx context.Context, source string) (Kept, error)
	// SaveList replaces the copy in one step: who reads finds the old one or the new one. The zero Kept removes it. It does not keep
	// k.DER, and is durable when it returns.
	SaveList(ctx context.Context, source string, k Kept) error
}

// Config is what stays the same as long as the feeds live. All but Limits, Network, Rand and Panics is required.
type Config struct {
	Memory Memory
	// Object returns the value, PEM or DER, of the key that holds the lists of a sec. Path is always written in full, ns/sec/name.
	Object func(ctx context.Context, path string) ([]byte, error)
	// Signers returns the CAs whose lists are believed: the chains of those that are trusted.
	Signers func(ctx context.Context) ([]*x509.Certificate, error)
	// Changed gets all good lists, those past their nextUpdate among them, each time that they change, or that Awaited does, and once at the
	// end of Load. Calls come one after the other, the newest last, and hold up what follows. It may call Status and Awaited, and nothing
	// else of the Feeds.
	Changed func(ctx context.Context, lists []*crl.Verified)
	Now     func() time.Time
	Log     *slog.Logger
	Limits  Limits
	Network *outbound.Network  // nil: that of the system
	Rand    func() float64     // jitter, in [0,1); nil: math/rand/v2
	Panics  *background.Panics // of attempts, which fail with them; nil: they end the process

	// Elsewhere reports whether another process with the same Memory fetches from URLs for all: then copies are taken from there,
	// and a URL is asked only when these are not fresh. Nil: none does.
	Elsewhere func() bool
}

// Feeds follows sources of revocation lists. Any number of goroutines may use it.
type Feeds struct {
	cfg     Config
	limits  Limits
	network *outbound.Network
	wake    chan struct{}

	// settle is held while what came is read, replaces what is held, is announced and is saved: by one source at a time, so that the
	// last call of Changed has the last lists, and at most one download is being unfolded. It comes before mu.
	settle sync.Mutex

	mu      sync.Mutex // guards what follows, for moments only
	sources []*source
	deltas  []*source           // of delta lists, at the addresses that lists of sources name
	trusted []*x509.Certificate // the CAs whose lists are believed, as Signers answered last
	set     *crl.Set            // of the lists that were announced last
}

// New returns feeds without sources. Errors: a Config that cannot work.
func New(cfg Config) (*Feeds, error) {
	if cfg.Memory == nil || cfg.Object == nil || cfg.Signers == nil || cfg.Changed == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("feed: a Config lacks one of Memory, Object, Signers, Changed, Now and Log")
	}
	limits, err := cfg.Limits.checked()
	if err != nil {
		return nil, err
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	return &Feeds{
		cfg: cfg, limits: limits, network: cmp.Or(cfg.Network, new(outbound.Network)), wake: make(chan struct{}, 1), set: crl.NewSet(crl.Sources{}),
	}, nil
}

// Load makes sources the ones that are followed, before the first connection is accepted: it takes the last good copies from Memory,
// tries each source once, all at a time and for no longer than Limits.Start, and calls Changed. That a source is away is no error: it
// is in Status, and Run tries again at once. Errors: Memory's, and those of Signers.
func (f *Feeds) Load(ctx context.Context, sources []string) error {
	if err := f.begin(ctx, sources); err != nil {
		return err
	}
	f.start(ctx, f.configured())
	f.loadFreshest(ctx)
	f.settle.Lock()
	defer f.settle.Unlock()
	f.announce(ctx)
	return ctx.Err()
}

// begin takes the last good copies from Memory.
func (f *Feeds) begin(ctx context.Context, sources []string) error {
	f.settle.Lock()
	defer f.settle.Unlock()
	return f.replace(ctx, sources)
}

// start fetches sources in the time that a start has for it.
func (f *Feeds) start(ctx context.Context, sources []*source) {
	var attempts sync.WaitGroup
	for _, s := range sources {
		attempts.Go(func() {
			err := f.guard(func() error { return f.attempt(ctx, s, ifChanged, f.limits.Start) })
			if err != nil && !background.Panicked(err) {
				f.mu.Lock()
				s.failures, s.again = 0, true // for want of time, maybe
				f.mu.Unlock()
			}
		})
	}
	attempts.Wait()
}

// SetSources makes sources the ones that are followed. New ones begin with the last good copy and are fetched by Run at once; those that
// are no longer there are forgotten, here and in Memory.
func (f *Feeds) SetSources(ctx context.Context, sources []string) {
	f.settle.Lock()
	defer f.settle.Unlock()
	former := f.configured()
	if err := f.replace(ctx, sources); err != nil {
		f.cfg.Log.WarnContext(ctx, "crl copies not read", "error", err)
	}
	if !slices.Equal(former, f.configured()) {
		f.announce(ctx)
		f.rouse()
	}
}

// replace does the work of SetSources. On an error the sources are followed nonetheless. It wants settle.
func (f *Feeds) replace(ctx context.Context, names []string) error {
	var next, fresh []*source
	former := f.configured()
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		at := slices.IndexFunc(former, func(s *source) bool { return s.name == name })
		if at >= 0 {
			next = append(next, former[at])
			continue
		}
		s := newSource(name)
		next, fresh = append(next, s), append(fresh, s)
	}
	f.mu.Lock()
	f.sources = next
	f.mu.Unlock()
	for _, s := range former {
		if !slices.Contains(next, s) {
			f.forget(ctx, s)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	signers, err := f.signers(ctx)
	if err != nil {
		return err
	}
	for _, s := range fresh {
		err = errors.Join(err, f.restore(ctx, s, signers))
	}
	return err
}

// forget removes the copy of a source that is no longer followed.
func (f *Feeds) forget(ctx context.Context, s *source) {
	f.cfg.Log.InfoContext(ctx, "crl source", "source", s.shown, "state", "removed")
	if err := f.cfg.Memory.SaveList(ctx, s.name, Kept{}); err != nil {
		f.cfg.Log.WarnContext(ctx, "crl copy not removed", "source", s.shown, "error", err)
	}
}

// Reverify holds every list against the CAs that are trusted now: call it when Signers would answer otherwise than before. Lists of CAs
// that left are dropped, and all sources are fetched again by Run. Errors: Memory's, and those of Signers.
func (f *Feeds) Reverify(ctx context.Context) error {
	f.settle.Lock()
	defer f.settle.Unlock()
	signers, err := f.signers(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, s := range f.all() {
		if f.orphaned(s, signers) {
			failed = errors.Join(failed, f.restore(ctx, s, signers))
		}
		f.mu.Lock()
		// What was refused, or set aside, may be believed now: it has to come whole.
		s.again, s.sum, s.etag, s.modified, s.seen = true, digest{}, "", "", nil
		f.mu.Unlock()
	}
	f.announce(ctx)
	f.rouse()
	return failed
}

// orphaned reports whether a list of s is of a CA that is not among signers.
func (f *Feeds) orphaned(s *source, signers []*x509.Certificate) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(s.lists, func(v *crl.Verified) bool { return !slices.ContainsFunc(signers, v.Signer().Equal) })
}

// Notify says that an object changed. If it is a source, Run reads it at once.
func (f *Feeds) Notify(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sources {
		if s.kind == object && s.place == fullPath(path) {
			s.again = true
			f.rouse()
		}
	}
}

// Brought says that there may be new copies in Memory, or that Elsewhere answers otherwise than before: Run looks at once.
func (f *Feeds) Brought() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range slices.Concat(f.sources, f.deltas) {
		if s.kind == web {
			s.again = true
		}
	}
	f.rouse()
}

// Refresh fetches a source now, whole, whatever the schedule says. It waits for an attempt that is under way. Errors: ErrUnknown;
// pki.ErrInvalid when what came is refused, or leaves a trusted CA undetermined; otherwise why nothing came.
func (f *Feeds) Refresh(ctx context.Context, source string) error {
	for _, s := range f.all() {
		if s.name == source || s.shown == source {
			if err := f.attempt(ctx, s, anew, f.limits.Whole); err != nil {
				return fmt.Errorf("%s: %w", s.shown, err)
			}
			return f.incomplete(s)
		}
	}
	return hint.With(fmt.Errorf("%q: %w", source, ErrUnknown), `"omca cluster config get --kw cluster.crl" lists them`)
}

// configured returns the sources that an operator wrote, in the order of the keyword.
func (f *Feeds) configured() []*source {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sources)
}

// all returns the same, and behind them the delta lists that they name.
func (f *Feeds) all() []*source {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Concat(f.sources, f.deltas)
}

// announce hands all lists on, after a look at the delta lists that they name. It wants settle.
func (f *Feeds) announce(ctx context.Context) {
	f.seekFreshest(ctx)
	var lists []*crl.Verified
	f.mu.Lock()
	for _, s := range slices.Concat(f.sources, f.deltas) {
		lists = append(lists, s.lists...)
	}
	trusted := f.trusted
	f.mu.Unlock()
	set := crl.NewSet(crl.Sources{Lists: lists, Authorities: trusted})
	f.mu.Lock()
	f.set = set
	f.mu.Unlock()
	f.cfg.Changed(ctx, lists)
}

// fullPath returns the path of a sec with its namespace, which is root when none is written.
func fullPath(path string) string {
	if strings.Count(path, "/") == 1 {
		return "root/" + path
	}
	return path
}
