package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"omca/internal/store"
	"omca/internal/store/internal/ring"
)

// Config says which etcd, and where in it.
type Config struct {
	// Client talks to etcd. Close leaves it open: whoever made it closes it.
	Client *clientv3.Client
	// Prefix is put in front of every key, so that others can use the same etcd.
	// It is not empty, and no other prefix in use begins with it.
	Prefix string
	// Why, if there is one, says what is wrong with a server that does not answer:
	// the client only says that it does not.
	Why func(ctx context.Context, server string) error
	// Wait bounds one call when its context has no deadline. 10 s unless given.
	Wait time.Duration
}

const defaultWait = 10 * time.Second

// A Source is the store as etcd has it, without a memory of its own. Use New.
type Source struct {
	client *clientv3.Client
	prefix string
	wait   time.Duration
	why    func(context.Context, string) error

	turning sync.Mutex
	servers []string // all of them
	server  int      // the one that the client talks to, when there are several

	working sync.RWMutex // held for reading by each call, for writing by Close
	closed  bool
}

// New returns the store under the prefix. It asks etcd for nothing yet.
func New(c Config) (*Source, error) {
	if c.Client == nil || c.Prefix == "" {
		return nil, errors.New("etcd: Config needs Client and Prefix")
	}
	if c.Wait <= 0 {
		c.Wait = defaultWait
	}
	s := &Source{client: c.Client, prefix: c.Prefix, wait: c.Wait, why: c.Why}
	s.choose()
	return s, nil
}

// Store is a store.Store that reads from etcd itself. Use Open.
type Store struct {
	*Source
	recent  *ring.Ring
	end     context.CancelFunc // of the watch
	watched chan struct{}      // closed when the watch has ended
}

var _ store.Store = (*Store)(nil)

// Open returns the store under the prefix. It fails when etcd does not answer
// within c.Wait.
func Open(ctx context.Context, c Config) (*Store, error) {
	source, err := New(c)
	if err != nil {
		return nil, err
	}
	rev, err := source.Rev(ctx)
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(c.Client.Endpoints(), ", "), err)
	}
	s := &Store{Source: source, recent: ring.New(rev), watched: make(chan struct{})}
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	s.end = end
	go s.follow(background, rev)
	return s, nil
}

// begin admits a call, and bounds it. The func that it returns ends it.
func (s *Source) begin(ctx context.Context) (context.Context, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	s.working.RLock()
	if s.closed {
		s.working.RUnlock()
		return nil, nil, store.ErrClosed
	}
	cancel := context.CancelFunc(func() {})
	if _, bounded := ctx.Deadline(); !bounded {
		ctx, cancel = context.WithTimeout(ctx, s.wait)
	}
	return ctx, func() { cancel(); s.working.RUnlock() }, nil
}

// Get is store.Store.Get.
func (s *Source) Get(ctx context.Context, key string) (store.Entry, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return store.Entry{}, err
	}
	defer end()
	r, err := s.client.Get(ctx, s.prefix+key)
	if err != nil {
		return store.Entry{}, fromEtcd(ctx, err)
	}
	if len(r.Kvs) == 0 {
		return store.Entry{}, fmt.Errorf("%w: %q", store.ErrNotFound, key)
	}
	return s.entry(r.Kvs[0].Key, r.Kvs[0].Value, r.Kvs[0].ModRevision), nil
}

func (s *Source) entry(key, value []byte, rev int64) store.Entry {
	if value == nil {
		value = []byte{} // etcd does not tell an empty value from none
	}
	return store.Entry{Key: strings.TrimPrefix(string(key), s.prefix), Value: value, Rev: rev}
}

// Rev is store.Store.Rev.
func (s *Source) Rev(ctx context.Context) (int64, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	r, err := s.client.Get(ctx, s.prefix, clientv3.WithCountOnly())
	if err != nil {
		return 0, fromEtcd(ctx, err)
	}
	return r.Header.Revision, nil
}

