package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"omca/internal/store"
)

// A Session is what a process has in the store for as long as it lives: keys
// that vanish, for everybody, some seconds after it was last heard of.
type Session struct {
	source *Source
	lease  clientv3.LeaseID
	lost   chan struct{}
	end    context.CancelFunc
}

// Session begins a session whose keys last for life after the process was last
// heard of: a second at least. It goes on until Close, or until it is lost.
func (s *Source) Session(ctx context.Context, life time.Duration) (*Session, error) {
	bounded, end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	granted, err := s.client.Grant(bounded, int64(max(life/time.Second, 1)))
	if err != nil {
		return nil, fromEtcd(bounded, err)
	}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	answers, err := s.client.KeepAlive(alive, granted.ID)
	if err != nil {
		cancel()
		return nil, fromEtcd(bounded, err)
	}
	x := &Session{source: s, lease: granted.ID, lost: make(chan struct{}), end: cancel}
	go func() {
		defer close(x.lost)
		for range answers { // it ends when the lease has, or when nobody could be asked for as long as it lasts
		}
	}()
	return x, nil
}

// Lost is closed when the keys are gone, or must be taken to be.
func (x *Session) Lost() <-chan struct{} { return x.lost }

// Put writes a key of the session.
func (x *Session) Put(ctx context.Context, key string, value []byte) error {
	_, err := x.put(ctx, key, value)
	return err
}

// Claim writes a key of the session unless it is there already, and reports
// whether it did.
func (x *Session) Claim(ctx context.Context, key string, value []byte) (bool, error) {
	return x.put(ctx, key, value, clientv3.Compare(clientv3.CreateRevision(x.source.prefix+key), "=", 0))
}

func (x *Session) put(ctx context.Context, key string, value []byte, unless ...clientv3.Cmp) (bool, error) {
	if err := (store.Tx{Puts: []store.Put{{Key: key, Value: value}}}).Check(); err != nil {
		return false, err
	}
	ctx, end, err := x.source.begin(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	r, err := x.source.client.Txn(ctx).If(unless...).
		Then(clientv3.OpPut(x.source.prefix+key, string(value), clientv3.WithLease(x.lease))).Commit()
	if err != nil {
		return false, fromEtcd(ctx, err)
	}
	return r.Succeeded, nil
}

// Release removes a key of the session, and leaves one that is not, or is another's.
func (x *Session) Release(ctx context.Context, key string) error {
	ctx, end, err := x.source.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	at := x.source.prefix + key
	_, err = x.source.client.Txn(ctx).If(clientv3.Compare(clientv3.LeaseValue(at), "=", x.lease)).Then(clientv3.OpDelete(at)).Commit()
	return fromEtcd(ctx, err)
}

// Close ends the session, and its keys with it, at once if etcd answers.
func (x *Session) Close(ctx context.Context) error {
	x.end()
	<-x.lost
	ctx, end, err := x.source.begin(ctx)
	if errors.Is(err, store.ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	defer end()
	if _, err := x.source.client.Revoke(ctx, x.lease); err != nil {
		return fmt.Errorf("ending the session: %w", fromEtcd(ctx, err))
	}
	return nil
}
