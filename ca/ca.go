package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"omca/internal/hint"
	"omca/pki"
	"omca/usr"
)

// The errors that callers tell apart. Denials are usr.ErrDenied.
var (
	// ErrInvalid means that the request can never be granted as it stands.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound means that the object or the certificate does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that the state of things forbids it: the same request
	// can succeed later, or with an explicit consent.
	ErrConflict = errors.New("conflict")
	// ErrOvertaken is the ErrConflict of a change that was decided on something
	// that changed before the commit. The commit wrote nothing; decided again, the
	// change may succeed.
	ErrOvertaken = fmt.Errorf("%w: what this was decided on changed at the same moment", ErrConflict)
)

// Config says what an authority works with. Store, Linter, Now and Log are required.
type Config struct {
	Store  Store
	Linter pki.Linter // looks at every draft before a key signs it
	Now    func() time.Time
	Log    *slog.Logger // the audit trail

	// Moment tells time that nobody sets: only differences between two moments count. Nil:
	// that of Now, which notices no clock that is set.
	Moment func() time.Time

	// Node is the name of this machine, and NodeListener the path of a listener's
	// certificate of its own, where several serve: see ListenerPath. "" for one that
	// is alone.
	Node, NodeListener string
}

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	store  Store
	linter pki.Linter
	now    func() time.Time
	since  func() time.Time // Config.Moment
	log    *slog.Logger
	self   usr.Caller // who asks for the renewals that nobody asks for

	node, nodeListener string // see Config

	tiers tiers // the CAs that bound others, see above

	mu      sync.Mutex
	epoch   uint64             // counts Changed, so that a read that raced with it is not kept
	issuers map[string]*issuer // by path; what Changed drops is read again
	own     string             // path of the cluster's CA; "" after Changed

	rolls     uint64                      // counts what made roll untrue, as epoch does
	roll      *roll                       // the CAs on record; nil: to be read
	recording int                         // commits under way that put a CA on record: roll is not kept
	dormant   map[pki.AuthorityID]*issuer // those of them that no object holds
	endings   endings

	identities identities
	attempts   attempts
	due        dueTimes
	quota      quota
}

// New returns an authority over the store of c.
func New(c Config) (*Authority, error) {
	if c.Store == nil || c.Linter == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("ca: Config needs Store, Linter, Now and Log")
	}
	if c.Moment == nil {
		c.Moment = c.Now
	}
	self := usr.Caller{Name: "omca", Method: usr.MethodDaemon, Grants: usr.RootGrants()}
	return &Authority{store: c.Store, linter: c.Linter, now: c.Now, since: c.Moment, log: c.Log, self: self, node: c.Node, nodeListener: c.NodeListener, issuers: make(map[string]*issuer), dormant: make(map[pki.AuthorityID]*issuer)}, nil
}