// Scan is store.Store.Scan.
func (s *Source) Scan(ctx context.Context, r store.Range) (store.Page, error) {
	if err := r.Check(); err != nil {
		return store.Page{}, err
	}
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer end()
	for {
		page, err := s.page(ctx, r)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return page, fromEtcd(ctx, err)
		}
		// The revision of the first piece is no longer kept: all of it anew.
	}
}

// page reads a page in pieces, all at the revision of the first. etcd bounds an
// answer by a number of keys only, so the pieces begin small and grow as long as
// the values are.
func (s *Source) page(ctx context.Context, r store.Range) (store.Page, error) {
	const least, most = 16, store.PageLimit
	stop := clientv3.GetPrefixRangeEnd(s.prefix + r.Prefix)
	var page store.Page
	size, piece := 0, int64(least)
	for start := s.prefix + r.Start(); ; {
		options := []clientv3.OpOption{clientv3.WithRange(stop), clientv3.WithLimit(piece)}
		if page.Rev != 0 {
			options = append(options, clientv3.WithRev(page.Rev))
		}
		got, err := s.client.Get(ctx, start, options...)
		if err != nil {
			return store.Page{}, err
		}
		if page.Rev == 0 {
			page.Rev = got.Header.Revision
		}
		for _, kv := range got.Kvs {
			if r.Full(len(page.Entries), size) {
				page.More = true
				return page, nil
			}
			page.Entries = append(page.Entries, s.entry(kv.Key, kv.Value, kv.ModRevision))
			size += len(kv.Key) - len(s.prefix) + len(kv.Value)
			start = string(kv.Key) + "\x00"
		}
		if !got.More {
			return page, nil
		}
		if room := store.PageBytes / (1 + size/len(page.Entries)); int64(room) > piece {
			piece = min(2*piece, int64(room), most)
		}
	}
}

// Commit is store.Store.Commit.
func (s *Source) Commit(ctx context.Context, tx store.Tx) (int64, error) {
	if err := tx.Check(); err != nil {
		return 0, err
	}
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	var compares []clientv3.Cmp
	var then, otherwise []clientv3.Op
	for _, e := range tx.Expect {
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(s.prefix+e.Key), "=", e.Rev))
		otherwise = append(otherwise, clientv3.OpGet(s.prefix+e.Key, clientv3.WithKeysOnly()))
	}
	for _, p := range tx.Puts {
		then = append(then, clientv3.OpPut(s.prefix+p.Key, string(p.Value)))
	}
	for _, key := range tx.Deletes {
		then = append(then, clientv3.OpDelete(s.prefix+key))
	}
	for _, prefix := range tx.DeletePrefixes {
		then = append(then, clientv3.OpDelete(s.prefix+prefix, clientv3.WithPrefix()))
	}
	r, err := s.client.Txn(ctx).If(compares...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return 0, fromEtcd(ctx, err)
	}
	if !r.Succeeded {
		return 0, conflict(tx.Expect, r)
	}
	return r.Header.Revision, nil
}

// conflict names the first expectation that did not hold: the answer has the
// keys as they are, in the order of the expectations.
func conflict(expect []store.Expect, r *clientv3.TxnResponse) error {
	for i, e := range expect {
		var have int64
		if got := r.Responses[i].GetResponseRange(); len(got.Kvs) > 0 {
			have = got.Kvs[0].ModRevision
		}
		if err := e.Check(have); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: etcd says so, and every expectation holds", store.ErrConflict)
}

// Watch is store.Store.Watch.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) iter.Seq2[store.Change, error] {
	return s.recent.Watch(ctx, prefix, after)
}

// Close ends the calls: it waits for those under way, and the next get
// store.ErrClosed. The client stays open.
func (s *Source) Close() error {
	s.working.Lock()
	defer s.working.Unlock()
	s.closed = true
	return nil
}

// Close is store.Store.Close. The client stays open.
func (s *Store) Close() error {
	err := s.Source.Close()
	s.recent.End(store.ErrClosed) // again does nothing, nor does the next
	s.end()
	<-s.watched
	return err
}

// fromEtcd says an error of etcd in the words of the contract. What is not
// among them leaves the outcome of a commit unknown.
func fromEtcd(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w: %w", store.ErrTooLarge, err)
	case errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("%w: %w", store.ErrRefused, err)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}
