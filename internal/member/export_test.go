package member

import "context"

// Kill ends the member as a power failure does: nobody is told.
func (m *Member) Kill() {
	m.stop.Do(func() {
		m.end()
		m.closePeers()
		m.etcd.Server.HardStop()
		m.etcd.Close()
		m.work.Wait()
	})
}

// Round does one round of housekeeping now, of a file that has everything.
func (m *Member) Round(ctx context.Context) {
	m.etcd.Server.Backend().ForceCommit()
	m.round(ctx)
}

// Shrink makes the file smaller now.
func (m *Member) Shrink(ctx context.Context) error { return m.shrink(ctx) }

// Connections returns how many connections with a node are open.
func (m *Member) Connections(name string) int {
	m.peers.mu.Lock()
	defer m.peers.mu.Unlock()
	n := 0
	for c := range m.peers.open {
		if c.name == name {
			n++
		}
	}
	return n
}

// Forget has the member not know these others, until it looks again.
func (m *Member) Forget(names ...string) {
	all := m.peers.all()
	for _, name := range names {
		delete(all, name)
	}
	m.peers.set(all)
}

// Lead has another member lead, if this one does.
func (m *Member) Lead(ctx context.Context, other *Member) error {
	s := m.etcd.Server
	return s.MoveLeader(ctx, uint64(s.MemberID()), uint64(other.etcd.Server.MemberID()))
}
