package omca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/home"
	"omca/internal/member"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/bolt"
	"omca/internal/store/etcd"
	"omca/pki"
	"omca/usr"
)

// enterCluster brings the home to where the configuration wants it: it makes it the
// first member, has it join, or finishes the one or the other. It returns which
// member it is; nil when it is none.
func enterCluster(ctx context.Context, c Config) (*membership, error) {
	m, err := readMembership(c.Home)
	if err != nil {
		return nil, err
	}
	joins := c.Join != nil
	switch {
	case m == nil && joins:
		return joinCluster(ctx, c)
	case m == nil && c.Cluster:
		return firstMember(ctx, c)
	case m == nil:
		return nil, nil
	case m.State == stateRemoved:
		return nil, removed(*m, c.Home)
	case m.State == stateJoining && joins:
		return joinCluster(ctx, c)
	case m.State == stateJoining:
		return nil, hint.With(fmt.Errorf("%s: node %s began to join cluster %s, and is no member", c.Home, m.Node, m.Cluster),
			"get a new token with \"omca cluster token\" on a member, and repeat \"omca daemon run --join …\"")
	case joins && !c.Join.of(m.ID):
		return nil, hint.With(fmt.Errorf("%w: %s is node %s of cluster %s already", ca.ErrConflict, c.Home, m.Node, m.Cluster), "start it with \"omca daemon run\"")
	case m.State == stateConverting:
		return m, convert(ctx, c, m)
	}
	return m, keepAside(c.Home)
}

// firstMember makes a home, fresh or with a store of its own, the first member of a
// cluster. What the member needs is made in the store as it is, which is then
// copied into etcd.
func firstMember(ctx context.Context, c Config) (*membership, error) {
	listen, at, err := peerAddress(c.Peer, c.NodeName)
	if err != nil {
		return nil, err
	}
	m := &membership{State: stateConverting, Node: c.NodeName, URL: at, Listen: listen}
	m.Peers = []member.Peer{m.self()}
	if _, err := nodePath(m.Node); err != nil {
		return nil, err
	}
	if err := c.probePeer(ctx, listen); err != nil {
		return nil, err
	}
	alone := c
	alone.Cluster, alone.Sockets = false, nil
	s, err := Open(ctx, alone)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.prepareMember(ctx, m), s.Close()); err != nil {
		return nil, err
	}
	if err := m.write(c.Home); err != nil {
		return nil, err
	}
	return m, convert(ctx, c, m)
}

// prepareMember makes the CA of the members and the certificate of the first, and
// writes what this one shows and trusts into the home.
func (s *Server) prepareMember(ctx context.Context, m *membership) error {
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return err
	}
	m.Cluster, _ = cluster.Config.Get("cluster.name") // "" cannot be: the first start has set both
	m.ID, _ = cluster.Config.Get("cluster.id")
	peers, err := object.ParsePath(ca.PathPeers)
	if err != nil {
		return err
	}
	// It outlives whatever it signs by far: what dials reads it once.
	if err := s.makeHolder(ctx, peers, []string{"profile=ca", "cn=" + m.Cluster + " peer CA", "validity=30y"}); err != nil {
		return err
	}
	p, keywords, err := nodeKeywords(m.self())
	if err != nil {
		return err
	}
	if err := s.makeHolder(ctx, p, keywords); err != nil {
		return err
	}
	if _, err := s.writePeerFiles(ctx, s.config.Home, p.String()); err != nil {
		return err
	}
	return s.answerTo(ctx, m.URL)
}

// answerTo has the listener's certificate name the host by which the other nodes
// reach this one: a machine that joins asks there. One of another PKI stays as it is.
func (s *Server) answerTo(ctx context.Context, at string) error {
	u, err := url.Parse(at)
	if err != nil {
		return err
	}
	leaf, err := s.leaf(ctx, s.authority.ListenerPath)
	if err != nil || leaf.VerifyHostname(u.Hostname()) == nil {
		return err
	}
	path, err := s.authority.ListenerPath(ctx)
	if err != nil {
		return err
	}
	p, err := object.ParsePath(path)
	if err != nil {
		return err
	}
	set, err := object.ParseExprs([]string{"alt_names+=" + u.Hostname()})
	if err != nil {
		return err
	}
	o, err := s.objects.Get(ctx, p)
	if err != nil {
		return err
	}
	next, _, err := o.Config.Apply(object.Update{Set: set})
	if err != nil {
		return err
	}
	if err := s.objects.Configure(ctx, p, o.Revision, next); err != nil {
		return err
	}
	if _, err = s.authority.Create(ctx, rootCaller(usr.MethodSocket, "first member"), path, ca.CreateOptions{}); errors.Is(err, ca.ErrConflict) {
		s.config.Log.WarnContext(ctx, "the listener's certificate does not name the host that other nodes reach this one by", "path", path, "host", u.Hostname(), "error", err)
		return nil
	}
	return err
}

