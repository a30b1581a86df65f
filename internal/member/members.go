package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"omca/internal/hint"
)

// Keys is the prefix of the keys that are this package's: nobody else writes
// there. What follows it is the name of a member; the value is its URL.
const Keys = "omca-member/"

// founded is a key beside those of the members: the first ones are known.
const founded = "omca-members"

// Info is one member as the cluster knows it.
type Info struct {
	Peer
	ID      uint64 // etcd's; 0 while etcd does not have it
	Learner bool   // it is catching up: it has no vote yet
	Started bool   // it has been here at least once
	Leader  bool
}

// Members lists the members by name. It needs no majority: it is what this
// member's own data says, which has all that was done through this member.
func (m *Member) Members() []Info {
	m.load()
	known := m.peers.all()
	var list []Info
	for _, e := range m.etcd.Server.Cluster().Members() {
		i := Info{ID: uint64(e.ID), Learner: e.IsLearner, Started: e.Name != "", Leader: e.ID == m.etcd.Server.Leader()}
		if i.Name = e.Name; len(e.PeerURLs) > 0 {
			i.URL = e.PeerURLs[0]
		}
		for name, at := range known {
			if i.Name == "" && at == i.URL {
				i.Name = name
			}
		}
		delete(known, i.Name)
		list = append(list, i)
	}
	for name, at := range known {
		list = append(list, Info{Peer: Peer{Name: name, URL: at}})
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (p *peers) all() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]string, len(p.members))
	for name, at := range p.members {
		all[name] = at
	}
	return all
}

// Add admits a node, which may connect from then on, and makes it a learner:
// it gets all data and has no vote until it has caught up, when the leader
// promotes it. One node can be learning at a time. Adding it again as it is
// does nothing. Errors: ErrInvalid for a name or a URL that is taken.
func (m *Member) Add(ctx context.Context, p Peer) error {
	if err := errors.Join(p.check(), m.config.direct(p)); err != nil {
		return err
	}
	m.atWork.Lock()
	defer m.atWork.Unlock()
	for _, i := range m.Members() {
		switch {
		case i.Peer == p && i.ID != 0:
			return nil
		case i.Name == p.Name && i.ID != 0:
			return hint.With(fmt.Errorf("%w: node %q is a member at %s", ErrInvalid, p.Name, i.URL), "take the name of another, or remove that one first (\"omca cluster remove %s\")", p.Name)
		case i.URL == p.URL && i.Name != p.Name:
			return fmt.Errorf("%w: %s is the address of node %q", ErrInvalid, p.URL, i.Name)
		}
	}
	if _, err := m.client.Put(ctx, Keys+p.Name, p.URL); err != nil {
		return fmt.Errorf("admitting node %q: %w", p.Name, err)
	}
	err := m.whenWell(ctx, func(ctx context.Context) error {
		_, err := m.client.MemberAddAsLearner(ctx, []string{p.URL})
		if err != nil && slices.ContainsFunc(m.Members(), func(i Info) bool { return i.URL == p.URL && i.ID != 0 }) {
			return nil
		}
		return err
	})
	if err != nil {
		_, undo := m.client.Delete(context.WithoutCancel(ctx), Keys+p.Name)
		err = fmt.Errorf("adding node %q: %w", p.Name, errors.Join(err, undo))
		return hint.With(err, "one node joins at a time, and while all members are well: see \"omca cluster status\"")
	}
	return nil
}

