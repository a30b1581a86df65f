package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"omca/internal/store"
)

// What follows is for a copy that a node keeps of the store: see package replica.

// Origin names the store, as no other is named: by the id that etcd gave its
// cluster, and the prefix. With it comes the current revision. A majority has
// agreed to both.
func (s *Source) Origin(ctx context.Context) (origin string, rev int64, err error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return "", 0, err
	}
	defer end()
	r, err := s.client.Get(ctx, s.prefix, clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	if err != nil {
		return "", 0, s.explain(ctx, fromEtcd(ctx, err))
	}
	return fmt.Sprintf("%x/%s", r.Header.ClusterId, s.prefix), r.Header.Revision, nil
}

// whyTime bounds the look at what is wrong with a server.
const whyTime = time.Second

// explain adds to an error what is wrong with the server, where that can be found out.
func (s *Source) explain(ctx context.Context, err error) error {
	if s.why == nil || errors.Is(err, store.ErrRefused) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), whyTime)
	defer cancel()
	s.turning.Lock()
	server := s.servers[s.server]
	s.turning.Unlock()
	if why := s.why(ctx, server); why != nil {
		return fmt.Errorf("%s: %w: %w", server, err, why)
	}
	return fmt.Errorf("%s: %w", server, err)
}

// Changes yields what happens after a revision, in order, each change once,
// as the server tells it. A Change without events says that everything up to its
// revision has been told. The sequence ends with store.ErrCompacted when
// changes after the revision are no longer kept, and with whatever breaks it off.
func (s *Source) Changes(ctx context.Context, after int64) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// A member that was cut off from the others would otherwise be silent for good.
		answers := s.client.Watch(clientv3.WithRequireLeader(ctx), s.prefix,
			clientv3.WithPrefix(), clientv3.WithRev(after+1), clientv3.WithProgressNotify())
		last := after
		for r := range answers {
			if r.CompactRevision > last {
				yield(store.Change{}, store.ErrCompacted)
				return
			}
			if err := r.Err(); err != nil {
				yield(store.Change{}, fromEtcd(ctx, err))
				return
			}
			for _, c := range s.changes(r.Events, last) {
				last = c.Rev
				if !yield(c, nil) {
					return
				}
			}
			if r.IsProgressNotify() && r.Header.Revision > last {
				last = r.Header.Revision
				if !yield(store.Change{Rev: last}, nil) {
					return
				}
			}
		}
		yield(store.Change{}, errors.Join(ctx.Err(), errBrokenOff))
	}
}

var errBrokenOff = errors.New("the watch of etcd broke off")

// Ask has Changes tell how far it has come.
func (s *Source) Ask(ctx context.Context) error {
	return s.client.RequestProgress(clientv3.WithRequireLeader(ctx))
}

// Keys returns the keys after one, in order, as they are at a revision, without
// their values.
func (s *Source) Keys(ctx context.Context, rev int64, after string) (store.Page, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer end()
	r, err := s.client.Get(ctx, s.prefix+store.Range{After: after}.Start(), clientv3.WithRange(clientv3.GetPrefixRangeEnd(s.prefix)),
		clientv3.WithKeysOnly(), clientv3.WithLimit(store.PageLimit), clientv3.WithRev(rev))
	if err != nil {
		return store.Page{}, compacted(fromEtcd(ctx, err))
	}
	page := store.Page{More: r.More, Rev: rev}
	for _, kv := range r.Kvs {
		page.Entries = append(page.Entries, store.Entry{Key: strings.TrimPrefix(string(kv.Key), s.prefix), Rev: kv.ModRevision})
	}
	return page, nil
}

// At returns the entries of up to store.MaxOps keys as they are at a revision.
// What is absent then is left out.
func (s *Source) At(ctx context.Context, rev int64, keys []string) ([]store.Entry, error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	var gets []clientv3.Op
	for _, key := range keys {
		gets = append(gets, clientv3.OpGet(s.prefix+key, clientv3.WithRev(rev)))
	}
	r, err := s.client.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, compacted(fromEtcd(ctx, err))
	}
	var entries []store.Entry
	for _, answer := range r.Responses {
		for _, kv := range answer.GetResponseRange().Kvs {
			entries = append(entries, s.entry(kv.Key, kv.Value, kv.ModRevision))
		}
	}
	return entries, nil
}

func compacted(err error) error {
	if errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("%w: %w", store.ErrCompacted, err)
	}
	return err
}

// Move has the client talk to the next of its servers, and reports whether it has several. One
// that is stopped, or cut off, would otherwise get its share of the calls for as
// long as the connection to it stands.
func (s *Source) Move() bool {
	s.turning.Lock()
	defer s.turning.Unlock()
	if len(s.servers) < 2 {
		return false
	}
	s.server = (s.server + 1) % len(s.servers)
	s.client.SetEndpoints(s.servers[s.server])
	return true
}

// choose picks the server to begin with.
func (s *Source) choose() {
	s.servers = s.client.Endpoints()
	if len(s.servers) > 1 {
		s.server = rand.IntN(len(s.servers))
		s.client.SetEndpoints(s.servers[s.server])
	}
}