// nodeKeywords are the object of a member's certificate and its keywords.
func nodeKeywords(of member.Peer) (object.Path, []string, error) {
	p, err := nodePath(of.Name)
	if err != nil {
		return p, nil, err
	}
	u, err := url.Parse(of.URL)
	if err != nil {
		return p, nil, fmt.Errorf("%w: URL %q: %w", ca.ErrInvalid, of.URL, err)
	}
	return p, []string{"profile=node", "ca=" + ca.PathPeers, "cn=" + of.Name, "alt_names=" + u.Hostname()}, nil
}

// writePeerFiles writes what a member shows, from the object at path, and trusts.
func (s *Server) writePeerFiles(ctx context.Context, home, path string) (bool, error) {
	chain, key, err := s.authority.Serving(ctx, path)
	if err != nil {
		return false, err
	}
	text, err := pki.EncodePrivateKey(key)
	if err != nil {
		return false, err
	}
	changed, err := writePair(home, chain, text)
	if err != nil {
		return false, err
	}
	return changed, writePeerCA(home, pki.EncodeCertificates(chain[len(chain)-1]))
}

// writePeerCA puts the CA of the members in place, once: it does not change.
func writePeerCA(dir string, text []byte) error {
	name := peerFiles(dir).CA
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return home.Replace(name, newFile, text)
}

// convert copies the store of a home into etcd, and sets it aside. It can be cut
// short anywhere: until the home says that it is a member, it starts over.
func convert(ctx context.Context, c Config, m *membership) error {
	from, err := openBolt(ctx, c)
	if err != nil {
		return err
	}
	err = copyIntoMember(ctx, c, *m, from.Store)
	if err := errors.Join(err, from.Close()); err != nil {
		return fmt.Errorf("moving the store into the cluster: %w", err)
	}
	m.State = stateMember
	if err := m.write(c.Home); err != nil {
		return err
	}
	return keepAside(c.Home)
}

func copyIntoMember(ctx context.Context, c Config, m membership, from store.Store) error {
	if err := errors.Join(os.RemoveAll(filepath.Join(c.Home, etcdDir)), removeCopy(c.Home)); err != nil { // of an attempt that was cut short
		return err
	}
	n, err := startNode(ctx, c, m)
	if err != nil {
		return err
	}
	if err := n.await(ctx, memberPatience); err != nil {
		return errors.Join(err, n.close())
	}
	to, err := etcd.Open(ctx, etcd.Config{Client: n.Client(), Prefix: etcdPrefix})
	if err != nil {
		return errors.Join(err, n.close())
	}
	copied, err := copyStore(ctx, from, to)
	if err == nil {
		c.Log.InfoContext(ctx, "store moved into the cluster", "node", m.Node, "keys", copied)
	}
	return errors.Join(err, to.Close(), n.close())
}

// copyStore copies every key, and reads back that all are there.
func copyStore(ctx context.Context, from, to store.Store) (int, error) {
	copied := 0
	err := eachPage(ctx, from, func(entries []store.Entry) error {
		var tx store.Tx
		for _, e := range entries {
			if registry.StaysBehind(e.Key) {
				continue
			}
			copied++
			next := tx
			next.Puts = append(next.Puts, store.Put{Key: e.Key, Value: e.Value})
			if len(tx.Puts) > 0 && next.Check() != nil {
				if _, err := to.Commit(ctx, tx); err != nil {
					return err
				}
				next.Puts = []store.Put{{Key: e.Key, Value: e.Value}}
			}
			tx = next
		}
		if len(tx.Puts) == 0 {
			return nil
		}
		_, err := to.Commit(ctx, tx)
		return err
	})
	if err != nil {
		return copied, err
	}
	there := 0
	err = eachPage(ctx, to, func(entries []store.Entry) error { there += len(entries); return nil })
	if err == nil && there != copied {
		err = fmt.Errorf("%d keys were copied, %d are there", copied, there)
	}
	return copied, err
}

func eachPage(ctx context.Context, s store.Store, do func([]store.Entry) error) error {
	for r := (store.Range{}); ; {
		page, err := s.Scan(ctx, r)
		if err != nil {
			return err
		}
		if len(page.Entries) == 0 {
			return nil
		}
		if err := do(page.Entries); err != nil {
			return err
		}
		if !page.More {
			return nil
		}
		r.After = page.Entries[len(page.Entries)-1].Key
	}
}

// keepAside renames the store that was copied into the cluster, so that nobody
// takes it for what there is.
func keepAside(home string) error {
	for _, suffix := range bolt.Suffixes() {
		old := filepath.Join(home, storeFile+suffix)
		if err := os.Rename(old, filepath.Join(home, keptStore+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// makeNode makes the object of a new member and has its request signed.
func (s *Server) makeNode(ctx context.Context, who usr.Caller, of member.Peer, csr []byte) (ca.Issued, error) {
	p, keywords, err := nodeKeywords(of)
	if err != nil {
		return ca.Issued{}, err
	}
	if err := s.create(ctx, p, keywords); errors.Is(err, registry.ErrExists) {
		// Of a machine that was to become this node and did not.
		if err := s.dropNode(ctx, who, of.Name); err != nil {
			return ca.Issued{}, err
		}
		err = s.create(ctx, p, keywords)
		if err != nil {
			return ca.Issued{}, err
		}
	} else if err != nil {
		return ca.Issued{}, err
	}
	return s.authority.SignNode(ctx, who, p.String(), csr)
}