// Remove takes a node out: etcd takes no message of it any more, and every
// member closes its connections with it and accepts no new ones, as soon as it
// knows. It needs a majority; etcd refuses to remove a node whose loss would
// cost the rest theirs. Repeat it when it fails half-way. Errors: ErrNotFound.
func (m *Member) Remove(ctx context.Context, name string) error {
	m.atWork.Lock()
	defer m.atWork.Unlock()
	list := m.Members()
	at := slices.IndexFunc(list, func(i Info) bool { return i.Name == name })
	if at < 0 {
		return fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	if name == m.config.Name {
		err := fmt.Errorf("%w: node %q cannot remove itself: it could not tell the others who stays", ErrInvalid, name)
		return hint.With(err, "ask another member: \"omca cluster remove %s\" there", name)
	}
	if len(list) == 1 {
		return fmt.Errorf("%w: %q is the last member", ErrInvalid, name)
	}
	if list[at].ID != 0 {
		err := m.whenWell(ctx, func(ctx context.Context) error {
			_, err := m.client.MemberRemove(ctx, list[at].ID)
			if m.etcd.Server.IsIDRemoved(list[at].ID) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("removing node %q: %w", name, err)
		}
	}
	err := m.whenWell(ctx, func(ctx context.Context) error { // without its leader, if that was the one removed
		_, err := m.client.Delete(ctx, Keys+name)
		return err
	})
	if err != nil {
		err = fmt.Errorf("node %q is no member any more, and may still connect: %w", name, err)
	}
	return err
}

// whenWell makes a change of the membership. etcd refuses one while members have
// not been in touch for five seconds, as after a start, or while another node
// catches up; one that comes while another is on its way it drops without a word,
// and what it handed to a leader that goes is lost. So it is tried again for a
// while. A try that was not answered may have worked: change must take that as done.
func (m *Member) whenWell(ctx context.Context, change func(context.Context) error) error {
	const patience, answer, pause = 20 * time.Second, 2 * time.Second, 100 * time.Millisecond
	whole, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		once, done := context.WithTimeout(whole, answer)
		err := change(once)
		late := once.Err() != nil
		done()
		if !unwell(err) && !(err != nil && late) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-whole.Done():
			return fmt.Errorf("%w: %w", ErrUnwell, errors.Join(err, ctx.Err()))
		}
	}
}

// unwell reports whether etcd found too few members in touch, or one that has not
// caught up. In process its
// errors are not always of the client's kind.
func unwell(err error) bool {
	return err != nil && slices.Contains([]string{rpctypes.ErrorDesc(rpctypes.ErrUnhealthy), rpctypes.ErrorDesc(rpctypes.ErrTooManyLearners)}, rpctypes.ErrorDesc(err))
}

// follow keeps what the peers know of the members as etcd has it: a change is
// seen at once through the watch, and at the latest with the next tick.
func (m *Member) follow() {
	select {
	case <-m.etcd.Server.ReadyNotify():
	case <-m.ended.Done():
		return
	case <-m.Done():
		return
	}
	m.writeFounders()
	every := time.NewTicker(time.Second)
	defer every.Stop()
	watch := m.client.Watch(m.ended, Keys, clientv3.WithPrefix())
	for {
		if m.load() {
			m.found.Do(func() { close(m.ready) })
		}
		select {
		case _, ok := <-watch:
			if !ok {
				watch = m.client.Watch(m.ended, Keys, clientv3.WithPrefix())
			}
		case <-every.C:
			ctx, cancel := context.WithTimeout(m.ended, 2*time.Second)
			err := m.promote(ctx)
			cancel()
			if err != nil && m.ended.Err() == nil {
				m.config.Log.Warn("housekeeping", "step", "promote", "error", err)
			}
		case <-m.ended.Done():
			return
		case <-m.Done():
			m.peers.close() // removed: the others have closed too
			return
		}
	}
}

// writeFounders writes down the members that the cluster begins with, once.
func (m *Member) writeFounders() {
	if m.config.Join {
		return
	}
	puts := []clientv3.Op{clientv3.OpPut(founded, "1")}
	for _, p := range m.config.Peers {
		puts = append(puts, clientv3.OpPut(Keys+p.Name, p.URL))
	}
	for m.ended.Err() == nil {
		ctx, cancel := context.WithTimeout(m.ended, 10*time.Second)
		_, err := m.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(founded), "=", 0)).Then(puts...).Commit()
		cancel()
		if err == nil {
			return
		}
		m.config.Log.Warn("writing down the members", "error", err)
		select {
		case <-time.After(m.config.Tick):
		case <-m.ended.Done():
		case <-m.Done():
			return
		}
	}
}

// load reads the members from this member's own data, which needs nobody else,
// and reports whether they were there: a joining one has none until it has
// caught up.
func (m *Member) load() bool {
	m.loading.Lock() // what was read later is set later
	defer m.loading.Unlock()
	r, err := m.client.Get(m.ended, Keys, clientv3.WithPrefix(), clientv3.WithSerializable())
	if err != nil || len(r.Kvs) == 0 {
		return false
	}
	members := map[string]string{}
	for _, kv := range r.Kvs {
		members[strings.TrimPrefix(string(kv.Key), Keys)] = string(kv.Value)
	}
	m.peers.set(members)
	return true
}
