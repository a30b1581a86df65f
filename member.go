package omca

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"omca/internal/hint"
	"omca/internal/member"
	"omca/internal/store/etcd"
)

// memberPatience bounds how long a start waits for a majority of the members, and
// copyPatience how long one that can do without.
const (
	memberPatience = 45 * time.Second
	copyPatience   = 10 * time.Second
)

// errNoMajority means that too few members are up.
var errNoMajority = errors.New("no majority of the members of the cluster")

// node is the member of the cluster that this process runs.
type node struct {
	*member.Member
	home     string
	as       membership
	socket   net.Listener // copies of it are handed over
	lock     *os.File
	identity atomic.Pointer[member.Identity]
	refused  atomic.Pointer[func(member.Chain) error] // nil until the revocations are read
}

func (n *node) close() error {
	n.Stop()
	return n.lock.Close()
}

// openMember runs the member that the home says, and opens the store in it.
func openMember(ctx context.Context, c Config, m membership) (opened, error) {
	n, err := startNode(ctx, c, m)
	if err != nil {
		return opened{}, err
	}
	// A node that has a copy of the store serves from it while there is no majority.
	patience := memberPatience
	if _, err := os.Stat(filepath.Join(c.Home, copyFile)); err == nil {
		patience = copyPatience
	}
	if err := n.await(ctx, patience); err != nil && (patience == memberPatience || !errors.Is(err, errNoMajority)) {
		return opened{}, errors.Join(err, n.close())
	}
	db, err := openShared(ctx, c, etcd.Config{Client: n.Client(), Prefix: etcdPrefix}, n.close, "of cluster "+m.Cluster)
	if err != nil {
		return opened{}, errors.Join(err, n.close())
	}
	db.node = n
	db.measures = append(db.measures, memberMeasures(n)...)
	return db, nil
}

// startNode starts the member, which then looks for the others.
func startNode(ctx context.Context, c Config, m membership) (*node, error) {
	lock, err := lockMember(c.Home)
	if err != nil {
		return nil, err
	}
	n := &node{home: c.Home, as: m, lock: lock}
	if err := n.start(ctx, c); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return n, nil
}

func (n *node) start(ctx context.Context, c Config) error {
	if err := n.readIdentity(); err != nil {
		return err
	}
	l, err := c.peerSocket(ctx, n.as.Listen)
	if err != nil {
		return err
	}
	n.socket = l
	n.Member, err = member.Start(member.Config{
		Dir: filepath.Join(c.Home, etcdDir), Name: n.as.Node, Cluster: n.as.Cluster, Token: n.as.ID, URL: n.as.URL, Listener: l,
		Peers: n.as.Peers, Join: n.as.Joined, Files: peerFiles(c.Home), Log: c.Log, Now: c.Now, Panics: c.panics,
		Identity: func() (member.Identity, error) { return *n.identity.Load(), nil },
		Refused: func(chain member.Chain) error {
			if refused := n.refused.Load(); refused != nil {
				return (*refused)(chain)
			}
			return nil
		},
	})
	return err
}

func (n *node) readIdentity() error {
	id, err := readIdentity(n.home)
	if err != nil {
		return err
	}
	n.identity.Store(&id)
	return nil
}

// peerSocket listens for the other members, or goes on from the socket that was
// handed over.
func (c Config) peerSocket(ctx context.Context, address string) (net.Listener, error) {
	for _, k := range c.Sockets {
		if k.Name == socketPeer && (k.Address == address || c.RestartError != "") {
			l, err := net.FileListener(k.File)
			if err != nil {
				return nil, fmt.Errorf("socket %s (%s) that was handed over: %w", k.Name, k.Address, err)
			}
			return l, nil
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, hint.With(fmt.Errorf("listening for the other members: %w", err), "the address is in %s", clusterFile)
	}
	return l, nil
}

// probePeer returns an error when the address for the other members cannot be had.
func (c Config) probePeer(ctx context.Context, address string) error {
	probe, err := c.peerSocket(ctx, address)
	if err != nil {
		return err
	}
	return probe.Close()
}

// await waits until the member has found the others.
func (n *node) await(ctx context.Context, patience time.Duration) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-n.Ready():
		return nil
	case <-n.Done():
		return n.ended()
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return hint.With(fmt.Errorf("node %s: %w within %s", n.as.Node, errNoMajority, patience),
			"start the other nodes: a majority of them must be up, and reach each other")
	}
}

// ended says why the member has stopped by itself. One that was removed stays so.
func (n *node) ended() error {
	if err := n.Err(); errors.Is(err, member.ErrSetBack) || errors.Is(err, member.ErrOthersSetBack) {
		return fmt.Errorf("node %s: %w", n.as.Node, err)
	}
	if !n.Removed() {
		return errors.Join(fmt.Errorf("the member of node %s has stopped", n.as.Node), n.Err())
	}
	gone := n.as
	gone.State = stateRemoved
	return errors.Join(removed(gone, n.home), gone.write(n.home))
}

// removed says that a home is a former member's.
func removed(m membership, home string) error {
	return hint.With(fmt.Errorf("node %s was removed from cluster %s", m.Node, m.Cluster),
		"to make this machine a node again: remove %s, get a token with \"omca cluster token\" on a member, and join anew", home)
}
