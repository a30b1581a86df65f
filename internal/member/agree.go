package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"omca/internal/hint"
)

const (
	agreePause = time.Second // between two looks at a leader that does not tell yet
	agreeLooks = 15          // after which a leader has applied what was committed before it led
	agreeMost  = time.Minute // for one answer: the hash is over the whole store
	agreeBytes = 256 << 20   // of a store that is hashed: commits wait for that, about a second for so much
)

// agree compares what is here with what the leader has, at the start and whenever another
// leads. A leader has all that was ever committed (Raft, section 5.4): one that lacks what is
// here, or has something else instead, or this member, was put back from a copy.
func (m *Member) agree() {
	client, err := m.comparer()
	if err != nil {
		m.config.Log.Error("what is here is not compared with what the leader has", "error", err)
		return
	}
	defer client.CloseIdleConnections()
	for m.ended.Err() == nil {
		changed := m.etcd.Server.LeaderChangedNotify()
		agreement{m, client}.with(changed)
		select {
		case <-changed:
		case <-m.ended.Done():
		}
	}
}

// comparer is a client of the other members, as etcd's own are.
func (m *Member) comparer() (*http.Client, error) {
	t, err := transport.NewTransport(m.etcdConfig().PeerTLSInfo, handshake)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport:     t,
		Timeout:       agreeMost,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// agreement is the comparison of a member with its leader.
type agreement struct {
	m      *Member
	client *http.Client // of the other members
}

// with compares with the one that leads, until that is done or another leads. A leader
// that has just begun may lack for a moment what it has not applied yet.
func (a agreement) with(changed <-chan struct{}) {
	var had int64 // the revision that was here when the leader was first seen to lack it
	for looks := agreeLooks; ; {
		at := a.leaderURL()
		if at == "" {
			return // this member leads, or there is no leader
		}
		behind, err := a.compare(at, had)
		switch {
		case err == nil && behind == 0:
			return
		case errors.Is(err, errDiffers):
			a.m.halt(othersSetBack(err))
			return
		case err != nil:
			a.m.config.Log.Debug("not compared with the leader yet", "error", err)
		case looks == 0:
			a.m.halt(othersSetBack(fmt.Errorf("the leader at %s does not have revision %d", at, behind)))
			return
		default:
			looks, had = looks-1, behind
		}
		select {
		case <-changed:
			return
		case <-a.m.ended.Done():
			return
		case <-time.After(agreePause):
		}
	}
}

// leaderURL is where another member leads; "" when this one does, or there is no leader.
func (a agreement) leaderURL() string {
	for _, i := range a.m.Members() {
		if i.Leader && i.Name != a.m.config.Name {
			return i.URL
		}
	}
	return ""
}

// errDiffers is a leader with other contents at one revision.
var errDiffers = errors.New("the contents differ")

// compare compares what was here at revision at, now when that is 0, with what the leader had
// then. It returns that revision when the leader does not have it, else 0. A large store is compared
// by its revision alone.
func (a agreement) compare(url string, at int64) (behind int64, err error) {
	if a.m.etcd.Server.Backend().SizeInUse() > agreeBytes {
		return a.compareRevision(url, at)
	}
	mine, err := a.hash(at)
	if err != nil {
		return 0, err
	}
	theirs, err := etcdserver.HashByRev(a.m.ended, a.m.etcd.Server.Cluster().ID(), a.client, url, mine.HashRevision)
	switch {
	case errors.Is(err, rpctypes.ErrFutureRev):
		return mine.HashRevision, nil
	case err != nil:
		return 0, err
	case mine.CompactRevision != theirs.CompactRevision:
		return 0, fmt.Errorf("compacted up to %d here, and up to %d there", mine.CompactRevision, theirs.CompactRevision)
	case mine.Hash != theirs.Hash:
		return 0, fmt.Errorf("%w at revision %d: here %08x, on the leader at %s %08x", errDiffers, mine.HashRevision, mine.Hash, url, theirs.Hash)
	}
	return 0, nil
}

func (a agreement) compareRevision(url string, at int64) (behind int64, err error) {
	if at == 0 {
		if at, err = a.m.revision(a.m.ended); err != nil {
			return 0, err
		}
	}
	rev, err := askRevision(a.m.ended, a.client, url)
	if err != nil || rev >= at {
		return 0, err
	}
	return at, nil
}

// hash is over what is here at a revision; 0 is now.
func (a agreement) hash(at int64) (*pb.HashKVResponse, error) {
	return attach(a.m.ended, a.m.etcd.Server, at, func(_ context.Context, at int64) (*pb.HashKVResponse, error) {
		h, _, err := a.m.etcd.Server.KV().HashStorage().HashByRev(at)
		return &pb.HashKVResponse{Hash: h.Hash, CompactRevision: h.CompactRevision, HashRevision: h.Revision}, err
	})
}

// othersSetBack tells the way on from a leader that is not what it was.
func othersSetBack(why error) error {
	return hint.With(fmt.Errorf("%w: %w", ErrOthersSetBack, why),
		"keep this home: it may have what was revoked since; \"omca doctor\" on the other nodes says what is missing there")
}