// Changed tells the authority that the object at path is not what it was. The
// store's watch calls it, so that no issuer outlives its object.
func (a *Authority) Changed(path string) {
	a.tiers.changed(path)
	if path == "" || a.signs(path) {
		a.attempts.again()
		a.due.forget()
	} else {
		a.due.note(path)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch++
	a.own = ""
	if path == "" {
		clear(a.issuers)
		clear(a.dormant)
		a.rolls++
		a.roll, a.endings = nil, endings{}
		return
	}
	delete(a.issuers, path)
	if a.roll != nil && a.roll.at(path) {
		a.endings = endings{}
	}
}

// IsCA reports whether the object at path is, or was, a CA here: it says so, it is trusted,
// or a CA on record came from it.
func (a *Authority) IsCA(ctx context.Context, path string) (bool, error) {
	if a.signs(path) {
		return true, nil
	}
	cluster, err := a.store.Cluster(ctx)
	if err != nil || slices.Contains(cluster.Trusted, path) {
		return err == nil, err
	}
	return a.tiers.has(path, func() error { return a.readTiers(ctx) })
}

// signs reports whether the object at path was read as a CA, or is known as one.
func (a *Authority) signs(path string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issuers[path] != nil || path == a.own || a.roll != nil && a.roll.at(path)
}

// issuer is a CA object made ready to sign.
type issuer struct {
	*pki.Issuer
	id      pki.AuthorityID // zero for a root that is about to sign itself
	path    string
	made    bool // its key was generated here: all it signed is in the inventory
	policy  *pki.Policy
	set     set
	keys    []pki.KeyHash    // of the chain: what signs as long as none of them is blocked
	dormant bool             // no object holds it: it signs its lists and its responder alone
	lives   time.Time        // as in AuthorityRecord, of a dormant one
	basis   []ObjectRevision // the objects that it was read from: the commit of a certificate expects them
}

// end is the last second of what is signs: nothing outlives any CA above it.
func (is *issuer) end() time.Time {
	chain := is.Chain()
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// issuerAt returns the issuer kept by the object at path.
func (a *Authority) issuerAt(ctx context.Context, path string) (*issuer, error) {
	a.mu.Lock()
	ready, epoch := a.issuers[path], a.epoch
	a.mu.Unlock()
	if ready != nil {
		return ready, nil
	}
	h, err := a.store.Holder(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	is, err := newIssuer(h, a.linter)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch == epoch {
		a.issuers[path] = is
	}
	return is, nil
}

func newIssuer(h Holder, linter pki.Linter) (*issuer, error) {
	if h.Profile != ProfileCA {
		return nil, fmt.Errorf("%w: %s is not a CA: its profile is %q, not %q", ErrInvalid, h.Path, h.Profile, ProfileCA)
	}
	s, err := live(h)
	if err != nil {
		return nil, err
	}
	if s.key == nil || len(s.chain) == 0 {
		return nil, hint.With(fmt.Errorf("%w: %s holds no complete CA certificate, so it cannot sign", ErrConflict, h.Path),
			"create it with \"omca %s certificate create\", or import its private_key and certificate_chain", h.Path)
	}
	signer, err := pki.NewIssuer(s.chain, s.key, linter)
	if err != nil {
		return nil, fmt.Errorf("%s cannot sign: %w", h.Path, err)
	}
	policy, err := pki.NewPolicy(pki.PolicyRules{Allow: h.AllowNames, Deny: h.DenyNames})
	if err != nil {
		return nil, fmt.Errorf("%s: allow_names, deny_names: %w", h.Path, err)
	}
	is := &issuer{Issuer: signer, id: pki.AuthorityOf(s.chain[0]), path: h.Path, made: h.KeyMade, policy: policy, set: s, basis: []ObjectRevision{{h.Path, h.Revision}}}
	for _, cert := range signer.Chain() {
		is.keys = append(is.keys, pki.KeyHashOf(cert))
	}
	return is, nil
}

// ClusterCA returns the path of the CA that signs where no keyword names
// another one: system/sec/ca-<cluster>, the older manuals' name, when it holds
// a complete set, else system/sec/ca.
func (a *Authority) ClusterCA(ctx context.Context) (string, error) {
	a.mu.Lock()
	own, epoch := a.own, a.epoch
	a.mu.Unlock()
	if own != "" {
		return own, nil
	}
	c, err := a.store.Cluster(ctx)
	if err != nil {
		return "", err
	}
	if own, err = a.named(ctx, PathCA+"-"+c.Name, PathCA); err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch == epoch {
		a.own = own
	}
	return own, nil
}

// ListenerPath returns the path of the certificate that the listener serves:
// system/sec/cert-<cluster>, the older manuals' name, when it holds a complete
// set. Else, where several nodes serve, the node's own, when it has one and
// [Authority.NeedsOwnListener]. Else system/sec/cert.
func (a *Authority) ListenerPath(ctx context.Context) (string, error) {
	c, err := a.store.Cluster(ctx)
	if err != nil {
		return "", err
	}
	path, err := a.named(ctx, PathListener+"-"+c.Name, PathListener)
	if err != nil || path != PathListener || a.nodeListener == "" {
		return path, err
	}
	if needs, err := a.NeedsOwnListener(ctx); err != nil || !needs {
		return path, err
	}
	return a.named(ctx, a.nodeListener, PathListener)
}

// NeedsOwnListener reports whether system/sec/cert is not for this node: it was
// issued here, for other names. One that was imported is for all nodes.
func (a *Authority) NeedsOwnListener(ctx context.Context) (bool, error) {
	if a.nodeListener == "" {
		return false, nil
	}
	chain, _, err := a.Serving(ctx, PathListener)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) || errors.Is(err, ErrInvalid) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if chain[0].VerifyHostname(a.node) == nil {
		return false, nil
	}
	return a.recorded(ctx, chain[0])
}

// named returns path if it holds a complete set, else fallback.
func (a *Authority) named(ctx context.Context, path, fallback string) (string, error) {
	h, err := a.store.Holder(ctx, path)
	switch {
	case errors.Is(err, ErrNotFound):
		return fallback, nil
	case err != nil:
		return "", err
	case h.PrivateKey == nil || h.Chain == nil:
		return fallback, nil
	}
	return path, nil
}

// live parses the set that the holder serves and signs with: the stored keys
// without what is pending. Absent parts are nil.
func live(h Holder) (set, error) {
	var s set
	var err error
	if h.PrivateKey != nil {
		if s.key, err = pki.ParsePrivateKey(h.PrivateKey, nil); err != nil {
			return set{}, hint.With(fmt.Errorf("%s: private_key: %w", h.Path, err),
				"import the right key with \"omca %s key change --name private_key --from FILE\"; a key that cannot be read is never replaced silently", h.Path)
		}
	}
	if h.Chain != nil {
		if s.chain, err = pki.ParseCertificates(h.Chain); err != nil {
			return set{}, fmt.Errorf("%s: certificate_chain: %w", h.Path, err)
		}
	}
	return s, nil
}
